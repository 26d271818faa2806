"""The command ``edgesmith kv-bytes``: sizes in, the table of kv_bytes.py out."""

from __future__ import annotations

import json
from typing import Annotated

import typer

QWEN = "Qwen2.5-VL-3B has"


def kv_bytes(
    head_dim: Annotated[int, typer.Option(help=f"Channels of one head; {QWEN} 128.")] = 128,
    kv_heads: Annotated[int, typer.Option(help=f"Heads of keys and values; {QWEN} 2.")] = 2,
    layers: Annotated[int, typer.Option(help=f"Decoder layers; {QWEN} 36.")] = 36,
    tokens: Annotated[int, typer.Option(help="Cached tokens; a screenshot of 1920x1080 has 2691.")] = 2691,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")] = False,
) -> None:
    """Bytes a token of a quantised cache of keys and values, for 8, 4 and 2 bits beside fp16."""
    from rich.table import Table

    from . import screen
    from .kv_bytes import kv_bytes as compute
    from .kv_bytes import table

    data = compute(head_dim, kv_heads, layers, tokens)
    if as_json:
        print(json.dumps(data, indent=2))
        return
    head, *rows = table(data)
    shown = Table(
        box=None,
        title=f"{kv_heads} kv heads of {head_dim} channels, {layers} layers: bytes a token, and a cache of {tokens} tokens",
        title_justify="left",
    )
    for index, column in enumerate(head):
        shown.add_column(column, justify="right" if index else "left")
    for row in rows:
        shown.add_row(*row)
    screen.console().print(shown)
