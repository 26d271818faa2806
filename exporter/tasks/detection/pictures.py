"""What a detector sees, PyTorch beside the bundle: the pictures of the report and the table of boxes that belong together.

pictures -> answers of both -> detections in pixels of the picture -> matched -> drawn side by side -> JPEG files
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ....runtime.tasks.detection.boxes import Kept
from ....runtime.tasks.detection.detection import DetectionRule, Detections, in_image, keep, kept_rows
from ....runtime.tasks.detection.matching import paired
from ....runtime.tasks.detection.verdict import PAIR_IOU, SLACK, compare
from ...run.runners import run_all

if TYPE_CHECKING:
    from ....runtime.pictures.preprocess import ImageContract, Picture
    from ...run.runners import Runner

MOST = 3  # pictures: a report is read, not searched
DRAWN, SURE = (
    25,
    0.3,
)  # boxes of a side and their score: at thresholds of 0.05 there are hundreds, and no picture is left
UNSURE = 8  # boxes where no score is as high as that
LISTED = 50
PANEL_PX = (320, 790)  # width of one side: legible at the least, two of them in 1600 px at the most
TALLEST_PX = 1000
STRIP_PX, GAP_PX = 34, 8
QUALITY = 85  # of the JPEG: lines and letters stay clean, a file stays near 150 kB


@dataclass(frozen=True, eq=False)
class Seen:
    """One picture with the detections of both, in its own pixels."""

    name: str
    image: np.ndarray  # (H, W, 3) uint8 RGB
    judge: Kept
    bundle: Kept
    pairs: np.ndarray  # (m, 2) indices into the two
    figures: dict[str, Any]  # of detection_verdict.compare
    least: float  # score up to which a detection without a partner is no difference
    note: str = ""


def side_by_side(
    inputs: Sequence[tuple[str, Picture]],
    judge: Runner,
    bundle: Runner,
    rule: DetectionRule,
    contract: ImageContract,
    labels: Sequence[str],
    *,
    batch: int = 1,
    called: str = "this bundle",
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """(files of the bundle, ``detection_report`` of the manifest) for the first three of (name, path or RGB array).

    ``batch``: what the graph of the bundle takes. ``called``: what to write over the right side.
    """
    files: dict[str, bytes] = {}
    told: list[dict[str, Any]] = []
    for number, (name, picture) in enumerate(inputs[:MOST], 1):
        seen = _see(name, picture, judge, bundle, rule, contract, batch)
        drawn = _drawn(seen, labels, called)
        file = f"pictures/{number}.jpg"
        files[file] = _jpeg(drawn)
        size = [drawn.shape[1], drawn.shape[0]]
        told.append({"file": file, "name": name, "size": size, **compared(seen, labels)})
    return files, {"pictures": told, "map": None}


def _see(
    name: str,
    picture: Picture,
    judge: Runner,
    bundle: Runner,
    rule: DetectionRule,
    contract: ImageContract,
    batch: int,
) -> Seen:
    from ....runtime.pictures.preprocess import pixels, preprocess

    image = pixels(picture)
    size = (image.shape[0], image.shape[1])
    images = preprocess([image], contract)
    note, inside = "", rule.nms == "graph"
    if rule.nms == "none":
        rule = replace(rule, nms="runtime")
        note = f"Overlapping boxes were removed for the picture alone, at IoU {rule.iou:g} on both sides"
    expected, found = judge(images), run_all(bundle, images, batch)
    figures = compare(expected, found, rule, inside)
    if not figures:  # NaN: its parity row has failed already, the picture shows what is left
        note, found = "The bundle gives values that are no numbers", expected[:, :0]
        figures, inside = compare(expected, found, rule, False), False
    one, two = keep(expected[0], rule), (kept_rows if inside else keep)(found[0], rule)
    pairs = paired(one, two, PAIR_IOU)  # in pixels of the input: clipping to the picture would change overlaps
    least = rule.score + float(np.clip(figures["score_abs"], *SLACK))
    ours, theirs = in_image(two, size, contract), in_image(one, size, contract)
    return Seen(name, image, theirs, ours, pairs, figures, least, note)


def compared(seen: Seen, labels: Sequence[str]) -> dict[str, Any]:
    """``rows`` of boxes that belong together or stand alone, best first, and how many are missing and extra."""
    judge, bundle = seen.judge, seen.bundle
    rows = [_row(labels, judge, i, judge.scores[i], bundle.scores[j], bundle.boxes[j]) for i, j in seen.pairs.tolist()]
    for side, kept in enumerate((judge, bundle)):
        alone = np.setdiff1d(np.flatnonzero(kept.scores > seen.least), seen.pairs[:, side])
        for i in alone.tolist():
            scores = (kept.scores[i], None) if side == 0 else (None, kept.scores[i])
            rows.append(_row(labels, kept, i, *scores))
    rows.sort(key=lambda row: -max(row["score_judge"] or 0.0, row["score_bundle"] or 0.0))
    counts = {"judge": len(judge.scores), "bundle": len(bundle.scores)}
    counts |= {key: seen.figures[key] for key in ("missing", "extra", "flips")}
    left = len(rows) - LISTED
    notes = [seen.note] if seen.note else []
    shown = max(drawn_of(seen))
    notes += [f"Drawn are the best {shown}"] if max(counts["judge"], counts["bundle"]) > shown else []
    notes += [f"{left} more rows are not listed"] if left > 0 else []
    told = {"rows": rows[:LISTED], **counts}
    return {**told, "note": "; ".join(notes)} if notes else told


def _row(
    labels: Sequence[str], kept: Kept, index: int, judge: Any, bundle: Any, other: np.ndarray | None = None
) -> dict[str, Any]:
    """One row of the report; ``box`` is PyTorch's where it has one."""
    box = kept.boxes[index]
    return {
        "label": labels[int(kept.classes[index])],
        "score_judge": None if judge is None else float(judge),
        "score_bundle": None if bundle is None else float(bundle),
        "box": [round(float(side), 2) for side in box],
        "box_px": None if other is None else float(np.abs(box - other).max()),
    }


