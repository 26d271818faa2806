"""A COCO-style annotation file and its folder of pictures, or a YOLO data.yaml, -> what should be found in each picture.

    {"images": [{"id", "file_name", "width", "height"}], "categories": [{"id", "name"}],
     "annotations": [{"image_id", "category_id", "bbox": [x, y, width, height], "area", "iscrowd"}]}

Categories are sparse numbers (COCO: 1 to 90 for 80 classes); classes count from 0.  Boxes stay as they are annotated, not
clipped, and those that nothing can meet stay too, so that figures are those that COCO's own code gives.  docs/eval.md says
what is refused, what is told in a note, and why.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserMistake
from ..ground.regular import read_regular
from .categories import classes_of
from .fields import area_of, box_of, is_crowd, of_another_type, said
from .files import leave_out, locate, printable
from .yolo import is_yolo, read_yolo

MAX_JSON_BYTES = 4 * 1024**3
STRAY_PX = 2.0  # COCO's own boxes stick out of the picture by up to a pixel of rounding
STRAY_SHARE = 0.1  # more stray or empty boxes than this are no accident: another format


@dataclass(frozen=True, eq=False)
class Truth:
    """What should be found in one picture."""

    boxes: np.ndarray  # (n, 4) float64 x1 y1 x2 y2 in pixels of the picture
    classes: np.ndarray  # (n,) int64, from 0
    crowd: np.ndarray  # (n,) bool: a box around many; whatever is found inside counts neither way
    area: np.ndarray  # (n,) float64: of the segmentation where there is one, which decides small, medium or large
    image_size: tuple[int, int]  # (height, width)

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, eq=False)
class CocoSet:
    """Pictures with what should be found in them, in the order of their ids."""

    paths: tuple[Path, ...]
    truths: tuple[Truth, ...]
    ids: tuple[Any, ...]  # of the pictures, as the file has them: whole numbers or strings
    category_of_class: Mapping[int, int]  # a class that has no category is left out
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)


def read_coco(
    file: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    labels: Sequence[str] = (),
    limit: int | None = None,
) -> CocoSet:
    """The annotated set, checked.

    ``images``: the folder of the pictures; None looks beside the file.  ``labels``: the model's class names in order.
    ``limit``: so many pictures at most, drawn with a fixed seed.  UserMistake names what cannot be used.
    """
    path = Path(file)
    notes: list[str] = []
    document = read_yolo(path, notes) if is_yolo(path) else _document(path)
    pictures = _pictures(path, document["images"])
    classes = classes_of(path, document["categories"], document["annotations"], labels, notes)
    rows = _annotations(
        path, document["annotations"], pictures, classes, {c["id"] for c in document["categories"]}, notes
    )
    chosen = sorted(pictures, key=lambda number: (isinstance(number, str), number))
    if limit is not None and limit < len(chosen):
        drawn = sorted(np.random.RandomState(0).permutation(len(chosen))[:limit])
        notes.append(f"{limit} of {len(chosen)} pictures, drawn with a fixed seed")
        chosen = [chosen[index] for index in drawn]
    if is_yolo(path):
        found = {number: Path(pictures[number]["file_name"]) for number in chosen}
    else:
        found = locate(path, images, pictures, chosen, notes)
    sizes = leave_out(path, found, pictures, notes)
    truths, kept = [], [number for number in chosen if number in sizes]
    stray = Counter[str]()
    for number in kept:
        truths.append(_truth(rows.get(number, []), sizes[number], stray))
    _check_strays(path, stray, sum(map(len, truths)), notes)
    boxes = sum(int((~truth.crowd).sum()) for truth in truths)
    if not boxes:
        raise UserMistake(
            f"{path} has no annotated box" + (" on the pictures that were drawn" if limit is not None else ""),
            found=f"{len(kept)} pictures, {sum(map(len, rows.values()))} usable annotations",
            expected="at least one box that should be found",
            because="average precision is a share of the annotated boxes",
            attempt="the file with the annotations, not the one with the pictures only (image_info_...)",
        )
    empty = sum(len(truth) == 0 for truth in truths)
    if empty:
        notes.append(f"{empty} of {len(truths)} pictures have no annotation: whatever is found in them is wrong")
    category_of_class = {index: category for category, index in classes.items()}
    return CocoSet(tuple(found[n] for n in kept), tuple(truths), tuple(kept), category_of_class, tuple(notes))


def _document(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The JSON with its three lists, each entry an object."""
    try:
        content = read_regular(path, MAX_JSON_BYTES)
        document = json.loads(content)
    except OSError as error:
        raise UserMistake(
            f"cannot read the annotations {path}", found=error.strerror or str(error), attempt="check the path"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserMistake(
            f"{path} is not an annotation file",
            found=f"no JSON: {_why_not(error)}" if content else "an empty file",
            expected="a COCO-style JSON file",
            attempt="convert other formats (YOLO text files, Pascal VOC XML) to COCO JSON first",
        ) from None
    keys = ("images", "annotations", "categories")
    if isinstance(document, list):
        found = "a list" + (
            " of results: image_id, category_id, score" if document and "score" in str(document[0]) else ""
        )
    elif not isinstance(document, dict):
        found = type(document).__name__
    else:
        found = "keys " + ", ".join(list(document)[:8]) if document else "an empty object"
    if not isinstance(document, dict) or any(not isinstance(document.get(key), list) for key in keys):
        raise UserMistake(
            f"{path} is not an annotation file",
            found=found,
            expected="a COCO-style JSON object with the lists images, annotations, categories",
            attempt="convert other formats (YOLO text files, Pascal VOC XML) to COCO JSON first",
        )
    for key in keys:
        for position, entry in enumerate(document[key]):
            if not isinstance(entry, dict):
                raise _bad_entry(path, key, position, repr(entry)[:60], "an object")
    return document


def _why_not(error: Exception) -> str:
    """Why a content is no JSON; of bytes that are no text the place in their decoder says nothing to anybody."""
    return "bytes that are no text" if isinstance(error, UnicodeDecodeError) else str(error)[:120]


def _pictures(path: Path, entries: Sequence[dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    """id -> entry of each picture; UserMistake for entries without id or name, and for an id or a name used twice."""
    pictures: dict[Any, dict[str, Any]] = {}
    names: set[str] = set()
    for position, entry in enumerate(entries):
        number, name = entry.get("id"), entry.get("file_name")
        if not isinstance(number, (int, str)) or isinstance(number, bool):
            raise _bad_entry(path, "images", position, f"id {number!r}", "a whole number or a text as id")
        if not isinstance(name, str) or not name:
            raise _bad_entry(path, "images", position, f"file_name {name!r}", "the name of a picture")
        if number in pictures:
            raise UserMistake(
                f"{path} has two pictures with the same id",
                found=f"id {number!r}: {printable(pictures[number]['file_name'])} and {printable(name)}",
                because="annotations name the picture by its id",
                attempt="number the pictures anew where two files were merged",
            )
        if name in names:
            raise UserMistake(f"{path} lists one picture twice", found=f"{printable(name)}, again as id {number!r}")
        pictures[number] = entry
        names.add(name)
    if not pictures:
        raise UserMistake(f"{path} lists no picture", found='"images": []', expected="at least one picture")
    return pictures


def _annotations(
    path: Path,
    entries: Sequence[dict[str, Any]],
    pictures: Mapping[Any, Any],
    classes: Mapping[Any, int],
    categories: set[Any],
    notes: list[str],
) -> dict[Any, list[tuple[list[float], int, bool, float]]]:
    """image id -> its boxes (x, y, width, height), class, crowd and area."""
    rows: dict[Any, list[tuple[list[float], int, bool, float]]] = {}
    unknown: list[Any] = []
    empty: list[str] = []
    ids: set[Any] = set()
    outlined = left = lost = flat = 0
    for position, entry in enumerate(entries):
        where = f"annotation {entry.get('id', position)!r}"
        own = entry.get("id") if type(entry.get("id")) is int else said(entry.get("id"))
        lost += own in ids and "id" in entry
        ids.add(own)
        image, category = entry.get("image_id"), entry.get("category_id")
        if not isinstance(image, (int, str)) or isinstance(image, bool) or image not in pictures:
            unknown.append((where, image))
            continue
        if type(category) is not int or category not in categories:
            raise UserMistake(
                f"{path}: {where} is of a category that is not listed",
                found=f"category_id {category!r}",
                expected=f"one of {_some(sorted(categories, key=str))}",
                because=of_another_type(category, categories),
                attempt="add the category, or use the categories of the file that the annotations come from",
            )
        box, drawn = box_of(path, where, entry)
        crowd, area = is_crowd(path, where, entry), area_of(path, where, entry)
        outlined += drawn
        if category not in classes:
            left += 1
            continue
        if box[2] <= 0 or box[3] <= 0:
            empty.append(where)
        flat += area == 0 and box[2] > 0 and box[3] > 0
        if area is None:
            area = max(box[2], 0) * max(box[3], 0)
        rows.setdefault(image, []).append((box, classes[category], crowd, area))
    if unknown:
        differs = [words for _, image in unknown[:3] if (words := of_another_type(image, pictures))]
        raise UserMistake(
            f"{path}: {len(unknown)} of {len(entries)} annotations are of pictures that are not listed",
            found=", ".join(f"{where}: image_id {image!r}" for where, image in unknown[:3]),
            expected='an id of the list "images"',
            because=differs[0] if differs else "boxes without their picture would silently make the set easier",
            attempt="images and annotations of the same file",
        )
    if len(empty) > STRAY_SHARE * len(entries):
        raise UserMistake(
            f"{path}: {len(empty)} of {len(entries)} boxes have no size",
            found=f"{', '.join(empty[:3])}: width or height is 0 or less",
            expected="bbox: [x, y, width, height] with sizes above 0",
            attempt="[x1, y1, x2, y2] becomes [x1, y1, x2 - x1, y2 - y1]",
        )
    for count, words in (
        (len(empty), f"boxes have no size and count as never found, as in COCO's own code: {_some(empty)}"),
        (outlined, "annotations have no bbox: the extremes of their polygons are taken"),
        (flat, 'annotations say "area": 0 of a box that has one, and count as small, as in COCO\'s own code'),
        (left, "annotations are of categories that the model does not have, and are left out"),
        (lost, "annotations have the id of another one: numbered anew, where COCO's own code takes one box for both"),
    ):
        if count:
            notes.append(f"{count} {words}")
    return rows


def _truth(rows: Sequence[tuple[list[float], int, bool, float]], size: tuple[int, int], stray: Counter[str]) -> Truth:
    """One picture's annotations as arrays; boxes that cannot be right are counted."""
    boxes = np.array([box for box, *_ in rows], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    limits = np.array([size[1], size[0]])
    stray["out"] += int(((boxes[:, :2] < -STRAY_PX) | (boxes[:, 2:] > limits + STRAY_PX)).any(axis=1).sum())
    outside = np.asarray((boxes[:, 2:] <= 0).any(axis=1) | (boxes[:, :2] >= limits).any(axis=1))
    stray["outside"] += int(outside.sum())
    stray["shares"] += int((boxes <= 1).all(axis=1).sum())
    stray["again"] += len(rows) - len({(tuple(box), index, crowd) for box, index, crowd, _ in rows})
    classes, crowd, area = ([row[part] for row in rows] for part in (1, 2, 3))
    return Truth(boxes, np.array(classes, np.int64), np.array(crowd, bool), np.array(area, np.float64), size)


def _check_strays(path: Path, stray: Counter[str], total: int, notes: list[str]) -> None:
    """Boxes past the picture: a note for a few, an error where the format must be another one."""
    if total and stray["shares"] == total:
        raise UserMistake(
            f"{path}: the boxes are no pixels",
            found="every coordinate is at most 1",
            expected="bbox: [x, y, width, height] in pixels of the picture",
            attempt="multiply by the width and the height of each picture",
        )
    if stray["out"] > max(STRAY_SHARE * total, 1):
        raise UserMistake(
            f"{path}: {stray['out']} of {total} boxes reach past their picture",
            found=f"more than {STRAY_PX:g} pixels outside",
            expected="bbox: [x, y, width, height] in pixels of the picture",
            because="boxes given as [x1, y1, x2, y2], or annotated on pictures of another size, look like this",
            attempt="[x1, y1, x2, y2] becomes [x1, y1, x2 - x1, y2 - y1]",
        )
    if stray["again"]:
        notes.append(
            f"{stray['again']} annotations repeat another one (picture, class, box): each counts, as in COCO's own code"
        )
    if stray["outside"]:
        notes.append(
            f"{stray['outside']} boxes lie outside of their picture and count as never found, as in COCO's own code"
        )
    if stray["out"] > stray["outside"]:
        notes.append(
            f"{stray['out'] - stray['outside']} boxes reach past their picture by more than {STRAY_PX:g} pixels"
        )


def _bad_entry(path: Path, key: str, position: int, found: str, expected: str) -> UserMistake:
    return UserMistake(f"{path}: entry {position} of {key} cannot be used", found=found, expected=expected)


def _some(items: Sequence[Any]) -> str:
    return ", ".join(map(str, items[:3])) + (f" and {len(items) - 3} more" if len(items) > 3 else "")
