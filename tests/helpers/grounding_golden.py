"""The golden values of GUI-AIMA's official code, as far as the runtime has its own part in them, and sizes by the official rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from edgesmith.runtime.tasks.grounding.buckets import Bucket
from edgesmith.runtime.tasks.grounding.resize import smart_size

DATA = Path(__file__).parent.parent / "data" / "gui_aima_tiny_runtime"
FACTS: dict[str, Any] = json.loads((DATA / "golden.json").read_text())


def golden_arrays() -> dict[str, np.ndarray]:
    with np.load(DATA / "golden.npz") as arrays:
        return dict(arrays)


def bucket(width: int, height: int) -> Bucket:
    """The size in which a screen of so many pixels is looked at."""
    rows, columns = smart_size(height, width)
    return Bucket((width, height), (rows, columns), (rows // 28, columns // 28), "vision", "prefix")
