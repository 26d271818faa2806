"""Options that several commands have in common, and how ``--json`` prints."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

Words = list[str] | None
Text = str | None
Number = int | None
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]
Threads = Annotated[Number, typer.Option(help="CPU threads; the engine decides when left out.")]
Data = Annotated[
    Text, typer.Option(help="Folder of pictures to judge by (default: photographs of installed packages).")
]


def print_json(document: Any) -> None:
    from ...runtime.bundle.manifest import plain

    print(json.dumps(plain(document), indent=2))
