"""A YOLO ``data.yaml`` with its label files -> the lists of a COCO file, so that one reader checks both.

    path: ../set            where the set lies, from the yaml; left out: where the yaml lies
    train: images/train     a folder of pictures, a .txt that lists them, or a list of these; likewise val, test
    val: images/val
    names: {0: cat, 1: dog} or [cat, dog]

images/val/a.jpg has its boxes in labels/val/a.txt; pictures that lie below no folder ``images`` have them beside themselves. A line is
``class x y width height``, centre and size as shares of the picture, or ``class x1 y1 x2 y2 ...``, an outline whose extremes are the box.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserMistake
from ..ground.regular import read_regular
from ..pictures.formats.suffixes import readable
from ..pictures.size import picture_size

SUFFIXES = (".yaml", ".yml")
SPLITS = ("val", "test", "train")  # the first that is there is judged
MAX_YAML_BYTES, MAX_LABEL_BYTES, MAX_LIST_BYTES = 4 * 1024**2, 16 * 1024**2, 256 * 1024**2
FORM = "class x y width height, centre and size as shares of the picture from 0 to 1"
ROUNDING = 1e-3  # of coordinates that were written with few digits


def is_yolo(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def read_yolo(path: Path, notes: list[str]) -> dict[str, list[dict[str, Any]]]:
    """{"images", "annotations", "categories"} of the part that is judged; ``file_name`` is the whole path, ``id`` the one in the set.

    Raises UserMistake: no YAML, no names or pictures, no label file at all, a line that is no box.
    """
    told = _settings(path)
    names, split = _names(path, told), next((name for name in SPLITS if told.get(name)), "")
    if not split:
        raise _no_set(
            path, f"keys {', '.join(map(str, list(told)[:8]))}", "val: a folder of pictures, or a list of them"
        )
    root = path.parent / str(told.get("path") or "")
    pictures = _pictures(path, root, split, told[split])
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    outlines = 0
    missing: list[str] = []
    for picture in pictures:
        name = os.path.relpath(picture, root)
        labels = labels_of(picture)
        height, width = picture_size(picture)
        images.append({"id": name, "file_name": str(picture), "width": width, "height": height})
        if not labels.is_file():
            missing.append(name)
            continue
        for index, box, outlined in _boxes(labels, len(names)):
            x, y, w, h = box
            pixels = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
            outlines += outlined
            annotations.append({"id": len(annotations) + 1, "image_id": name, "category_id": index, "bbox": pixels})
    if len(missing) == len(pictures):
        raise _no_set(path, f"no label file {labels_of(pictures[0])}, nor any of the other pictures of {split}", FORM)
    notes.append(f"{split}: {len(pictures)} pictures")
    if missing:
        notes.append(f"{len(missing)} pictures have no label file, and so no object: {', '.join(missing[:3])}")
    if outlines:
        notes.append(f"{outlines} labels are outlines: their extremes are taken")
    categories = [{"id": index, "name": name} for index, name in names.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def labels_of(picture: Path) -> Path:
    """Where the boxes of a picture stand: the last folder ``images`` on its way becomes ``labels``."""
    parts = list(picture.parts[:-1])
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts, picture.stem + ".txt")


def _settings(path: Path) -> dict[Any, Any]:
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError:
        raise UserMistake(
            f"{path}: reading YAML needs PyYAML", found="no module yaml", attempt="pip install 'edgesmith[eval]'"
        ) from None
    try:
        told = yaml.safe_load(read_regular(path, MAX_YAML_BYTES).decode("utf-8-sig"))
    except OSError as error:
        raise UserMistake(f"cannot read {path}", found=error.strerror or str(error), attempt="check the path") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _no_set(
            path, f"no YAML: {str(error).splitlines()[0][:100]}", "a YOLO data.yaml: names, train, val"
        ) from None
    if not isinstance(told, dict):
        raise _no_set(path, type(told).__name__, "a YOLO data.yaml: names, train, val")
    return told


def _names(path: Path, told: Mapping[Any, Any]) -> dict[int, str]:
    names = told.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or not all(type(index) is int and index >= 0 for index in names):
        raise _no_set(path, f"names: {names!r}"[:100], "names: {0: cat, 1: dog}, or [cat, dog]")
    return {index: str(name) for index, name in names.items()}


def _pictures(path: Path, root: Path, split: str, places: Any) -> list[Path]:
    """All pictures of a part, by their paths; UserMistake for a place without any."""
    found: list[Path] = []
    for place in places if isinstance(places, list) else [places]:
        where = root / str(place)
        if where.is_dir():
            some = sorted(one for one in where.rglob("*") if one.suffix.lower() in readable() and one.is_file())
        elif where.is_file() and where.suffix.lower() == ".txt":
            lines = read_regular(where, MAX_LIST_BYTES).decode("utf-8-sig", "replace").splitlines()
            some = [where.parent / line.strip() for line in lines if line.strip()]
        else:
            raise _no_set(
                path, f"{split}: {place}, nothing at {where}", "a folder of pictures, or a .txt that lists them"
            )
        if not some:
            raise _no_set(path, f"{split}: {where} without a picture", "pictures: " + " ".join(readable()))
        found += some
    return list(dict.fromkeys(found))


def _boxes(file: Path, classes: int) -> list[tuple[int, tuple[float, float, float, float], bool]]:
    """(class, (x, y, width, height) as shares, whether it is an outline) of each line."""
    try:
        lines = read_regular(file, MAX_LABEL_BYTES).decode("utf-8-sig", "replace").splitlines()
    except OSError as error:
        raise UserMistake(f"cannot read {file}", found=error.strerror or str(error)) from None
    found = []
    for number, line in enumerate(lines, start=1):
        if words := line.split():
            values = _values(words)
            if values is None or not all(-ROUNDING <= value <= 1 + ROUNDING for value in values[1:]):
                raise _bad_line(file, number, line, _why(words, values))
            if not values[0].is_integer() or not 0 <= values[0] < classes:
                raise _bad_line(file, number, line, f"the classes are 0 to {classes - 1}")
            found.append((int(values[0]), _box(values[1:]), len(values) > 5))
    return found


def _values(words: Sequence[str]) -> list[float] | None:
    """A class and a box or an outline; None for what is neither."""
    if len(words) != 5 and (len(words) < 7 or len(words) % 2 == 0):
        return None
    try:
        return [float(word) for word in words]
    except ValueError:
        return None


def _box(values: Sequence[float]) -> tuple[float, float, float, float]:
    if len(values) == 4:
        x, y, width, height = values
        return x, y, width, height
    across, down = values[0::2], values[1::2]
    width, height = max(across) - min(across), max(down) - min(down)
    return min(across) + width / 2, min(down) + height / 2, width, height


def _why(words: Sequence[str], values: Sequence[float] | None) -> str:
    if values is not None:
        return "coordinates outside of 0 to 1 are pixels, or of another format"
    return "six numbers are an answer with its score, not a label" if len(words) == 6 else ""


def _bad_line(file: Path, number: int, line: str, because: str) -> UserMistake:
    return UserMistake(
        f"{file}, line {number}: this is no box", found=line.strip()[:80], expected=FORM, because=because
    )


def _no_set(path: Path, found: str, expected: str) -> UserMistake:
    return UserMistake(f"{path} is no YOLO set that can be judged", found=found, expected=expected)
