"""A Python iterable -> the pictures that may be drawn.

It may yield paths, uint8 pictures (H, W, 3) or (H, W), preprocessed floats (C, H, W), or pairs (picture, label); a torch
tensor is as good as an array, and a batch (N, ...) as good as its pictures. Arrays are held in memory, so an iterable
without an end is read up to ``MAX_BYTES`` of arrays or ``MAX_PICTURES``, with a note.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ...runtime.errors import UserMistake
from ...runtime.pictures.preprocess import ImageContract
from .arrays import as_array, check_pictures, check_values
from .items import Item, Opened, PictureArray, PictureFile, Pool
from .labels import class_number

MAX_BYTES = 2 * 1024**3
MAX_PICTURES = 1_000_000


def open_iterable(data: Iterable[Any], contract: ImageContract, labels: Sequence[str]) -> Opened:
    """Read ``data`` once; UserMistake when it yields nothing, or something that is no picture."""
    items: list[Item] = []
    names: list[str] = []
    numbers: list[int | None] = []
    notes: list[str] = []
    held_bytes = 0
    for position, element in enumerate(data):
        for item, label in _pictures(element, position, contract):
            where = f"element {position} of the iterable"
            names.append(item.path if isinstance(item, PictureFile) else f"picture {len(items)}")
            numbers.append(None if label is None else class_number(label, labels, where))
            items.append(item)
            held_bytes += item.values.nbytes if isinstance(item, PictureArray) else 0
        if held_bytes > MAX_BYTES or len(items) >= MAX_PICTURES:
            notes.append(f"the iterable was read up to picture {len(items)} only ({held_bytes:,} bytes of arrays)")
            break
    if not items:
        raise UserMistake(
            "the iterable of pictures is empty",
            found="no element",
            expected="paths, arrays, or pairs (picture, label)",
            attempt="a generator can be used once only: make a new one, or give a list",
        )
    ready = [one.values for one in items if isinstance(one, PictureArray) and one.values.dtype.kind == "f"]
    if ready:
        sample = np.stack(ready[:: max(1, len(ready) // 64)][:64])
        notes += check_values(sample, "pictures of the iterable", contract)
    if 0 < numbers.count(None) < len(numbers):
        notes.append(f"no labels: {numbers.count(None)} of {len(numbers)} elements of the iterable came without one")
    known = [number for number in numbers if number is not None]
    pool = Pool(names, numbers, known if len(known) == len(items) else None, items.__getitem__)
    return Opened(f"iterable ({type(data).__name__})", "iterable", pool, notes=tuple(notes))


def _pictures(element: Any, position: int, contract: ImageContract) -> Iterator[tuple[Item, Any]]:
    """One element -> its pictures, each with its label or None."""
    pair = isinstance(element, (tuple, list)) and len(element) == 2
    picture, label = element if pair else (element, None)
    if isinstance(picture, (str, os.PathLike)):
        yield PictureFile(os.fspath(picture)), label
        return
    if not isinstance(picture, np.ndarray) and not hasattr(picture, "numpy"):
        raise UserMistake(
            f"element {position} of the iterable is no picture",
            found=type(picture).__name__,
            expected="a path, a uint8 array, a preprocessed float array, or a pair (picture, label)",
            attempt="np.asarray(picture) for a picture of another library",
        )
    values = as_array(picture)
    floats = values.dtype.kind == "f"
    batch = values.ndim == 4 or (values.ndim == 3 and not floats and values.shape[2] not in (1, 3, 4))
    many = values if batch else values[None]
    check_pictures(many, f"pictures in element {position} of the iterable", contract)
    if not batch:
        yield PictureArray(values), label
        return
    each = [None] * len(many) if label is None else as_array(label).tolist()
    if not isinstance(each, list) or len(each) != len(many):
        raise UserMistake(
            f"element {position} of the iterable has labels that do not fit its pictures",
            found=f"{len(each) if isinstance(each, list) else 1} labels for {len(many)} pictures",
        )
    yield from ((PictureArray(one), number) for one, number in zip(many, each, strict=True))
