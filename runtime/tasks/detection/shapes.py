"""Do the outputs of a detector have the shapes that its answers are read from? Asked of manifests, golden files and results.

boxes (B, N, 4), scores (B, N, K); with suppression in the graph num_detections (B, 1), detection_boxes (B, D, 4),
detection_scores (B, D), detection_classes (B, D)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Shape = Sequence[Any]  # of numbers, or of names where a size is open

BOXES, SCORES = "boxes", "scores"
NMS_OUTPUTS = ("num_detections", "detection_boxes", "detection_scores", "detection_classes")
CELLS = {BOXES: ("B", "N", 4), SCORES: ("B", "N", "K")}
SUPPRESSED = dict(zip(NMS_OUTPUTS, (("B", 1), ("B", "D", 4), ("B", "D"), ("B", "D")), strict=True))


def unfit(shapes: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> str:
    """The first output whose shape is another, in words; "" where all fit. An open size fits any, and is then the others'."""
    known: dict[str, int] = {}
    for name, sizes in wanted.items():
        found = tuple(shapes[name])
        if len(found) != len(sizes):
            return _words(name, found, sizes)
        for size, symbol in zip(found, sizes, strict=True):
            if not isinstance(size, int):
                continue
            if size != (known.setdefault(symbol, size) if isinstance(symbol, str) else symbol):
                return _words(name, found, sizes)
    return ""


def expected(wanted: Mapping[str, Shape]) -> str:
    """``boxes (B, N, 4), scores (B, N, K)``."""
    return ", ".join(f"{name} {_shape(sizes)}" for name, sizes in wanted.items())


def _words(name: str, found: Shape, sizes: Shape) -> str:
    return f"{name} {_shape(found)}, not {_shape(sizes)}"


def _shape(sizes: Shape) -> str:
    return "(" + ", ".join(map(str, sizes)) + ")"
