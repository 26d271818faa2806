"""Bundles on an annotated set -> COCO's average precision of each, in one table: ``edgesmith eval`` of detectors.

Boxes as the authors of detectors evaluate: the bundle's score threshold (0.05, nano 0.03), its IoU, the best 500 a picture; of
these COCO's code takes the best 100 a class.  Torch-free, for the device; the full command adds PyTorch and classifiers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...coco.annotations import CocoSet, read_coco
from ...coco.average_precision import evaluate_boxes, pycocotools
from ...coco.files import read_annotated
from ...coco.yolo import is_yolo
from ...errors import BackendUnavailable, UserMistake
from ...ground.files import replacing
from ...ground.places import check_output
from ..described import Described
from ..evaluation import Asked, Load, Progress, not_by_boxes, table
from ..parts import Source, opened_once, source_of
from .boxes import Kept
from .detection import TASK, DetectionRule
from .detection import rule_of as bundles_rule

MOST = 500  # boxes a picture, as the authors evaluate
USUAL_SCORE = 0.05  # a higher threshold cuts off the tail that average precision counts
BATCH = 8  # pictures at a time where the bundle takes any number
COLUMNS = ("", "precision", "mAP", "95 %", "AP50", "AP75", "small", "medium", "large", "pictures")
RECALLS = {
    "ar1": "AR@1",
    "ar10": "AR@10",
    "ar100": "AR@100",
    "ar_small": "small",
    "ar_medium": "medium",
    "ar_large": "large",
}
CONVERT = "convert it to COCO JSON first, with its pictures as files"
OTHER_DATA = {  # what else is given as --data, and what to do with it
    **dict.fromkeys((".npz", ".npy"), ("arrays, which hold no boxes in pixels of picture files", CONVERT)),
    **dict.fromkeys((".txt", ".lst", ".list"), ("a list of pictures, or the boxes of one", CONVERT)),
    **dict.fromkeys((".xml", ".csv", ".tsv"), ("annotations of another format", CONVERT)),
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".7z"), ("an archive", "unpack it, and give the .json in it")),
}
Answer = Callable[[Sequence[Path]], Sequence[Kept]]  # pictures -> what is found in each, in their pixels


def evaluate(
    bundles: Sequence[Described],
    data: str | os.PathLike[str],
    asked: Asked,
    load: Load,
    save: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """One row a bundle: COCO's figures, per class too, the interval.

    ``save`` writes the boxes of the (one) bundle as a COCO results file.
    """
    rules = [rule_of(bundle, asked) for bundle in bundles]
    check_data(data, asked.images)
    pycocotools()  # without it nothing could be judged after the last picture
    place = None if save is None else check_save(save, data, len(bundles))
    sets = {labels: read_coco(data, asked.images, labels, asked.limit) for labels in {tuple(b.labels) for b in bundles}}
    rows: list[dict[str, Any]] = []
    not_saved = ""
    for bundle, rule in zip(bundles, rules, strict=True):
        coco = sets[tuple(bundle.labels)]
        try:
            found, backend = run_bundle(bundle, coco, rule, asked, load, progress)
        except BackendUnavailable as error:
            if len(bundles) == 1:
                raise
            rows.append(
                {"name": bundle.path.name, "precision": bundle.precision, "why_not": str(error).splitlines()[0]}
            )
            continue
        if place is not None:
            not_saved = _saved(place, coco, found)
        row = {"name": bundle.path.name, "precision": bundle.precision, "backend": backend}
        rows.append(row | figures(found, coco, bundle.labels, rule))
    result = result_of(data, list(sets.values()), rows)
    if not_saved:
        result["not_saved"] = not_saved
        result["notes"].append(f"the boxes were NOT saved: {not_saved}")
    return result


def check_data(data: str | os.PathLike[str], images: str | os.PathLike[str] | None = None) -> None:
    """UserMistake for a folder, and for files that people evaluate other things on; a missing one is told when it is read."""
    place = Path(data)
    if place.is_dir():
        raise UserMistake(
            "A detector is evaluated on annotated boxes",
            found=f"{data}, a folder",
            expected="--data with a COCO-style .json, --images with the folder of its pictures",
            attempt=f"--data annotations.json --images {data}",
        )
    suffix = place.suffix.lower()
    if suffix in OTHER_DATA:
        what, attempt = OTHER_DATA[suffix]
        raise UserMistake(
            "A detector is evaluated on annotated boxes",
            found=f"{data}, {what}",
            expected="a COCO-style .json: images, annotations, categories; or a YOLO data.yaml",
            attempt=attempt,
        )
    if is_yolo(place) and images is not None:
        raise UserMistake(
            f"{data} names its pictures itself",
            found=f"--images {os.fspath(images)}",
            expected="--data with the yaml alone",
            attempt="leave --images out",
        )


def _saved(place: Path, coco: CocoSet, found: Sequence[Kept]) -> str:
    """Write the boxes before they are judged; what went wrong in words, because the figures are worth showing all the same."""
    try:
        write_results(place, coco, found)
    except OSError as error:
        return str(error)
    return ""


def result_of(data: str | os.PathLike[str], sets: Sequence[CocoSet], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The result as plain data."""
    notes = [note for one in sets for note in one.notes]
    high = [row for row in rows if row.get("score", 0) > USUAL_SCORE]
    notes += [
        f"{row['name']}: boxes below a score of {row['score']:g} are left out; mAP is usually measured from {USUAL_SCORE:g} on "
        "(--score)"
        for row in high
    ]
    return {"task": TASK, "data": os.fspath(data), "notes": list(dict.fromkeys(notes)), "rows": rows}


