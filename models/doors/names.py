"""What is typed after ``--model``, where it names no family of ours -> the door that it goes through -> ModelSpec.

    timm:NAME[.TAG], or NAME alone    timm_model          path/file.py:function    own_module
    torchvision:NAME                  torchvision_model   path/net.onnx            onnx_file
    hf:FOLDER                         hf_folder

A door is one module here with ``spec(rest, model_args)``, where ``rest`` is the word behind the prefix. It is imported when
its turn comes: telling that a word names nothing must not take the seconds that timm and torch take.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..weights.place import SUFFIXES
from .timm_names import is_timm

if TYPE_CHECKING:
    from ..spec import ModelSpec

PREFIXES = {"timm": "timm_model", "torchvision": "torchvision_model", "hf": "hf_folder"}
PLACES = ("hf_folder", "own_module", "onnx_file")  # doors of what lies on somebody's disk
FUNCTION = re.compile(r".*\.py(?::.*)?", re.DOTALL)
FILES = "onnx_file"  # the door whose task is asked before the plan is made: reading the face of a file costs nothing
EXAMPLES = "timm:NAME, torchvision:NAME, hf:FOLDER, path/file.py:function or path/net.onnx"


def door_of(word: str) -> tuple[str, str] | None:
    """(module of the door, what it is asked for); None where the word looks like none of them."""
    prefix, colon, rest = word.strip().partition(":")
    if colon and prefix.lower() in PREFIXES:
        return PREFIXES[prefix.lower()], rest
    if word.strip().lower().endswith(".onnx"):
        return FILES, word.strip()
    if FUNCTION.fullmatch(word.strip()):
        return "own_module", word.strip()
    return ("timm_model", word.strip()) if is_timm(word.strip()) else None


def meant(word: str) -> str:
    """What is meant by a place on the disk that is no name of a model; empty where it is none."""
    place = Path(word)
    if (place / "config.json").is_file():
        return f"--model hf:{word}"
    if place.is_file() and place.suffix in SUFFIXES:
        return f"--model NAME --weights {word}, since weights alone do not say of which network they are"
    return ""


def spec_of(word: str, model_args: Mapping[str, Any]) -> ModelSpec | None:
    """The spec that a door gives; None where the word names none. UserMistake where what it names cannot be used."""
    found = door_of(word)
    if found is None:
        return None
    door, rest = found
    spec: ModelSpec = import_module(f".{door}", __package__).spec(rest, model_args)
    return spec
