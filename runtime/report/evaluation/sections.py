"""What the page of an evaluation draws of classes, boxes and masks; every number is one of the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..page import Html, fold, join, section, tag
from .page import by_class, measured
from .pictures import gallery
from .plots import curves, matrix

Data = Mapping[str, Any]


def of_classes(result: Data) -> Html:
    """Confusion, reliability, classes, the worst and the changed pictures of a classifier."""
    rows = measured(result, "reliability")
    sure = {
        f"{row['name']}, ECE {row['ece']:.2f} %": [
            (one["confidence"] / 100, one["accuracy"] / 100) for one in row["reliability"]
        ]
        for row in rows
    }
    caption = "Share of right answers by how sure the network is; on the dashed line it is as often right as it says."
    drawn = curves(sure, "confidence", "right", caption, diagonal=True) if sure else Html("")
    return join(
        [
            section("Changed pictures", *(_changed(row) for row in measured(result, "changed"))),
            section("Most confident mistakes", *(_worst(row) for row in measured(result, "worst"))),
            _confusion(result, "pictures"),
            section("Reliability", drawn, *(fold(row["name"], _bins(row)) for row in rows)),
            section(
                "Classes",
                by_class(result, {"precision": "precision %", "recall": "recall %", "f1": "F1 %"}, "support"),
            ),
        ]
    )


def of_boxes(result: Data) -> Html:
    """Precision against recall, and the classes, of a detector."""
    rows = measured(result, "precision_recall")
    parts = []
    for overlap in [name for name in (rows[0]["precision_recall"] if rows else {}) if name != "recall"]:
        told = {row["name"]: (row["precision_recall"]["recall"], row["precision_recall"][overlap]) for row in rows}
        lines = {
            f"{name}, AP {100 * sum(up) / len(up):.1f}": list(zip(across, up, strict=True))
            for name, (across, up) in told.items()
        }
        parts.append(curves(lines, "recall", "precision", f"IoU {overlap}, mean over the classes that are annotated."))
    columns = {"map": "AP", "map50": "AP50"}
    return join([section("Precision and recall", *parts), section("Classes", by_class(result, columns, "boxes"))])


def of_masks(result: Data) -> Html:
    """Confusion of pixels and IoU of the classes, of a segmenter."""
    return join(
        [_confusion(result, "pixels"), section("Classes", by_class(result, {"iou": "IoU %"}, "pixels"))],
    )


def _confusion(result: Data, what: str) -> Html:
    parts = []
    for row in measured(result, "confusion"):
        told = row["confusion"]
        caption = f"Counts of {what}: rows are what the set says, columns what the network says; shades are shares of the row."
        parts += [tag("h3", row["name"]), matrix(told["truth"], told["found"], told["counts"], caption)]
    return section("Confusion", *parts)


def _bins(row: Data) -> Html:
    from ..page import table

    lines = [(f"{one['confidence']:.1f}", f"{one['accuracy']:.1f}", one["pictures"]) for one in row["reliability"]]
    return table(("confidence %", "right %", "pictures"), lines, ("number",) * 3)


def _worst(row: Data) -> Html:
    return join([tag("h3", row["name"]), gallery(_cards(row["worst"]))])


def _cards(mistakes: Sequence[Data]) -> list[tuple[str, str]]:
    return [(one["picture"], f"{one['found']} {one['confidence']:.0f} %, is {one['truth']}") for one in mistakes]


def _changed(row: Data) -> Html:
    told = row["changed"]
    words = (
        f"{told['pictures']} of {row['pictures']} answers differ from those of {told['against']}: "
        f"{told['lost']} were right, {told['won']} are right now."
    )
    cards = [
        (one["picture"], f"{one['before']} \u2192 {one['found']} {one['confidence']:.0f} %, is {one['truth']}")
        for one in told["some"]
    ]
    return join([tag("h3", row["name"]), tag("p", words), gallery(cards)])
