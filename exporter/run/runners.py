"""Whatever computes the outputs of a network, as a plain function of images: PyTorch eager, a graph, a session.

PyTorch eager in float32 is the judge; what the others are run on is made here too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph.run import Runner, open_session
from ...runtime.tasks.known import joined, task_of
from .nouns import CHANNELS_LAST, OUTPUTS, SIDES

if TYPE_CHECKING:
    import onnx_ir as ir

    from ...runtime.pictures.preprocess import ImageContract
    from ...runtime.session.session import Session
    from .nouns import Shapes

__all__ = [
    "Runner",
    "graph_runner",
    "in_batches",
    "run_all",
    "seeded",
    "session_runner",
    "shapes_to_try",
    "torch_runner",
]


TILE = 16  # pixels


def seeded(shape: Sequence[int], contract: ImageContract | None = None, seed: int = 0) -> np.ndarray:
    """Numbers like those of a picture in the type that the graph takes: standard normal, which is about what mean and std
    make of one; for a network that reads 0..255, tiles of one colour each, since it was never shown noise.
    """
    rng = np.random.default_rng(seed)
    if contract is None or not (contract.plain or contract.scale == 1):
        return rng.standard_normal(tuple(shape), dtype=np.float32)
    last = contract.layout == CHANNELS_LAST
    batch, channels, height, width = (shape[axis] for axis in (0, 3, 1, 2)) if last else shape
    tiles = rng.integers(0, 256, (batch, channels, -(-height // TILE), -(-width // TILE))).astype(contract.dtype)
    planes = tiles.repeat(TILE, axis=2).repeat(TILE, axis=3)[:, :, :height, :width]
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)) if last else planes


def in_batches(images: np.ndarray, size: int) -> Iterable[np.ndarray]:
    """Cut N pictures into batches of exactly ``size``; the last one is filled up with its own last picture."""
    for start in range(0, len(images), size):
        part = images[start : start + size]
        yield np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)]) if len(part) < size else part


def run_all(runner: Runner, images: np.ndarray, batch: int) -> np.ndarray:
    """The answers to N images, run in batches of ``batch``."""
    return np.concatenate([runner(part) for part in in_batches(images, batch)])[: len(images)]


def shapes_to_try(shapes: Shapes, step: int = 1) -> list[tuple[int, ...]]:
    """The traced shape, and for a dynamic graph others: smallest, largest, one between, one that is not square.

    An export can be right at the traced shape and silently wrong at every other, so the others are what counts.
    ``step`` is the multiple that height and width must keep.
    """
    low, usual, high = shapes.min, shapes.opt, shapes.max
    tall, wide = SIDES[shapes.layout]
    between = tuple(
        a + (b - a) // 2 // step * step if axis in (tall, wide) else (a + b) // 2
        for axis, (a, b) in enumerate(zip(low, high, strict=True))
    )
    oblong = tuple(high[axis] if axis == wide else size for axis, size in enumerate(low))
    return list(dict.fromkeys([usual, low, high, between, oblong]))


def torch_runner(module: Any, threads: int = 1, outputs: Sequence[str] = OUTPUTS) -> Runner:
    """The judge: PyTorch eager, float32, no gradients; ``outputs`` are the names of what the module returns.

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
        return joined(dict(zip(outputs, (part.numpy() for part in parts), strict=True)))

    return run


def by_name(images: Any, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Pictures as the one input of a graph; arrays by name as they are."""
    if isinstance(images, Mapping):
        return dict(images)
    (name,) = names
    return {name: images}


def session_runner(session: Session) -> Runner:
    """A runtime session as a plain function of images, or of arrays by name where its task takes such."""
    names, task = [spec.name for spec in session.inputs], task_of(session.bundle.task)
    join = task.joined if task.arrays else joined

    def run(images: Any) -> np.ndarray:
        return join(session.run(by_name(images, names)))

    return run


def graph_runner(model: ir.Model, *, optimise: bool = True, threads: int = 0) -> Runner:
    """Images (B, 3, H, W) -> the outputs as one float32 array (runtime/tasks/known.py)."""
    session = open_session(model, optimise=optimise, threads=threads)
    name = session.get_inputs()[0].name
    outputs = [output.name for output in session.get_outputs()]

    def run(images: np.ndarray) -> np.ndarray:
        return joined(dict(zip(outputs, session.run(outputs, {name: images}), strict=True)))

    return run
