"""A COCO-style .json and its folder -> the pictures that may be drawn, with what should be found in each."""

from __future__ import annotations

import os
from pathlib import Path

from ...runtime.coco.annotations import read_coco
from ...runtime.errors import UserMistake
from .items import Opened, PictureFile, Pool


def open_coco(path: Path, images: str | os.PathLike[str] | None, labels: tuple[str, ...], task: str) -> Opened:
    """UserMistake for a file that cannot be used (runtime/coco/annotations.py), and for a model that does not detect."""
    if task != "detection":
        raise UserMistake(
            f"{path} annotates boxes, and this model does not detect",
            found=f"a .json for the task {task}",
            expected="a folder of pictures, a list file .txt, .npz or .npy",
            attempt="a folder whose sub-folders are the classes",
        )
    found = read_coco(path, images, labels)
    names = [one.name for one in found.paths]
    pool = Pool(names, [None] * len(names), None, lambda index: PictureFile(str(found.paths[index])), found.truths)
    return Opened(str(path), "coco", pool, notes=found.notes)
