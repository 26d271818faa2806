"""Logits of the places of a map -> the class of each pixel of the picture: linear between the places, then the best class.

    logits (C, h, w), any stride      --classes-->      (H, W) uint8 or uint16

As transformers' ``post_process_semantic_segmentation`` (bilinear, ``align_corners=False``, then argmax), but by way of where the
picture lies in the network's input: what a crop left out has no class, and what a letterbox added is nobody's pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...pictures.placement import placement

if TYPE_CHECKING:
    from ...pictures.contract import ImageContract

MOST_GOLDEN = 2**20  # numbers of an answer that a self-test keeps: 4 MB


class Axis(NamedTuple):
    """For each pixel along an axis of the picture: the two places around it, the share of the second, and whether it is seen."""

    low: np.ndarray
    high: np.ndarray
    share: np.ndarray  # float32
    seen: np.ndarray  # bool


def classes(logits: np.ndarray, image_size: tuple[int, int], contract: ImageContract) -> np.ndarray:
    """The class of each pixel of a picture of ``image_size`` (height, width); the type's largest value where none is seen.

    ``logits`` (C, h, w) are those of the whole input of the network. One channel is the second of two classes, by its sign.
    """
    placed = placement(image_size, contract)
    rows, columns = (
        _axis(length, resized, offset, (first, first + last - start), size, places)
        for length, resized, offset, first, start, last, size, places in zip(
            image_size, placed.resized, placed.offset, placed.corner, placed.window[:2], placed.window[2:],
            contract.size, logits.shape[1:], strict=True,
        )
    )  # fmt: skip
    count = max(len(logits), 2)
    found = _best(np.asarray(logits, np.float32), rows, columns, np.uint8 if count < 256 else np.uint16)
    found[~rows.seen] = unseen(found)
    found[:, ~columns.seen] = unseen(found)
    return found


def unseen(found: np.ndarray) -> int:
    """What stands in a mask of this type where the network saw nothing."""
    return int(np.iinfo(found.dtype).max)


def thinned(answers: np.ndarray) -> np.ndarray:
    """(n, C, h, w) -> every so many-th place of both axes, so that an answer has ``MOST_GOLDEN`` numbers or few more."""
    step = max(1, round((answers[0].size / MOST_GOLDEN) ** 0.5)) if answers.size else 1
    return answers[:, :, ::step, ::step]


def _axis(length: int, resized: int, offset: int, seen: tuple[int, int], size: int, places: int) -> Axis:
    edge = (np.arange(length) + 0.5) * (resized / length) + offset  # of the network's input, in pixels
    at = np.clip(edge * (places / size) - 0.5, 0, places - 1)
    low = np.minimum(at.astype(np.int64), max(places - 2, 0))
    return Axis(
        low, np.minimum(low + 1, places - 1), (at - low).astype(np.float32), (edge >= seen[0]) & (edge < seen[1])
    )


def _best(logits: np.ndarray, rows: Axis, columns: Axis, dtype: type[np.unsignedinteger]) -> np.ndarray:
    """One channel at a time, so that a picture of many pixels and classes needs memory for two channels."""
    if len(logits) == 1:
        return np.asarray(_between(logits[0], rows, columns) > 0, dtype)
    able = np.flatnonzero(_able(logits))
    found = np.full((len(rows.low), len(columns.low)), able[0], dtype)
    best = _between(logits[able[0]], rows, columns)
    for index in able[1:]:
        other = _between(logits[index], rows, columns)
        better = other > best  # of equal ones the first
        np.copyto(best, other, where=better)
        np.copyto(found, index, where=better, casting="unsafe")
    return found


def _between(channel: np.ndarray, rows: Axis, columns: Axis) -> np.ndarray:
    """(h, w) -> (H, W) float32."""
    left = channel[:, columns.low]
    across = left + (channel[:, columns.high] - left) * columns.share
    upper = across[rows.low]
    lower = across[rows.high]
    lower -= upper
    lower *= rows.share[:, None]
    upper += lower
    return np.asarray(upper)


def _able(logits: np.ndarray) -> np.ndarray:
    """(C,) bool: the classes that may be best somewhere. Between four places a class is at most the largest of its four values,
    and the best class at least the largest of all classes' smallest.
    """
    high = low = logits
    for axis in (1, 2):
        if logits.shape[axis] > 1:
            pairs = [np.take(part, range(part.shape[axis] - 1), axis) for part in (high, low)]
            nexts = [np.take(part, range(1, part.shape[axis]), axis) for part in (high, low)]
            high, low = np.maximum(pairs[0], nexts[0]), np.minimum(pairs[1], nexts[1])
    return np.asarray((high >= low.max(axis=0)).any(axis=(1, 2)))