def drawn_of(seen: Seen) -> list[int]:
    """How many boxes of each side are drawn, best first: those that either side is sure of, else a few."""
    sides = (seen.judge, seen.bundle)
    sure = [int((kept.scores >= SURE).sum()) for kept in sides]
    return [min(count, DRAWN) for count in sure] if any(sure) else [min(len(kept.scores), UNSURE) for kept in sides]


def _drawn(seen: Seen, labels: Sequence[str], called: str) -> np.ndarray:
    """Both panels with a strip of words over each, (h, w, 3) uint8 RGB."""
    height, width = seen.image.shape[:2]
    scale = min(max(PANEL_PX[0] / width, 1.0), PANEL_PX[1] / width, TALLEST_PX / height)
    panels = [
        _panel(seen.image, Kept(*(part[:count] for part in kept)), labels, scale, f"{who}: {_count(len(kept.scores))}")
        for who, kept, count in zip(("PyTorch", called), (seen.judge, seen.bundle), drawn_of(seen), strict=True)
    ]
    gap = np.full((len(panels[0]), GAP_PX, 3), 255, np.uint8)
    return np.concatenate([panels[0], gap, panels[1]], axis=1)


def _panel(image: np.ndarray, kept: Kept, labels: Sequence[str], scale: float, words: str) -> np.ndarray:
    import cv2

    from ....runtime.tasks.detection.draw import draw

    height, width = (max(round(side * scale), 1) for side in image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    gain = np.array([width / image.shape[1], height / image.shape[0]] * 2, np.float32)
    best = kept._replace(boxes=kept.boxes * gain)
    panel = np.full((STRIP_PX + height, max(width, PANEL_PX[0]), 3), 255, np.uint8)
    size = 0.6
    while size > 0.3 and cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0] > panel.shape[1] - 8:
        size -= 0.05  # a long name on a narrow panel
    cv2.putText(panel, words, (4, 23), cv2.FONT_HERSHEY_SIMPLEX, size, (30, 30, 30), 1, cv2.LINE_AA)
    panel[STRIP_PX:, :width] = draw(small, Detections(*best, labels, (height, width)))
    return panel


def _count(number: int) -> str:
    return f"{number or 'no'} detection{'' if number == 1 else 's'}"


def _jpeg(image: np.ndarray) -> bytes:
    import cv2

    fine, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert fine, "a uint8 picture can always be written"
    return bytes(data)
