"""Fields of an annotation file -> numbers of the right type, or an error that names the entry and what stands there.

JSON keeps what a tool wrote: "0" is a text and counts as true, 7.0 is no 7, true is a number to Python.  A field of another
type is never guessed at, but for the few spellings of ``iscrowd`` that can mean one thing only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserMistake

TYPES = {bool: "true or false", int: "a whole number", float: "a number with a point", str: "a text", list: "a list"}
CROWD = {"0": False, "1": True}  # how a text, a number or a truth may say iscrowd


def said(value: Any) -> str:
    """A value of the file as it may stand in an error."""
    return json.dumps(value, ensure_ascii=True)[:60]


def kind(value: Any) -> str:
    """The type of a value in words."""
    return TYPES.get(type(value), "nothing" if value is None else "an object")


def unusable(path: Path, where: str, field: str, value: Any, expected: str) -> UserMistake:
    """The error for one field."""
    return UserMistake(
        f"{path}: {where} has no usable {field}", found=f"{field} {said(value)}: {kind(value)}", expected=expected
    )


def number(value: Any) -> float | None:
    """A finite number as float64, None for all else: texts, truths, NaN, infinity and what is beyond float64."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def is_crowd(path: Path, where: str, entry: Mapping[str, Any]) -> bool:
    """``iscrowd``: 0, 1, true, false, "0" or "1"; 0 where it is missing."""
    value = entry.get("iscrowd")
    if value is None:
        return False
    plain = value if isinstance(value, str) else str(int(value)) if value in (0, 1) else ""
    if plain not in CROWD:
        raise unusable(path, where, "iscrowd", value, "0 or 1")
    return CROWD[plain]


def area_of(path: Path, where: str, entry: Mapping[str, Any]) -> float | None:
    """``area`` in pixels; None where it is missing.  COCO's own code leaves annotations of a negative area out."""
    value = entry.get("area")
    if value is None:
        return None
    area = number(value)
    if area is None or area < 0:
        raise unusable(path, where, "area", value, "a finite number of pixels, 0 or more")
    return area


def side_of(path: Path, where: str, entry: Mapping[str, Any], field: str) -> int | None:
    """``width`` or ``height`` in pixels; None where it is missing."""
    value = entry.get(field)
    if value is None:
        return None
    side = number(value)
    if side is None or side != int(side):
        raise unusable(path, where, field, value, "a whole number of pixels")
    return int(side)


def box_of(path: Path, where: str, entry: Mapping[str, Any]) -> tuple[list[float], bool]:
    """([x, y, width, height], whether it was taken from the extremes of a polygon)."""
    box, outline = entry.get("bbox"), entry.get("segmentation")
    if box is None and (drawn := _extremes(outline)) is not None:
        return drawn, True
    values = [number(value) for value in box] if isinstance(box, list) else []
    numbers = [value for value in values if value is not None]
    if len(values) != 4 or len(numbers) != 4:
        masked = box is None and outline is not None
        raise UserMistake(
            f"{path}: {where} has no usable box",
            found="a mask without bbox" if masked else f"bbox {said(box)}",
            expected="bbox: [x, y, width, height], four finite numbers in pixels",
        )
    return numbers, False


def _extremes(outline: Any) -> list[float] | None:
    """The box around polygons [[x, y, x, y ...], ...]; None for what are no polygons."""
    if not isinstance(outline, list) or not all(isinstance(part, list) and len(part) % 2 == 0 for part in outline):
        return None
    values = [number(value) for part in outline for value in part]
    numbers = [value for value in values if value is not None]
    if not values or len(numbers) != len(values):
        return None
    x, y = numbers[::2], numbers[1::2]
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


def of_another_type(value: Any, listed: Collection[Any]) -> str:
    """Words where ``value`` would be listed if it were of the type that the list has; "" elsewhere."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return f"{said(value)} is {kind(value)}, which names nothing"
    plain = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    same = next((one for one in listed if str(one).strip() == plain), None)
    return "" if same is None else f"the type differs: {said(value)} is {kind(value)}, {said(same)} is {kind(same)}"
