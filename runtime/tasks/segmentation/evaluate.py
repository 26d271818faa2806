"""Bundles on pictures with masks -> mean IoU, IoU of each class and the share of right pixels: ``edgesmith eval`` of segmenters.

IoU of a class is the pixels that mask and network both give to it, by those that either gives to it, counted over all pictures
(Everingham et al., The Pascal Visual Object Classes Challenge, 2010); the mean is over the classes that occur in either. Judged are the
pixels of the pictures themselves, whatever size the network sees. Torch-free, for the device.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...coco.confusion import Confused
from ...coco.intervals import bootstrap_95, times_drawn
from ...errors import BackendUnavailable, UserMistake
from ..described import Described
from ..evaluation import Asked, Load, Progress, refuse_detector_settings, table
from ..parts import Source, opened_once, source_of
from .masks import read_mask
from .pairs import IGNORED, Pair, Reading, check_pairs, find_pairs

BATCH = 4  # pictures at a time where the bundle takes any number
COLUMNS = ("", "precision", "mIoU", "95 %", "pixel accuracy", "pictures")
Counts3 = tuple[np.ndarray, np.ndarray, np.ndarray]  # of one picture: right, of the mask, found; (K,) each
Counted = tuple[Counts3, Counts3]  # with the pixels that are confused: of the mask, found, how many; (n,) each
Answer = Callable[[Sequence[Path]], Sequence[np.ndarray]]  # pictures -> (H, W) classes of each, in its own pixels


@dataclass(frozen=True, eq=False)
class Counts:
    """Pixels of each picture and class, (n, K) int64: right, of the mask, given by the network where the mask counts."""

    right: np.ndarray
    truth: np.ndarray
    found: np.ndarray
    confused: Confused | None = None  # of all pictures

    def ious(self, times: np.ndarray | None = None) -> np.ndarray:
        """(K,) of the set, or (R, K) of draws in which each picture is ``times`` (R, n) often; NaN where neither has the class."""
        drawn = np.ones((1, len(self.right)), np.int64) if times is None else times.astype(np.int64)
        right, truth, found = (drawn @ part for part in (self.right, self.truth, self.found))
        union = truth + found - right
        rates = np.where(union > 0, right / np.maximum(union, 1), np.nan)
        return np.asarray(rates[0] if times is None else rates)


def evaluate(
    bundles: Sequence[Described],
    data: str | os.PathLike[str],
    asked: Asked,
    load: Load,
    save: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    first: Callable[[Sequence[Pair], Reading], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """One row a bundle, in percent; ``first`` makes one that stands before them."""
    check_asked(asked, save, bundles[0])
    pairs, notes = find_pairs(data, asked.images, asked.limit)
    readings = [reading_of(bundle, asked) for bundle in bundles]
    for reading in dict.fromkeys(readings):
        check_pairs(pairs, reading)
    notes += list(dict.fromkeys(one.words() for one in readings))
    rows: list[dict[str, Any]] = [first(pairs, readings[0])] if first is not None else []
    for bundle, reading in zip(bundles, readings, strict=True):
        row = {"name": bundle.path.name, "precision": bundle.precision}
        try:
            rows.append(row | _row(bundle, pairs, reading, asked, load, progress))
        except BackendUnavailable as error:
            if len(bundles) == 1:
                raise
            rows.append(row | {"why_not": str(error).splitlines()[0]})
    unseen = max((row.get("unseen", 0.0) for row in rows), default=0.0)
    if unseen:
        notes.append(f"{unseen:.1f} % of the pixels are outside of what the network sees, and count as wrong")
    return {"task": bundles[0].task, "data": os.fspath(data), "notes": notes, "rows": rows}


def check_asked(asked: Asked, save: str | os.PathLike[str] | None, bundle: Described) -> None:
    """UserMistake for what belongs to detectors."""
    expected, saves = "--data with a folder of pictures and masks", "edgesmith run --masks writes masks"
    refuse_detector_settings(asked, save, bundle, "segments", expected, saves, images=True)


def reading_of(bundle: Described, asked: Asked) -> Reading:
    """255 is no class by custom, unless there are so many classes that it is one."""
    classes = len(bundle.labels)
    usual = IGNORED if classes + asked.reduce_labels <= IGNORED else None
    return Reading(classes, usual if asked.ignore_label is None else asked.ignore_label, asked.reduce_labels)


def _row(
    bundle: Described, pairs: Sequence[Pair], reading: Reading, asked: Asked, load: Load, progress: Progress | None
) -> dict[str, Any]:
    name = bundle.path.name
    with load(bundle, backend=asked.backend, threads=asked.threads) as session:
        least, size = session.batch_sizes(BATCH)
        batch, backend = max(least, min(size, BATCH)), session.backend
        if asked.spread is None:
            counts, unseen = count(_answers(session), pairs, reading, batch, name, progress)
            return {"backend": backend, **figures(counts, unseen, bundle.labels)}
    about = (source_of(bundle), load, backend, asked.threads, reading, batch)
    counts, unseen = joined(asked.spread(bundle_part, about, anywhere(pairs), batch, name, progress))
    return {"backend": backend, **figures(counts, unseen, bundle.labels)}


def _answers(session: Any) -> Answer:
    return lambda paths: [one.classes for one in session(list(paths))]


def anywhere(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs as another process finds them."""
    return [replace(pair, picture=pair.picture.absolute(), mask=pair.mask.absolute()) for pair in pairs]


def bundle_part(
    source: Source, load: Load, backend: str, threads: int | None, reading: Reading, batch: int, pairs: Sequence[Pair]
) -> list[Counted]:
    """Some of the pictures, in a process of their own."""
    return counted(_answers(opened_once(source, load, backend, threads)), pairs, reading, batch, "", None)


