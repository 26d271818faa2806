"""Whatever was given as calibration data -> pools of pictures to draw from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...runtime.errors import UserMistake
from ...runtime.pictures.formats.suffixes import readable
from ...runtime.pictures.preprocess import ImageContract
from .arrays import as_array, from_arrays, open_arrays
from .coco import is_annotations
from .described import open_described
from .files import open_folder, open_list, open_picture
from .items import Noise, Opened, Pool
from .iterables import open_iterable
from .labels import UNKNOWN_CLASSES
from .shards import open_shards


class Truths(Protocol):
    """What a task reads beside pictures: (data, folder of the pictures, class names) -> a source with ``truths``, or None."""

    def __call__(
        self, data: Any, images: str | os.PathLike[str] | None, labels: tuple[str, ...], /
    ) -> Opened | None: ...


def open_source(
    data: Any,
    contract: ImageContract,
    labels: tuple[str, ...],
    count: int,
    held_out: int,
    seed: int,
    images: str | os.PathLike[str] | None = None,
    truths: Truths | None = None,
) -> Opened:
    """Folder, list file, picture, .npz, .npy, arrays, iterable or "random", and what ``truths`` reads (a COCO .json).

    UserMistake for anything else. With ``truths`` the pictures have no class of their own.
    """
    if truths is not None and (opened := truths(data, images, labels)) is not None:
        return opened
    if truths is None and is_annotations(data):
        raise UserMistake(
            f"{data} annotates boxes, and this model does not detect",
            found="a .json for a task whose pictures have one class each",
            expected="a folder of pictures, a list file .txt, .npz or .npy",
            attempt="a folder whose sub-folders are the classes",
        )
    if images is not None:
        raise UserMistake(
            "a folder of pictures was given without the annotations that name them",
            found=f"images {os.fspath(images)}, data {data if isinstance(data, (str, os.PathLike)) else type(data).__name__}",
            expected="data: a COCO-style .json",
            attempt="--data with the .json; a folder without annotations is --data by itself",
        )
    if truths is not None:
        return _unlabelled(_open(data, contract, (), count, held_out, seed))
    return _open(data, contract, labels, count, held_out, seed)


def _unlabelled(opened: Opened) -> Opened:
    """Without labels: a class for a whole picture says nothing here; folders still balance the draw."""
    pool, held = (None if one is None else replace(one, labels=None) for one in (opened.pool, opened.validation))
    assert pool is not None
    return replace(opened, pool=pool, validation=held, notes=tuple(n for n in opened.notes if n != UNKNOWN_CLASSES))


def _open(data: Any, contract: ImageContract, labels: tuple[str, ...], count: int, held_out: int, seed: int) -> Opened:
    if isinstance(data, str) and data == "random":
        total = count + min(held_out, count)
        pool = Pool([f"noise {i}" for i in range(total)], [None] * total, None, lambda i: Noise(seed, i, contract.size))
        note = "RANDOM DATA: the ranges fit noise, not pictures; try the tool with this, never ship its result"
        return Opened("random", "random", pool, notes=(note,))
    if isinstance(data, (str, os.PathLike)):
        return _open_path(Path(data), contract, labels)
    if isinstance(data, Mapping):
        return from_arrays(data, "the given arrays", contract, labels)
    if isinstance(data, np.ndarray) or hasattr(data, "numpy"):
        return from_arrays({"images": as_array(data)}, "the given array", contract, labels)
    if isinstance(data, (bytes, bytearray)) or not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
        raise UserMistake(
            "this is no calibration data",
            found=type(data).__name__,
            expected='a folder, a list file, .npz, .npy, an iterable of pictures, or "random"',
        )
    return open_iterable(data, contract, labels)


def _open_path(path: Path, contract: ImageContract, labels: tuple[str, ...]) -> Opened:
    kind = path.suffix.lower()
    if path.is_dir():
        return open_described(path, labels) or open_shards(path, labels) or open_folder(path, labels)
    if not path.is_file():
        raise UserMistake(
            f"there is no calibration data at {path}",
            found="nothing at that path" if not path.exists() else "neither a file nor a folder",
            expected="a folder of pictures, a list file .txt, a COCO .json, .npz or .npy",
            attempt='check the spelling and the folder you are in; "random" needs no data and proves nothing',
        )
    if kind in (".npz", ".npy"):
        return open_arrays(path, contract, labels)
    if kind in readable():
        return open_picture(path)
    if kind not in ("", ".txt", ".lst", ".list"):
        raise UserMistake(
            f"{path} cannot be used as calibration data",
            found=f"a {kind} file",
            expected="a folder of pictures, a list file .txt, a COCO .json, .npz or .npy",
            attempt="unpack an archive first; a table becomes a .txt with one path a line",
        )
    return open_list(path, labels)
