"""The names of timm's models, read from the source files of the timm that is installed: importing it brings torch."""

from __future__ import annotations

import difflib
import fnmatch
import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from ...runtime.errors import UserMistake

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
    if name in timm_names():
        return True
    quoted = (f"'{name}'", f'"{name}"')  # looked for first: reading all the old names takes as long as all of today's
    return any(one in text for text in _sources() for one in quoted) and name in renamed()


def timm_matching(pattern: str) -> list[str]:
    """Names that match ``*`` and ``?``, in order; UserMistake with near ones where there is none."""
    names = timm_names()
    found = sorted(fnmatch.filter(names, pattern.strip().lower()))
    if found:
        return found
    near = difflib.get_close_matches(pattern.strip("*? ").lower(), names, n=3, cutoff=0.4)
    raise UserMistake(
        "timm has no model of this name" if names else "timm is not installed",
        found=f"--timm {pattern}",
        expected=f"a part of its {len(names)} names, with * for the rest"
        if names
        else "pip install 'edgesmith[export]'",
        attempt=f"--timm '*{pattern.strip('*? ')}*'" + (f", or did you mean {' or '.join(near)}?" if near else ""),
    )


@lru_cache(maxsize=1)
def _sources() -> tuple[str, ...]:
    found = find_spec("timm")  # does not import it
    folders = (found.submodule_search_locations or ()) if found else ()
    files = (file for folder in folders for file in sorted(Path(folder, "models").glob("*.py")))
    return tuple(file.read_text(encoding="utf-8", errors="replace") for file in files)
