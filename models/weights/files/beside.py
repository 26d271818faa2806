"""The files beside a checkpoint that record how it was trained, in plain words.

args.yaml (timm), hparams.yaml (Lightning), config.json, preprocessor_config.json (timm, transformers, Swin) -> dicts by file name
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ....runtime.errors import UserMistake
from .plain_words import plain_words

MOST_BYTES = 16_000_000  # of a file beside the checkpoint
YACS = re.compile(r"^[A-Z_]+:", re.MULTILINE)  # Swin's trainings write YAML into config.json


def beside(folder: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(where it stands, words) of each that is there; UserMistake for one that cannot be read."""
    for name in ("args.yaml", "hparams.yaml"):  # timm's and Lightning's
        if isinstance(words := _read(folder / name), Mapping):
            yield name, words
    if isinstance(words := _read(folder / "config.json"), Mapping):
        inner = words.get("pretrained_cfg")
        yield "config.json", {**inner, **words} if isinstance(inner, Mapping) else words
    if isinstance(words := _read(folder / "preprocessor_config.json"), Mapping):
        inner = words.get("pretrained_cfg")
        yield "preprocessor_config.json", inner if isinstance(inner, Mapping) else words


def _read(file: Path) -> Any:
    """The content of a .json or .yaml file, None where there is none; UserMistake where it cannot be read."""
    if not file.is_file():
        return None
    try:
        if file.stat().st_size > MOST_BYTES:
            raise ValueError(f"{file.stat().st_size} bytes")
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix == ".json" and not YACS.search(text):
            return plain_words(json.loads(text))
        import yaml  # type: ignore[import-untyped]

        return plain_words(yaml.safe_load(text))
    except Exception as error:  # noqa: BLE001  two parsers, each with its own kinds
        raise UserMistake(
            f"{file} cannot be read",
            found=(str(error).splitlines() or [type(error).__name__])[0][:160],
            expected=f"{file.suffix[1:].upper()}, as the training wrote it",
            because="it may record how pictures are prepared for the checkpoint beside it",
            attempt="copy it again, or move it elsewhere where it belongs to another checkpoint",
        ) from None
