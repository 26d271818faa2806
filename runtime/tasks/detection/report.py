"""The parts of the report that only detectors have: pictures side by side, boxes that match, parity and thresholds in words.

    manifest["detection_report"], ["parity"], ["detection"] -> sections and tiles of runtime/bundle/report.py

A part that the manifest does not have is left out. Pictures are files of the bundle, named relative to the report.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...report.page import Html, facts, figure, fold, image, join, mark, table, tag
from ...report.parts import Parts
from ...report.parts import parity as plain
from ...report.words import number

Data = Mapping[str, Any]
INSIDE = re.compile(r"pictures/[\w-]+\.(jpg|png)")  # the only places that the page may load from
PLACES = {
    "runtime": "in the runtime, after the graph",
    "graph": "inside the graph",
    "none": "none: every box above the score threshold is handed out",
}
STEPS = ("preprocess_ms", "infer_ms", "postprocess_ms")
FIGURES = {  # of COCO's evaluation, as runtime/coco/average_precision.py names them
    "map": "mAP, IoU 0.50 to 0.95",
    "map50": "mAP at IoU 0.50",
    "map75": "mAP at IoU 0.75",
    "small": "mAP of small boxes",
    "medium": "mAP of medium boxes",
    "large": "mAP of large boxes",
    "ar1": "average recall, 1 box a class and picture",
    "ar10": "average recall, 10 boxes",
    "ar100": "average recall, 100 boxes",
    "ar_small": "average recall of small boxes",
    "ar_medium": "average recall of medium boxes",
    "ar_large": "average recall of large boxes",
}
SEEN_PX = 0.01
COUNTS = {"pictures": "pictures", "boxes": "boxes in them", "source": "pictures and boxes of"}


def parts(manifest: Data) -> Parts:
    """All of them."""
    rows = manifest.get("parity") or []
    ours = rows and all("score_abs" in row for row in rows)
    return Parts(
        parity=parity(rows) if ours else plain(rows),
        headline=headline(manifest),
        pictures=pictures(manifest.get("detection_report")),
        accuracy=accuracy(manifest),
        thresholds=thresholds(manifest.get("detection")),
        end_to_end=end_to_end((manifest.get("benchmark") or {}).get("end_to_end")),
        run_options=" --save boxes.jpg",
    )


def headline(manifest: Data) -> list[tuple[Any, str]]:
    """Smallest matched share and largest box difference of the parity rows, and the mAP where it was measured."""
    rows = [row for row in manifest.get("parity") or [] if "score_abs" in row]
    shares = [share for row in rows if row.get("detections") and (share := number(row.get("matched"))) is not None]
    pixels = [px for row in rows if (px := number(row.get("box_px"))) is not None]
    found: list[tuple[Any, str]] = [(f"{min(shares):.1%}", "of the detections match")] if shares else []
    found += [(f"{_pixels(max(pixels))} px", "largest box difference")] if pixels else []
    if (value := number(_map(manifest).get("map"))) is not None:
        found.append((_percent(value), "mAP"))
    return found


def parity(rows: Sequence[Data]) -> Html:
    """The rows of a detector: detections against those of PyTorch, matched by class and overlap."""
    lines = [
        (
            r.get("stage"),
            f"{r.get('count', '')} {r.get('inputs', '')}".strip(),
            mark(bool(r.get("passed")), "holds" if r.get("passed") else "FAILS"),
            figure(r.get("matched"), ".1%"),
            r.get("detections"),
            r.get("missing"),
            r.get("extra"),
            r.get("flips"),
            figure(r.get("score_abs"), ".1e"),
            _pixels(r.get("box_px")),
            r.get("limit"),
            r.get("shape"),
            r.get("runner"),
        )
        for r in rows
    ]
    columns = (
        "stage", "inputs", "", "matched", "of", "missing", "extra", "swapped", "score abs", "box px", "limit", "shape", "run by"
    )  # fmt: skip
    judge = (
        "PyTorch eager in float32 is the judge; its detections are matched by class and overlap. Missing and extra leave "
        "out those whose score is within rounding of the threshold; swapped are boxes in whose place suppression kept "
        "that of a neighbouring cell. Box px: difference of a corner, in pixels of the network's input."
    )
    css = ("", "", "", *["number"] * 7, "words", "number", "number")
    return join([table(columns, lines, css), tag("p", judge, "soft")])


def pictures(report: Data | None) -> Html:
    """PyTorch and bundle side by side, and under each picture the boxes that belong together."""
    return join(_picture(one) for one in (report or {}).get("pictures") or [])


def _picture(one: Data) -> Html:
    name, file, rows = str(one.get("name", "")), str(one.get("file", "")), one.get("rows") or []
    words = f"{name}: PyTorch on the left, this bundle on the right"
    shown = image(file, words, one.get("size")) if INSIDE.fullmatch(file) else Html("")
    if not rows:
        return join([tag("h3", name), shown, tag("p", "No detections, neither in PyTorch nor in the bundle.")])
    pairs = [row for row in rows if row.get("score_judge") is not None and row.get("score_bundle") is not None]
    largest = max((px for row in pairs if (px := number(row.get("box_px"))) is not None), default=None)
    lines = [
        (
            row.get("label"),
            _score(row.get("score_judge"), "missing in PyTorch"),
            _score(row.get("score_bundle"), "missing in the bundle"),
            _pixels(row.get("box_px")),
            ", ".join(figure(side, ".0f") for side in row.get("box") or ()),
        )
        for row in rows
    ]
    listed = table(
        ("class", "score, PyTorch", "score, bundle", "box px", "box x1, y1, x2, y2"),
        lines,
        ("", "number", "number", "number", "number"),
    )
    return join(
        [tag("h3", name), shown, tag("p", _words(one, largest)), fold(f"{len(rows)} boxes, best first", listed)]
    )


def _words(one: Data, largest: float | None) -> Html:
    """``12 detections of PyTorch, 12 of the bundle; none missing, none extra; corners differ by up to 0.03 px``."""
    missing, extra, flips = (int(number(one.get(key)) or 0) for key in ("missing", "extra", "flips"))
    counts = f"{one['judge']} detections of PyTorch, {one['bundle']} of the bundle; " if "judge" in one else ""
    verdict = mark(not (missing or extra), f"{missing or 'none'} missing, {extra or 'none'} extra")
    swapped = f", {flips} of a neighbouring cell instead" if flips else ""
    corners = "" if largest is None else f"; corners differ by up to {_pixels(largest)} px of the picture"
    more = f". {one['note']}" if one.get("note") else ""
    return join([tag("span", counts), verdict, tag("span", swapped + corners + more)])


def _pixels(value: Any) -> str:
    """Two figures; what nobody could see is one value."""
    known = number(value)
    return figure(value, ".2g") if known is None or known >= SEEN_PX or known == 0 else f"< {SEEN_PX:g}"


def _score(value: Any, missing: str) -> Any:
    return mark(False, missing) if value is None else figure(value, ".4f")


def thresholds(detection: Data | None) -> Html:
    """Where boxes are suppressed and by which thresholds; each can be given anew when the bundle is run."""
    told = detection or {}
    place = str(told.get("nms", ""))
    return facts(
        {
            "overlapping boxes removed": PLACES.get(place, place)
            + (", whatever their classes" if told.get("agnostic_nms") is True else ""),
            "score threshold": told.get("score"),
            "IoU threshold": told.get("iou") if place != "none" else None,
            "most boxes a picture": told.get("max_detections"),
        }
    )


def end_to_end(told: Data | None) -> list[Html]:
    """From the picture to its boxes, the steps on the host included; nothing where it was not measured."""
    if not told:
        return []
    steps = ", ".join(f"{key.removesuffix('_ms')} {figure(told[key], '.3g')} ms" for key in STEPS if key in told)
    words = f"From picture to boxes: {figure(told.get('total_ms'), '.3g')} ms ({steps}), {told.get('picture', '')}, "
    return [
        tag("p", words + f"{told.get('boxes')} boxes; median wall time of {told.get('rounds')} runs of this bundle.")
    ]


def accuracy(manifest: Data) -> Html:
    """COCO's figures in percent, where ``edgesmith eval`` or the export measured them."""
    found = _map(manifest)
    told = {words: _percent(value) for key, words in FIGURES.items() if (value := number(found.get(key))) is not None}
    low, high = (number(found.get(key)) for key in ("low", "high"))
    if told and low is not None and high is not None:
        told["95 % sure that mAP is"] = f"{low:.1f} to {high:.1f}"
    told |= {words: str(found[key]) for key, words in COUNTS.items() if found.get(key)}
    known = found.get("per_class")
    classes = [(name, one) for name, one in known.items() if isinstance(one, Mapping)] if isinstance(known, Mapping) else []  # fmt: skip
    lines = [(name, *(_percent(number(one.get(key))) for key in ("map", "map50")), one.get("boxes")) for name, one in classes]  # fmt: skip
    listed = table(("class", "mAP", "mAP at IoU 0.50", "boxes"), lines, ("", "number", "number", "number"))
    return join([facts(told), fold(f"{len(lines)} classes", listed)])


def _map(manifest: Data) -> Data:
    """``detection_report.map`` is one number or all figures of an evaluation, in percent."""
    value = (manifest.get("detection_report") or {}).get("map")
    return value if isinstance(value, Mapping) else {"map": value}


def _percent(value: float | None) -> str:
    """mAP as people quote it, 41.2; a class or a size that the pictures do not have has none."""
    return "-" if value is None else f"{value:.1f}"
