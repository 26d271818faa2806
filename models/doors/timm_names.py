"""The names of timm's models, read from the source files of the timm that is installed: importing it brings torch."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

REGISTERED = re.compile(r"^@register_model\s*\ndef (\w+)\(", re.MULTILINE)
RENAMED = re.compile(r"^register_model_deprecations\((.*?)^\}?\)", re.MULTILINE | re.DOTALL)
PAIR = re.compile(r"""['"](\w+)['"]:\s*['"]([\w.]+)['"]""")


@lru_cache(maxsize=1)
def timm_names() -> frozenset[str]:
    """All architectures; none where timm is not installed."""
    return frozenset(name for text in _sources() for name in REGISTERED.findall(text))


@lru_cache(maxsize=1)
def renamed() -> dict[str, str]:
    """Names of earlier releases -> those of today, with their tag."""
    return {old: new for text in _sources() for block in RENAMED.findall(text) for old, new in PAIR.findall(block)}


def architecture(word: str) -> str:
    """The name without its tag, in timm's spelling."""
    return word.partition(".")[0].strip().lower().replace("-", "_")


def is_timm(word: str) -> bool:
    name = architecture(word)
    return name in timm_names() or name in renamed()


@lru_cache(maxsize=1)
def _sources() -> tuple[str, ...]:
    found = find_spec("timm")  # does not import it
    folders = (found.submodule_search_locations or ()) if found else ()
    files = (file for folder in folders for file in sorted(Path(folder, "models").glob("*.py")))
    return tuple(file.read_text(encoding="utf-8", errors="replace") for file in files)
