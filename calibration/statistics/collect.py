"""Float32 graph + images -> statistics of the tensors that may be quantised. One pass; none when the cache has it.

Every batch runs once on ONNX Runtime with the observed tensors as outputs, each is counted and forgotten. What was counted
is saved every few batches: after a kill the next run continues there and ends with the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ...graph.run import open_session
from ...runtime.errors import EdgesmithError, UserMistake
from .cache import Cache, Saved
from .fingerprint import Images, fingerprint
from .observers import Observer, Statistics, TensorStats

if TYPE_CHECKING:
    import onnx_ir as ir

MEMORY_BYTES = 512 << 20  # of observed tensors at a time; a larger batch is cut

Progress = Callable[[str, int, int], None]  # what is done, images done, images in all


class Counter(Protocol):
    """One tensor while its batches stream by."""

    def add(self, array: np.ndarray, images: int) -> None: ...

    def arrays(self) -> dict[str, np.ndarray]: ...


def collect(
    model: ir.Model, tensors: Mapping[str, int], images: Images, *, cache: Path | None = None, batch: int = 8,
    save_every: int = 4, threads: int = 0, progress: Progress | None = None,
) -> Statistics:  # fmt: skip
    """Statistics of ``tensors`` (name -> channel axis) of a float32 graph over all images.

    ``cache`` is a folder, None the one of the account. UserMistake without images; EdgesmithError names a tensor that is
    not finite. A cache that cannot be read or written is a note, not an error.
    """
    start = time.monotonic()
    cached = Cache(fingerprint("statistics", model, tensors, images), cache)

    def make(name: str, arrays: Mapping[str, np.ndarray] | None) -> Observer:
        return Observer(name, tensors[name], None if arrays is None else TensorStats.from_arrays(arrays))

    counters, from_cache = one_pass(
        model, tensors, images, make, cached, batch=batch, save_every=save_every, threads=threads, progress=progress
    )
    return Statistics(
        tensors={name: counter.stats() for name, counter in counters.items()},
        images=len(images),
        key=cached.facts.key,
        from_cache=from_cache,
        seconds=time.monotonic() - start,
        notes=tuple(cached.notes),
    )


def one_pass(
    model: ir.Model, tensors: Mapping[str, int], images: Images, make: Callable[..., Any], cached: Cache, *,
    batch: int, save_every: int, threads: int, progress: Progress | None,
) -> tuple[dict[str, Any], bool]:  # fmt: skip
    """The counter of every tensor after all images, and whether the cache had them all.

    What was counted is saved every ``save_every * batch`` images.
    ``make(name, arrays or None)`` gives a counter, new or as an earlier one was saved by ``arrays()``.
    """
    total = len(images)
    if not total:
        raise UserMistake("calibration needs images", found="none", attempt="a folder with about 128 pictures")

    def restore(saved: Saved) -> tuple[dict[str, Counter], int, int]:
        if set(saved.arrays) != set(tensors) or not 0 < saved.done <= total:
            raise ValueError("it is of other tensors or images")
        found = {name: make(name, saved.arrays[name]) for name in tensors}
        return found, saved.done, int(saved.settings["batch"])

    counters: dict[str, Any]
    counters, done, size = cached.load(restore) or ({name: make(name, None) for name in tensors}, 0, 0)
    if done == total:
        return counters, True
    if done:
        cached.notes.append(f"continued after {done} of {total} images, which an earlier run had counted")
    run = _runner(model, tensors, images, threads)
    size, unsaved = size or _batch_size(model, run, images, batch), 0
    for fed, found in _batches(model, run, images, size, done):
        for name, array in found.items():
            counters[name].add(array, fed)
        done += fed
        unsaved += fed
        if progress:
            progress("calibrating", done, total)
        if done == total or unsaved >= save_every * batch:
            unsaved = 0
            arrays = {name: counter.arrays() for name, counter in counters.items()}
            cached.save(Saved(arrays, done, {"batch": size}), whole=done == total)
    if done != total:
        raise EdgesmithError("the image set changed while it was read", found=f"{done} images", expected=str(total))
    cached.prune()
    return counters, False


def _runner(
    model: ir.Model, tensors: Mapping[str, int], images: Images, threads: int
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Images (B, 3, H, W) -> the observed tensors."""
    known = {str(output.name) for node in model.graph for output in node.outputs}
    (fed,) = [str(value.name) for value in model.graph.inputs if value.name not in model.graph.initializers]
    if strange := sorted(set(tensors) - known - {fed}):
        raise ValueError(f"the graph computes no tensor {strange[0]!r}")
    inside = [name for name in tensors if name != fed]
    session = open_session(model, inside, threads=threads)

    def run(batch: np.ndarray) -> dict[str, np.ndarray]:
        found = dict(zip(inside, session.run(inside, {fed: batch}), strict=True)) if inside else {}
        return {name: found.get(name, batch) for name in tensors}

    return run


def _fixed_batch(model: ir.Model) -> int:
    """The batch of a graph that takes no other, else 0."""
    shape = model.graph.inputs[0].shape
    return shape[0] if shape is not None and isinstance(shape[0], int) else 0


def _batch_size(model: ir.Model, run: Callable[..., Any], images: Images, batch: int) -> int:
    """Images fed at a time: what the graph takes, or as many of ``batch`` as leave the memory usable."""
    if fixed := _fixed_batch(model):
        return fixed
    one = sum(array.nbytes for array in run(next(iter(images.batches(1)))).values())
    return max(1, min(batch, MEMORY_BYTES // max(one, 1)))


def _batches(
    model: ir.Model, run: Callable[..., Any], images: Images, size: int, start: int
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Images in a batch, and its tensors. A graph of fixed batch gets its last one filled up with the first images."""
    fixed = _fixed_batch(model)
    for pictures in images.batches(size, start):
        fed = len(pictures)
        while fed and len(pictures) < fixed:
            more = next(iter(images.batches(fixed - len(pictures))))
            pictures = np.concatenate([pictures, more])
        yield fed, run(pictures)
