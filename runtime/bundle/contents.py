"""Are the values of a manifest such that the runtime can use them? Kinds and ranges, asked before anything is made from them.

The hash (seal.py) says that nobody changed them since; a bundle of version 0.1.0 has none, and one that was written by
another program may hold anything. What a task reads is its own to check (``Task.check_bundle``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import BundleRefused, UserMistake
from ..pictures.contract import ImageContract
from .seal import HASH

MAX_CLASSES = 1_000_000
MAX_TEXT = 1000  # characters of a name
TEXTS = ("name", "task", "target", "precision", "model", "labels", "engine", "gpu_arch", "edgesmith", HASH)
OBJECTS = ("files", "input_contract", "rewrite", "precision_report", "quantisation", "benchmark", "licence", "weights")
LISTS = ("parity", "stages", "notes")


def check_contents(folder: Path, manifest: Mapping[str, Any]) -> None:
    """BundleRefused for the first key whose value is of the wrong kind or out of its range; a key may be absent or null."""
    for names, kind, expected in ((TEXTS, str, "text"), (OBJECTS, dict, "an object"), (LISTS, list, "a list")):
        for name in names:
            value = manifest.get(name)
            if value is not None and not (isinstance(value, kind) and (kind is not str or len(value) <= MAX_TEXT)):
                raise _wrong(folder, name, value, expected)
    if not all(isinstance(note, str) for note in manifest.get("notes") or []):
        raise _wrong(folder, "notes", manifest["notes"], "a list of texts")
    classes = manifest.get("num_classes")
    if classes is not None and not (type(classes) is int and 1 <= classes <= MAX_CLASSES):
        raise _wrong(folder, "num_classes", classes, f"a whole number from 1 to {MAX_CLASSES:,}")
    _check_limits(folder, manifest.get("precision_report") or {})
    if (contract := manifest.get("input_contract")) is not None:
        try:
            ImageContract.from_json(contract)
        except UserMistake as error:
            raise BundleRefused(
                f"the manifest of {folder} is damaged",
                found=f"{error.what}: {error.found}"[:300],
                expected=error.expected,
                attempt="export it again",
            ) from None


def _check_limits(folder: Path, report: Mapping[str, Any]) -> None:
    """What the self-test is held to: figures measured where the bundle was made."""
    cosine, figures = report.get("golden_cosine"), report.get("golden_detections")
    if cosine is not None and not _number(cosine, -1, 1.001):
        raise _wrong(folder, "golden_cosine", cosine, "a number from -1 to 1")
    if figures is None:
        return
    if not isinstance(figures, dict):
        raise _wrong(folder, "golden_detections", figures, "an object")
    for name, low, high in (("matched", 0, 100), ("cosine", -1, 1.001)):
        value = figures.get(name)
        if value is not None and not _number(value, low, high):
            raise _wrong(folder, f"golden_detections.{name}", value, f"a number from {low} to {high:g}")


def _number(value: object, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def _wrong(folder: Path, name: str, value: object, expected: str) -> BundleRefused:
    return BundleRefused(
        f"the manifest of {folder} is damaged",
        found=f"{name}: {value!r}"[:200],
        expected=expected,
        attempt="copy the bundle again, or export it again",
    )