def rule_of(bundle: Described, asked: Asked) -> DetectionRule:
    """The thresholds to evaluate with; UserMistake for a bundle that does not detect or cannot take them."""
    if bundle.task != TASK:
        raise not_by_boxes(bundle)
    rule = bundles_rule(bundle)
    most = max(rule.max_detections, MOST) if rule.nms != "graph" else None
    return rule.override(asked.score, asked.iou, most, True if asked.agnostic_nms else None)


def run_bundle(
    bundle: Described, coco: CocoSet, rule: DetectionRule, asked: Asked, load: Load, progress: Progress | None
) -> tuple[list[Kept], str]:
    """Every picture through one bundle, and the name of its backend."""
    name = bundle.path.name
    with load(bundle, backend=asked.backend, threads=asked.threads) as session:
        least, size = session.batch_sizes(BATCH)
        batch, backend = max(least, min(size, BATCH)), session.backend
        if asked.spread is None:
            return run_all(answer_of(session, rule, sizes_of(coco)), coco.paths, batch, name, progress), backend
    about = (source_of(bundle), load, backend, asked.threads, rule, batch)
    return asked.spread(bundle_part, about, pictures_of(coco), batch, name, progress), backend


def answer_of(session: Any, rule: DetectionRule, sizes: Mapping[Path, tuple[int, int]]) -> Answer:
    """A session as a function of pictures."""
    iou = None if rule.nms == "none" else rule.iou

    def answer(paths: Sequence[Path]) -> list[Kept]:
        answers = session(
            [read_annotated(path, sizes[path]) for path in paths],
            score=rule.score,
            iou=iou,
            max_detections=rule.max_detections,
            agnostic_nms=rule.agnostic_nms or None,
        )
        return [Kept(one.boxes, one.scores, one.classes) for one in answers]

    return answer


def bundle_part(
    source: Source, load: Load, backend: str, threads: int | None, rule: DetectionRule, batch: int,
    pictures: Sequence[tuple[Path, tuple[int, int]]],
) -> list[Kept]:  # fmt: skip
    """Some of the pictures, (path, (height, width)), in a process of their own."""
    session = opened_once(source, load, backend, threads)
    return run_all(answer_of(session, rule, dict(pictures)), [path for path, _ in pictures], batch, "", None)


def pictures_of(coco: CocoSet) -> list[tuple[Path, tuple[int, int]]]:
    """Each with its size, as another process finds it."""
    return [(path.absolute(), truth.image_size) for path, truth in zip(coco.paths, coco.truths, strict=True)]


def sizes_of(coco: CocoSet) -> dict[Path, tuple[int, int]]:
    """(height, width) that the boxes of each picture are held to."""
    return {path: truth.image_size for path, truth in zip(coco.paths, coco.truths, strict=True)}


