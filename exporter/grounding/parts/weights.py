"""Which tensor of the checkpoint an initialiser of a graph is, and how it lies there; one at a time, none is held here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .layers import COLOURS, TRANSPOSED

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import nn

Read = Callable[
    [str], "NDArray[Any]"
]  # state name of transformers 5.x (model.visual.*, model.language_model.*) -> array


@dataclass(frozen=True)
class Weight:
    """``source`` is the state name; ``rows`` those of it that the graph has, all where empty; ``layout`` how they lie there."""

    source: str
    layout: str = ""
    rows: tuple[int, ...] | range = ()

    @property
    def key(self) -> str:
        """Its name in what is shared between graphs."""
        return f"{self.source} {self.rows[0]}-{self.rows[-1]}" if self.rows else self.source

    def part(self, array: NDArray[Any]) -> NDArray[Any]:
        """The rows of the checkpoint's array, as they lie in it."""
        if isinstance(self.rows, range):
            return array[self.rows.start : self.rows.stop]
        return array[list(self.rows)] if self.rows else array

    def of(self, array: NDArray[Any]) -> NDArray[Any]:
        """The checkpoint's array -> the graph's, C-ordered, in the same type."""
        array = self.part(array)
        if self.layout == TRANSPOSED:
            array = array.T
        elif self.layout == COLOURS:
            summed = array.sum(axis=2, dtype=np.float32).astype(array.dtype)
            array = summed.swapaxes(0, 1).reshape(-1, 1, *summed.shape[2:])
        return np.ascontiguousarray(array)


def weights_of(module: nn.Module) -> dict[str, Weight]:
    """Name of each parameter, which is that of its initialiser -> where it comes from."""
    found = {}
    for path, part in module.named_modules():
        for name, _ in part.named_parameters(recurse=False):
            full = f"{path}.{name}"
            layout = getattr(part, "layouts", {}).get(name, "")
            source = f"{part.source}.{name}" if hasattr(part, "source") else full
            found[full] = Weight(source, layout, getattr(part, "rows", ()))
    return found


def load(module: nn.Module, read: Read) -> nn.Module:
    """``module`` with its parameters from the checkpoint, float32; what PyTorch computes with."""
    import torch

    weights = weights_of(module)
    for name, parameter in module.named_parameters():
        array = weights[name].of(read(weights[name].source)).astype(np.float32)
        if array.shape != tuple(parameter.shape):
            raise ValueError(f"{name}: {array.shape} in the checkpoint, {tuple(parameter.shape)} expected")
        owner = module.get_submodule(name.rpartition(".")[0])
        owner.register_parameter(name.rpartition(".")[2], torch.nn.Parameter(torch.from_numpy(array), False))
    return module.eval()


def fill(model: ir.Model, weights: Mapping[str, Weight], read: Read) -> ir.Model:
    """A graph whose weights have no values yet, with them, float32; for models that fit into memory twice."""
    import onnx_ir as ir

    for name, weight in weights.items():
        value = model.graph.initializers[name]
        value.const_value = ir.tensor(weight.of(read(weight.source)).astype(np.float32), name=name)
    return model


def without_values(model: ir.Model, weights: Mapping[str, Weight]) -> Iterator[ir.Value]:
    """The initialisers that a checkpoint fills, in the graph's order."""
    return (value for name, value in model.graph.initializers.items() if name in weights)