def count(
    answer: Answer, pairs: Sequence[Pair], reading: Reading, batch: int, name: str, progress: Progress | None
) -> tuple[Counts, int]:
    """Every picture through ``answer``, ``batch`` at a time; and how many pixels that count were not seen."""
    return joined(counted(answer, pairs, reading, batch, name, progress))


def counted(
    answer: Answer, pairs: Sequence[Pair], reading: Reading, batch: int, name: str, progress: Progress | None
) -> list[Counted]:
    """What is counted of each picture."""
    found: list[Counted] = []
    for at in range(0, len(pairs), batch):
        some = pairs[at : at + batch]
        for pair, classes in zip(some, answer([one.picture for one in some]), strict=True):
            truth = reading.truth(read_mask(pair.mask))
            found.append((counts_of(truth, classes, reading.classes), confused_in(truth, classes, reading.classes)))
        if progress is not None:
            progress(name, at + len(some), len(pairs))
    return found


def joined(found: Sequence[Counted]) -> tuple[Counts, int]:
    """Of all pictures; and how many pixels that count were not seen."""
    counts = [counts for counts, _ in found]
    unseen = sum(int(wanted.sum() - seen.sum()) for _, wanted, seen in counts)
    confused = Confused.joined(counts[0][0].shape[0], [pairs for _, pairs in found])
    right, truth, given = (np.stack([one[at] for one in counts]) for at in range(3))
    return Counts(right, truth, given, confused), unseen


def confused_in(truth: np.ndarray, found: np.ndarray, classes: int) -> Counts3:
    """(H, W) of one picture, ``truth`` -1 where it does not count -> which classes are found where the mask says which."""
    counts = truth >= 0
    pairs = Confused.of(classes, truth[counts], found[counts].astype(np.int64))
    return pairs.truth, pairs.found, pairs.times


def counts_of(truth: np.ndarray, found: np.ndarray, classes: int) -> Counts3:
    """(H, W) of one picture, ``truth`` -1 where it does not count -> right, of the mask, found: (K,) each.

    What the network did not see is found as no class.
    """
    counts = truth >= 0
    wanted, given = truth[counts], found[counts].astype(np.int64)
    return (
        np.bincount(wanted[wanted == given], minlength=classes),
        np.bincount(wanted, minlength=classes),
        np.bincount(given[given < classes], minlength=classes),
    )


def figures(counts: Counts, unseen: int, labels: Sequence[str]) -> dict[str, Any]:
    """The figures in percent; UserMistake where no pixel counts."""
    pixels = int(counts.truth.sum())
    if not pixels:
        raise UserMistake(
            "No pixel of the masks counts",
            found=f"{len(counts.truth)} masks of nothing but values that are no class",
            expected="masks in which something is marked",
            attempt="--ignore-label with another value",
        )
    ious = 100 * counts.ious()
    low, high = bootstrap_95(float(np.nanmean(ious)), 100 * _means(counts.ious(times_drawn(len(counts.right)))[1:]))
    names = [label if list(labels).count(label) == 1 else f"{label} ({index})" for index, label in enumerate(labels)]
    truth = counts.truth.sum(axis=0).tolist()
    per_class = {
        name: {"iou": None if np.isnan(iou) else float(iou), "pixels": count}
        for name, iou, count in zip(names, ious, truth, strict=True)
    }
    return {
        "miou": float(np.nanmean(ious)),
        "low": max(low, 0.0),
        "high": min(high, 100.0),
        "pixel_accuracy": 100 * float(counts.right.sum()) / pixels,
        "classes": int(np.isfinite(ious).sum()),
        "pictures": len(counts.right),
        "pixels": pixels,
        "unseen": 100 * unseen / pixels,
        "per_class": per_class,
        **({} if counts.confused is None else {"confusion": counts.confused.folded(names)}),
    }


def _means(rates: np.ndarray) -> np.ndarray:
    """(R, K) -> (R,): the mean over the classes that a draw has; NaN where it has none."""
    known = np.isfinite(rates)
    many = known.sum(axis=1)
    return np.asarray(np.where(many > 0, np.where(known, rates, 0).sum(axis=1) / np.maximum(many, 1), np.nan))


def show(result: Mapping[str, Any], per_class: bool = False) -> str:
    """The result as text: a table, with ``per_class`` another one, and the notes."""
    rows = result["rows"]
    lines = table(COLUMNS, [_cells(row) for row in rows])
    told = [row for row in rows if "per_class" in row]
    if per_class and told:
        labels = list(dict.fromkeys(label for row in told for label in row["per_class"]))
        body = []
        for label in labels:
            each = [row["per_class"].get(label, {}) for row in told]
            if any(one.get("iou") is not None for one in each):
                pixels = next(one["pixels"] for one in each if one)
                body.append((label, str(pixels), *(_percent(one.get("iou")) for one in each)))
        lines += ["", *table(("class", "pixels", *(f"IoU {row['name']}" for row in told)), body)]
    counted = [f"mean over {row['classes']} classes that occur, {row['pixels']:,} pixels" for row in told[:1]]
    return "\n".join([*lines, *(f"note: {note}" for note in [*counted, *result["notes"]])])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    if "why_not" in row:
        return (row["name"], row["precision"], row["why_not"])
    interval = f"{row['low']:.1f}-{row['high']:.1f}"
    return (
        row["name"], row["precision"], f"{row['miou']:.2f}", interval, f"{row['pixel_accuracy']:.2f}", str(row["pictures"])
    )  # fmt: skip


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
