"""Two computations of the same outputs -> one row of agreement; PyTorch eager in float32 is the judge.

A row stands for some inputs of one shape, run through one stage: the rewritten graph, the typed graph, the bundle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph.run import Runner, graph_runner
from ...runtime.tasks.answers import OUTPUTS, joined
from ...runtime.tasks.selftest import verdict

if TYPE_CHECKING:
    from ...runtime.pictures.preprocess import ImageContract
    from .nouns import Shapes

__all__ = [
    "Row",
    "Runner",
    "agreement",
    "graph_runner",
    "in_batches",
    "run_all",
    "seeded",
    "shapes_to_try",
    "torch_runner",
]


TILE = 16  # pixels
TASK = {1: "classification", 2: "detection"}  # by the number of tensors that a torch module returns


@dataclass(frozen=True)
class Row:
    """How far one stage is from PyTorch eager float32, over ``count`` inputs of one shape."""

    stage: str
    runner: str
    inputs: str
    shape: tuple[int, ...]
    count: int
    max_abs: float
    largest: float
    """largest absolute logit of the judge: what ``max_abs`` is to be seen against"""
    cosine: float
    """smallest cosine of any input"""
    top1: float
    """share of inputs with the same best class"""
    top5: float
    """mean share of the five best classes in common"""
    limit: str
    passed: bool

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "shape": list(self.shape)}

    def __str__(self) -> str:
        return f"max abs {self.max_abs:.2e}, cosine {self.cosine:.6f}"


def agreement(
    stage: str, runner: str, inputs: str, shape: tuple[int, ...], judge: np.ndarray, other: np.ndarray, precision: str
) -> Row:
    """Compare logits (N, C) with the judge's (N, C); NaN or infinity anywhere fails the row."""
    judge, other = judge.astype(np.float64), other.astype(np.float64)
    finite = bool(np.isfinite(other).all()) and judge.shape == other.shape
    if not finite:
        return Row(stage, runner, inputs, shape, len(judge), np.inf, 0.0, -1.0, 0.0, 0.0, "finite numbers", False)
    largest = float(np.abs(judge).max())
    max_abs = float(np.abs(judge - other).max())
    norms = np.linalg.norm(judge, axis=1) * np.linalg.norm(other, axis=1)
    cosine = float(((judge * other).sum(axis=1) / np.maximum(norms, 1e-30)).min())
    best = min(5, judge.shape[1])
    ours, theirs = (np.argsort(-logits, axis=1, kind="stable")[:, :best] for logits in (other, judge))
    top1 = float((ours[:, 0] == theirs[:, 0]).mean())
    top5 = float(np.mean([len(set(a) & set(b)) / best for a, b in zip(ours.tolist(), theirs.tolist(), strict=True)]))
    limit, passed = verdict(precision, max_abs, largest, cosine)
    return Row(stage, runner, inputs, shape, len(judge), max_abs, largest, cosine, top1, top5, limit, passed)


def seeded(shape: Sequence[int], contract: ImageContract | None = None, seed: int = 0) -> np.ndarray:
    """(B, 3, H, W) float32 numbers like those of a picture: standard normal, which is about what mean and std make of
    one; for a network that reads 0..255, tiles of one colour each, since it was never shown noise.
    """
    rng = np.random.default_rng(seed)
    if contract is None or contract.scale != 1:
        return rng.standard_normal(tuple(shape), dtype=np.float32)
    batch, channels, height, width = shape
    tiles = rng.integers(0, 256, (batch, channels, -(-height // TILE), -(-width // TILE))).astype(np.float32)
    return tiles.repeat(TILE, axis=2).repeat(TILE, axis=3)[:, :, :height, :width]


def in_batches(images: np.ndarray, size: int) -> Iterable[np.ndarray]:
    """Cut (N, 3, H, W) into batches of exactly ``size``; the last one is filled up with its own last picture."""
    for start in range(0, len(images), size):
        part = images[start : start + size]
        yield np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)]) if len(part) < size else part


def run_all(runner: Runner, images: np.ndarray, batch: int) -> np.ndarray:
    """Logits (N, C) of N images, run in batches of ``batch``."""
    return np.concatenate([runner(part) for part in in_batches(images, batch)])[: len(images)]


def shapes_to_try(shapes: Shapes, step: int = 1) -> list[tuple[int, ...]]:
    """The traced shape, and for a dynamic graph others: smallest, largest, one between, one that is not square.

    An export can be right at the traced shape and silently wrong at every other, so the others are what counts.
    ``step`` is the multiple that height and width must keep.
    """
    low, usual, high = shapes.min, shapes.opt, shapes.max
    between = tuple((a + b) // 2 for a, b in zip(low[:2], high[:2], strict=True))
    middle = tuple(a + (b - a) // 2 // step * step for a, b in zip(low[2:], high[2:], strict=True))
    oblong = (low[0], low[1], low[2], high[3])
    return list(dict.fromkeys([usual, low, high, (*between, *middle), oblong]))


def torch_runner(module: Any, threads: int = 1) -> Runner:
    """The judge: PyTorch eager, float32, no gradients.

    On one thread: the sums then come out the same every time, and a busy machine does not hold it up at OpenMP's
    barriers (seconds a picture were seen). The setting of the process is put back after each run.
    """
    import torch

    def run(images: np.ndarray) -> np.ndarray:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with torch.inference_mode():
                answer = module(torch.from_numpy(np.ascontiguousarray(images)))
        finally:
            torch.set_num_threads(before)
        parts = answer if isinstance(answer, tuple) else (answer,)
        return joined(dict(zip(OUTPUTS[TASK[len(parts)]], (part.numpy() for part in parts), strict=True)))

    return run
