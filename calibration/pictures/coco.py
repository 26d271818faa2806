"""A COCO-style .json and its folder -> the pictures that may be drawn, with what should be found in each."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...runtime.coco.annotations import read_coco
from .items import Opened, PictureFile, Pool


def is_annotations(data: Any) -> bool:
    """Whether ``data`` names a .json file."""
    return isinstance(data, (str, os.PathLike)) and Path(data).suffix.lower() == ".json"


def open_coco(data: Any, images: str | os.PathLike[str] | None, labels: tuple[str, ...]) -> Opened | None:
    """The pictures with the boxes that are in them (a ``Truths``), None for data that is no .json.

    UserMistake for a file that cannot be used (runtime/coco/annotations.py).
    """
    if not is_annotations(data):
        return None
    path = Path(data)
    found = read_coco(path, images, labels)
    names = [one.name for one in found.paths]

    def item(index: int) -> PictureFile:
        return PictureFile(str(found.paths[index]), size=found.truths[index].image_size)

    pool = Pool(names, [None] * len(names), None, item, found.truths)
    return Opened(str(path), "coco", pool, notes=found.notes)
