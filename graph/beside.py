"""Weights beside a graph: one flat file that grows, so that a graph of gigabytes is passed on and its weights stay on the disk.

    keep_beside(model, folder)    every large weight of the model is written there, one at a time, and read from there
    settle(model)                 before a graph is run or saved: what passes made since is written behind it

Graphs whose weights fit into one file are left as they are: for
those both do nothing. A file is written behind only by the process that began it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterator

ONE_FILE_BYTES = 1_500_000_000  # a protobuf holds 2 GiB
SMALL_BYTES = 1024  # stays in the graph: vectors of a few channels, scalars, sizes that shapes are inferred from
PAGE_BYTES = 4096  # engines map the file, and maps begin at a page
NAME = "00-weights.data"  # in the folder of a run


class Kept(ir.ExternalTensor):
    """A weight in the file of a graph that is being made; further ones may be written behind it.

    Each look at it is a map of its own, which goes with the array: what nobody looks at is not in memory.
    """

    def numpy(self) -> np.ndarray:
        if self.dtype.bitwidth < 8:
            array = super().numpy()  # unpacked, so a copy
            self.release()
            return array
        shape, kind = self.shape.numpy(), self.dtype.numpy()
        return np.memmap(self.path, kind, "r", self.offset or 0, shape).view(np.ndarray)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.numpy().__array__(dtype)

    def tobytes(self) -> bytes:
        with open(self.path, "rb") as file:
            file.seek(self.offset or 0)
            return file.read(self.nbytes)


def is_large(model: ir.Model) -> bool:
    """Whether the weights of a model go beyond what one file is to hold."""
    return weight_bytes(model) > ONE_FILE_BYTES


def weight_bytes(model: ir.Model) -> int:
    """Of all initializers, wherever they lie."""
    return sum(tensor.nbytes for _, tensor in _weights(model))


def is_beside(model: ir.Model) -> bool:
    """Whether ``keep_beside`` was called for this model, or for what it was made of."""
    return _file_of(model) is not None


def keep_beside(model: ir.Model, folder: Path) -> None:
    """Write every weight of more than ``SMALL_BYTES`` to ``folder / NAME``; the model reads them there from here on."""
    path = folder / NAME
    path.touch()
    _write(model, path)


def settle(model: ir.Model) -> None:
    """What was made since goes into the file where the other weights are."""
    if (path := _file_of(model)) is not None:
        _write(model, path)


def like(source: Any, array: np.ndarray, name: str) -> Any:
    """A tensor of ``array``: in the file where ``source`` is, at once, or in memory where that one is no ``Kept``."""
    if not isinstance(source, Kept) or array.nbytes <= SMALL_BYTES:
        return ir.tensor(array, name=name)
    return _append(Path(source.path), ir.tensor(array, name=name), name)


def _weights(model: ir.Model) -> Iterator[tuple[ir.Value, Any]]:
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value, value.const_value


def _file_of(model: ir.Model) -> Path | None:
    return next((Path(tensor.path) for _, tensor in _weights(model) if isinstance(tensor, Kept)), None)


def _write(model: ir.Model, path: Path) -> None:
    moved: dict[int, Kept] = {}  # two values may have one tensor
    for value, tensor in list(_weights(model)):
        if isinstance(tensor, ir.ExternalTensor) or tensor.nbytes <= SMALL_BYTES or tensor.dtype == ir.DataType.STRING:
            continue
        if id(tensor) not in moved:
            moved[id(tensor)] = _append(path, tensor, str(value.name))
        value.const_value = moved[id(tensor)]


def _append(path: Path, tensor: Any, name: str) -> Kept:
    with path.open("r+b") as file:
        offset = file.seek(-(-path.stat().st_size // PAGE_BYTES) * PAGE_BYTES)
        file.write(tensor.tobytes())
    shape = ir.Shape(tuple(tensor.shape))
    return Kept(path.name, offset, tensor.nbytes, tensor.dtype, shape=shape, name=name, base_dir=path.parent)
