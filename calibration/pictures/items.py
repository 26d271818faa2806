"""One picture to calibrate with: a file, an array or noise. Checked first, which gives its digest; decoded when needed.

item.checked() -> the same item with its digest, or UserMistake;  item.tensor(contract) -> one picture as the
graph takes it, (C, H, W) float32 unless the contract says otherwise
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...runtime.coco.files import check_size
from ...runtime.errors import UserMistake
from ...runtime.pictures.contract import BYTES
from ...runtime.pictures.file import check_image, decode_image, read_file
from ...runtime.pictures.preprocess import ImageContract, as_rgb, preprocess


@dataclass(frozen=True)
class PictureFile:
    """A picture on disk; its digest is that of the file's bytes, so paths and times do not matter."""

    path: str
    digest: str = ""
    size: tuple[int, int] | None = None  # (height, width) that its boxes are held to, where it has some

    def checked(self) -> PictureFile:
        """Read and decode once (JPEG at an eighth of its size) and forget the pixels."""
        data = read_file(self.path)
        check_image(data, self.path)
        return replace(self, digest=hashlib.sha256(data).hexdigest())

    def tensor(self, contract: ImageContract) -> np.ndarray:
        """UserMistake when the file is no longer the one that was checked: the digest would name other pictures."""
        data = read_file(self.path)
        if hashlib.sha256(data).hexdigest() != self.digest:
            raise UserMistake(
                f"the picture {self.path} changed while it was in use",
                found="other bytes than when the data was opened",
                attempt="run the command again",
            )
        image = decode_image(data, self.path, contract.channels == 4)
        if self.size is not None:
            check_size(self.path, image, self.size)
        return preprocess([image], contract)[0]


@dataclass(frozen=True, eq=False)
class PictureArray:
    """uint8 or uint16 pixels (H, W), (H, W, 1|3|4), or a tensor (C, H, W) of floats that is preprocessed already."""

    values: np.ndarray
    digest: str = ""

    def checked(self) -> PictureArray:
        """A copy of its own (the source may be a mapped file); UserMistake for NaN and infinity."""
        values = np.array(self.values, np.float32 if self.values.dtype.kind == "f" else None, order="C")
        if values.dtype.kind != "f":
            as_rgb(values)  # its depth, before it is drawn
        elif not np.isfinite(values).all():
            raise UserMistake("this picture is not usable", found="NaN or infinity", expected="finite numbers")
        head = f"{values.dtype.str} {values.shape} "
        return PictureArray(values, hashlib.sha256(head.encode() + values.tobytes()).hexdigest())

    def tensor(self, contract: ImageContract) -> np.ndarray:
        return self.values if self.values.dtype == np.float32 else preprocess([self.values], contract)[0]


@dataclass(frozen=True)
class Noise:
    """A standard normal tensor, or bytes where the graph takes such, made again from its numbers each time."""

    seed: int
    index: int
    shape: tuple[int, int]
    digest: str = ""

    def checked(self) -> Noise:
        text = f"standard normal {self.seed} {self.index} {self.shape}"
        return replace(self, digest=hashlib.sha256(text.encode()).hexdigest())

    def tensor(self, contract: ImageContract) -> np.ndarray:
        random = np.random.RandomState([self.seed, self.index])  # numpy promises that its stream never changes
        shape = contract.shape(1, self.shape)[1:]
        if contract.dtype == BYTES:
            return random.randint(0, 256, shape).astype(np.uint8)
        return random.standard_normal(shape).astype(np.float32)


Item = PictureFile | PictureArray | Noise


@dataclass(frozen=True)
class Pool:
    """Pictures to draw from, in an order that does not depend on the machine; ``item(i)`` costs nothing."""

    names: Sequence[str]
    groups: Sequence[object]  # per picture: what the draw is balanced over; equal things are one class
    labels: Sequence[int] | None
    item: Callable[[int], Item]
    truths: Sequence[Any] | None = None  # what the task should find in each picture: of a detector Truth


@dataclass(frozen=True)
class Opened:
    """A source of pictures, read as far as needed to draw from it."""

    source: str
    kind: str  # "folder", "list", "coco", "arrays", "iterable" or "random"
    pool: Pool
    validation: Pool | None = None  # the held-out pictures, where the source keeps them apart
    notes: tuple[str, ...] = ()


def many(number: int) -> str:
    """A number of pictures in words."""
    return f"{number:,} picture" + ("" if number == 1 else "s")