def run_all(answer: Answer, paths: Sequence[Path], batch: int, name: str, progress: Progress | None) -> list[Kept]:
    """Every picture through ``answer``, ``batch`` at a time."""
    kept: list[Kept] = []
    for some in in_batches(paths, batch):
        kept += answer(some)
        if progress is not None:
            progress(name, len(kept), len(paths))
    return kept


def in_batches(paths: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    return (paths[at : at + size] for at in range(0, len(paths), size))


def figures(found: Sequence[Kept], coco: CocoSet, labels: Sequence[str], rule: DetectionRule) -> dict[str, Any]:
    """COCO's figures of one candidate, with what they were measured with."""
    measured = evaluate_boxes(found, coco.truths, labels)
    boxes = sum(len(one.scores) for one in found)
    settings: dict[str, Any] = {"score": rule.score, "iou": rule.iou, "max_detections": rule.max_detections}
    if rule.agnostic_nms:
        settings["agnostic_nms"] = True
    return {**settings, **measured, "found": boxes}


def check_save(save: str | os.PathLike[str], data: str | os.PathLike[str], bundles: int) -> Path:
    """Where the results go; UserMistake before the work for a place that cannot be written."""
    place = Path(save)
    wrong = ""
    if bundles != 1:
        wrong = f"{bundles} bundles"
    elif place.is_file() and Path(data).exists() and place.samefile(data):
        wrong = f"{place} holds the annotations"
    if wrong:
        raise UserMistake(
            "The boxes cannot be saved",
            found=wrong,
            expected="one bundle and a file that may be written",
            attempt="--save results.json, a bundle at a time",
        )
    check_output(place, "--save")
    return place


def results(coco: CocoSet, kept: Sequence[Kept]) -> list[dict[str, Any]]:
    """Boxes as a COCO results file has them, with the set's own ids; classes without a category are left out."""
    rows = []
    for number, one in zip(coco.ids, kept, strict=True):
        for box, score, index in zip(one.boxes.astype(np.float64), one.scores, one.classes.tolist(), strict=True):
            if index in coco.category_of_class:
                corner, side = box[:2], box[2:] - box[:2]
                rows.append(
                    {
                        "image_id": number,
                        "category_id": coco.category_of_class[index],
                        "bbox": [round(float(value), 3) for value in (*corner, *side)],
                        "score": float(str(score)),  # the shortest number that is this float32
                    }
                )
    return rows


def write_results(place: Path, coco: CocoSet, kept: Sequence[Kept]) -> None:
    """The results file, whole or not at all."""
    with replacing(place, hidden=True) as file:
        file.write(json.dumps(results(coco, kept)).encode())


def show(result: Mapping[str, Any], per_class: bool = False) -> str:
    """The result as text: a table, with ``per_class`` another one, and the notes."""
    rows = result["rows"]
    lines = table(COLUMNS, [_cells(row) for row in rows])
    if recalls := [(row["name"], *(_number(row[name]) for name in RECALLS)) for row in rows if "ar100" in row]:
        lines += ["", *table(("average recall", *RECALLS.values()), recalls)]
    if per_class:
        names = [row["name"] for row in rows if "per_class" in row]
        labels = list(dict.fromkeys(label for row in rows for label in row.get("per_class", {})))
        body = []
        for label in labels:
            each = [row["per_class"].get(label, {}) for row in rows if "per_class" in row]
            boxes = next((one["boxes"] for one in each if one), 0)
            if boxes or any(one.get("map") is not None for one in each):
                body.append((label, str(boxes), *(_number(one.get("map")) for one in each)))
        lines += ["", *table(("class", "boxes", *(f"mAP {name}" for name in names)), body)]
    return "\n".join([*lines, *(f"note: {note}" for note in result["notes"])])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    if "why_not" in row:
        return (row["name"], row["precision"], row["why_not"])
    interval = "" if row["low"] is None else f"{row['low']:.1f}-{row['high']:.1f}"
    aps = [_number(row[name]) for name in ("map50", "map75", "small", "medium", "large")]
    return (
        row["name"], row["precision"], _number(row["map"], 2), interval, *aps, str(row["pictures"]),
    )  # fmt: skip


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
