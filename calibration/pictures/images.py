"""Pictures to calibrate with and pictures to judge by: drawn once, checked, then decoded batch by batch.

    folder | list file | COCO .json | .npz | .npy | iterable | "random"  ->  CalibrationData(calibration, held_out)

The calibration pictures are balanced over the classes; the held-out ones keep the mix of the data, so that an accuracy
measured on them is the data's. Of a set too small for both, half calibrates and half is held out. Every picture of both sets has been decoded once when ``open_data`` returns (a JPEG at an
eighth of its size), therefore ``batches`` never leaves one out and labels and digest stay true.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...runtime.errors import UserMistake
from ...runtime.pictures.preprocess import ImageContract
from .draw import WHOLE, Checker, Skipped, balanced, draw, printable, share, shuffled
from .items import Item, Opened, Pool, many
from .sources import Truths, open_source

__all__ = ["CalibrationData", "ImageSet", "Skipped", "open_data"]

LOOK_AT = 4  # times as many pictures as are to be held out: copies and broken files by the thousand end the search
FEW = 16  # fewer pictures than this do not show the ranges of a network


@dataclass(frozen=True)
class ImageSet:
    """Some pictures in a fixed order; nothing but array data is held in memory."""

    source: str
    kind: str  # "folder", "list", "coco", "arrays", "iterable" or "random"
    names: tuple[str, ...]
    labels: tuple[int, ...] | None
    contract: ImageContract
    digest: str  # SHA-256 over the contents in their order: of a file its bytes, never its path or time
    items: tuple[Item, ...] = field(default=(), repr=False, compare=False)
    truths: tuple[Any, ...] | None = field(default=None, repr=False, compare=False)  # what the task should find in each

    def __len__(self) -> int:
        return len(self.names)

    def batches(self, size: int, start: int = 0) -> Iterator[np.ndarray]:
        """n pictures as the graph takes them, (n, 3, H, W) float32 for most, from picture ``start`` on, n = ``size`` but for the last; preprocessed by the contract."""
        if size < 1 or start < 0:
            raise ValueError(f"batches of {size} from picture {start}")
        for at in range(start, len(self), size):
            yield np.stack([item.tensor(self.contract) for item in self.items[at : at + size]])


@dataclass(frozen=True)
class CalibrationData:
    """What was drawn, what could not be used, and what the user should know."""

    calibration: ImageSet
    held_out: ImageSet
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]


def open_data(
    data: str | os.PathLike[str] | Iterable[Any],
    contract: ImageContract,
    *,
    labels: Sequence[str] = (),
    count: int = 128,
    held_out: int = 1000,
    seed: int = 0,
    images: str | os.PathLike[str] | None = None,
    truths: Truths | None = None,
    keep_back: int | None = None,
) -> CalibrationData:
    """Draw ``count`` pictures to calibrate and up to ``held_out`` others to judge by.

    ``keep_back``: how many, of at most half of the set, must not calibrate where the source has no held-out pictures of its own.
    None: ``held_out``, but none of fewer than 32, whose halves would show neither ranges nor an accuracy.

    ``labels``: class names of the model, in the order of its outputs; () when they are not known. ``images``: the folder of
    the pictures that a COCO .json names (None: looked for beside it). With ``truths``, the reader of a task whose pictures
    have no class of their own, sub-folders are no classes, and only what it reads says what is in them. The same call on
    the same contents draws the same pictures everywhere. UserMistake when there is no picture that can be used.
    """
    for name, value, least in (("count", count, 1), ("held_out", held_out, 0), ("seed", seed, 0)):
        if not isinstance(value, int) or not least <= value < 2**31:
            raise UserMistake(f"the number of pictures or the seed: {name} = {value!r}", expected=f"{least} or more")
    opened = open_source(data, contract, tuple(labels), count, held_out, seed, images, truths)
    notes = list(opened.notes)

    total = len(opened.pool.names)
    if keep_back is None:
        keep_back = held_out if total >= 2 * FEW else 0
    keep_back = 0 if opened.validation else min(keep_back, held_out, total // 2)
    pool = opened.validation or opened.pool
    if keep_back and total <= WHOLE:
        checker = judge = Checker(opened.pool, once=True)
        drawn, kept = share(checker, count, held_out, keep_back, seed)
    else:
        checker = Checker(opened.pool)
        drawn = balanced(opened.pool, shuffled(total, seed), count, checker, keep_back)
        judge = Checker(pool, {checker.items[index].digest for index in drawn}, once=True)
        looked_at = set() if opened.validation else checker.seen
        left = [index for index in shuffled(len(pool.names), seed) if index not in looked_at]
        kept = draw([deque(left[: LOOK_AT * held_out])], held_out, judge)
    if not drawn:
        first = checker.skipped[0]
        raise UserMistake(
            f"no picture of {opened.source} can be used",
            found=f"{len(checker.skipped)} that cannot be read; {first.name}: {first.why}",
            attempt=first.attempt or "open one of them in a viewer; name another folder",
        )
    calibration = _image_set(opened, opened.pool, checker, drawn, contract)
    if len(kept) < (1 if opened.validation or keep_back else FEW) and len(kept) < held_out:
        notes.append(
            f"no held-out pictures: the calibration took {len(drawn)}, and {len(kept)} were left. Accuracy cannot be "
            "measured; give more pictures, or fewer to the calibration"
        )
        kept = []
    elif kept and len(drawn) < count and not opened.validation:
        notes.append(f"{many(len(drawn))} calibrate, {len(kept)} others judge: at most half of a set calibrates")
    held = _image_set(opened, pool, judge, kept, contract)

    if len(calibration) < FEW:
        notes.append(
            f"only {many(len(calibration))} to calibrate with: below {FEW} the ranges are guesses, 128 are usual"
        )
    skipped = (*checker.skipped, *(judge.skipped if judge is not checker else ()))
    if skipped:
        some = ", ".join(f"{one.name} ({one.why.splitlines()[0][:60]})" for one in skipped[:3])
        more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
        notes.append(f"{many(len(skipped))} cannot be used, others took the place: {some}{more}")
    if judge.repeated:
        notes.append(f"{many(len(judge.repeated))} left out: others have the same contents")
    return CalibrationData(calibration, held, skipped, tuple(notes))


def _image_set(
    opened: Opened, pool: Pool, checker: Checker, chosen: Sequence[int], contract: ImageContract
) -> ImageSet:
    """The chosen pictures as a set, with the digest over their contents in this order."""
    items = tuple(checker.items[index] for index in chosen)
    digest = hashlib.sha256("\n".join(item.digest for item in items).encode()).hexdigest()
    labels = None if pool.labels is None else tuple(pool.labels[index] for index in chosen)
    names = tuple(printable(pool.names[index]) for index in chosen)
    truths = None if pool.truths is None else tuple(pool.truths[index] for index in chosen)
    return ImageSet(opened.source, opened.kind, names, labels, contract, digest, items, truths)
