"""``--contract c.toml``: how pictures are prepared, said once in a file beside the checkpoint, in the names of the flags.

    mean = [0.449]          crop = 0.9            channels = 1        layout = "nhwc"
    std = [0.226]           resize = "bicubic"    colour = "rgb"      input_dtype = "float32"
    scale = "1/255"         fit = "stretch"       antialias = true    image_size = [224, 224]

A flag that says the same thing counts before the file, and the file before what the source of the model says.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...runtime.errors import UserMistake
from ...runtime.ground.regular import read_regular
from .arguments import nearest

ALIKE = {"color": "colour", "imgsz": "image_size", "size": "image_size", "interpolation": "resize", "crop_pct": "crop"}
OF_FLAGS = (
    *("mean", "std", "scale", "crop", "resize", "colour", "channels", "layout", "input_dtype"),
    "image_size",
)
OWN = ("fit", "antialias")  # which no flag says of every model
MOST_BYTES = 65_536


def read_contract(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Names of settings, and of what only the file says -> values as they stand in it, each looked at where its flag is.

    Raises:
        UserMistake: the file is not there, is no TOML, or says something that no contract has.
    """
    place = Path(path)
    try:
        found = _toml(read_regular(place, MOST_BYTES).decode("utf-8"))
    except FileNotFoundError:
        beside = [one.name for one in place.parent.glob("*.toml")] if place.parent.is_dir() else []
        raise UserMistake(
            f"There is no contract at {place}",
            found="nothing at that path",
            expected="a TOML file, with mean = [0.5, 0.5, 0.5] for one",
            attempt=nearest(place.name, beside) or "check the spelling of --contract",
        ) from None
    except (OSError, ValueError) as error:  # no UTF-8, no TOML
        raise UserMistake(
            f"The contract {place} cannot be read",
            found=(str(error).splitlines() or [type(error).__name__])[0][:200],
            expected="a TOML file of a few lines, with mean = [0.5, 0.5, 0.5] for one",
            attempt='words stand in quotes: resize = "bicubic"',
        ) from None
    if list(found) == ["contract"] and isinstance(found["contract"], Mapping):
        found = dict(found["contract"])
    return {_name(key, place): _value(key, value, place) for key, value in found.items()}


def _toml(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return dict(tomllib.loads(text))


def _name(key: str, place: Path) -> str:
    name = key.replace("-", "_").lower()
    name = ALIKE.get(name, name)
    if name in (*OF_FLAGS, *OWN):
        return name
    raise UserMistake(
        f"{place} says something that no contract has",
        found=f"{key} = ...",
        expected="some of " + ", ".join((*OF_FLAGS, *OWN)),
        attempt=nearest(name, (*OF_FLAGS, *OWN, *ALIKE)) or f"leave {key} out",
    )


def _value(key: str, value: Any, place: Path) -> Any:
    parts = value if isinstance(value, list) else [value]
    if parts and all(isinstance(part, (bool, int, float, str)) for part in parts):
        return value
    raise UserMistake(
        f"{place}: {key} cannot be used",
        found=f"{key} = {value!r}"[:160],
        expected="a number, a word, true or false, or a list of numbers",
        attempt=f"leave {key} out",
    )
