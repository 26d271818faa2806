"""The tower with activations that fit one scale: calibration pictures -> the same network, channels divided and multiplied back.

    norm1 > qkv    norm2 > gate, up    up > down    v of qkv > proj    ln_q > mlp.0        x_c / s_c,  w_c * s_c

Xiao et al., SmoothQuant, arXiv:2211.10438, by the factors of calibration/balance. All of it happens to the tensors of the
checkpoint as they are read: graph, codes and judge are made of what comes out and know nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ....calibration.balance.balance import factors_of

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir

    from ....calibration.statistics.fingerprint import Images
    from ....models.folders.folder import ModelFolder
    from ....models.folders.tensors import LazyTensor
    from ..parts.weights import Weight

TOWER = "model.visual."
Edit = tuple[int, np.ndarray]  # axis, and what the tensor is multiplied with along it


@dataclass(frozen=True)
class Group:
    """Channels of ``sources`` (the rows from ``first`` on), which the columns of ``sinks`` meet, ``times`` over."""

    sources: tuple[str, ...]
    sinks: tuple[str, ...]
    first: int = 0
    times: int = 1


@dataclass
class Smoothed:
    """What every tensor is multiplied with, and the largest ratio of two factors of a group."""

    edits: dict[str, list[Edit]] = field(default_factory=dict)
    ratio: float = 1.0

    def of(self, folder: ModelFolder) -> ModelFolder:
        """``folder`` with the tensors as they become; each is still read when it is asked for."""
        tensors = {name: self._edited(one) if name in self.edits else one for name, one in folder.tensors.items()}
        return replace(folder, tensors=tensors)

    def _edited(self, tensor: LazyTensor) -> LazyTensor:
        return replace(tensor, dtype="float32", read=partial(_multiplied, tensor, self.edits[tensor.name]))


def groups(folder: ModelFolder) -> Iterator[Group]:
    """Everything of the tower where a factor passes."""
    block = 0
    while f"{TOWER}blocks.{block}.norm1.weight" in folder.tensors:
        at = f"{TOWER}blocks.{block}."
        qkv, up, down = f"{at}attn.qkv", f"{at}mlp.up_proj", f"{at}mlp.down_proj.weight"
        values = folder.tensors[f"{qkv}.weight"].shape[0] // 3 * 2  # queries and keys meet each other, not a weight
        yield Group((f"{at}norm1.weight",), (f"{qkv}.weight",))
        yield Group((f"{at}norm2.weight",), (f"{at}mlp.gate_proj.weight", f"{up}.weight"))
        yield Group((f"{up}.weight", f"{up}.bias"), (down,))
        yield Group((f"{qkv}.weight", f"{qkv}.bias"), (f"{at}attn.proj.weight",), first=values)
        block += 1
    yield Group((f"{TOWER}merger.ln_q.weight",), (f"{TOWER}merger.mlp.0.weight",), times=4)


def smoothed(folder: ModelFolder, largest: Mapping[str, np.ndarray], alpha: float) -> Smoothed:
    """``largest``: of each product's weight the largest |x_c| that it met, (K,)."""
    found = Smoothed()
    for group in groups(folder):
        act = np.max([largest[name].reshape(group.times, -1).max(axis=0) for name in group.sinks], axis=0)
        met = [np.abs(_array(folder.tensors[name])).max(axis=0) for name in group.sinks]
        weight = np.max([one.reshape(group.times, -1).max(axis=0) for one in met], axis=0)
        factors = factors_of(act, weight, alpha).astype(np.float32)
        found.ratio = max(found.ratio, float(factors.max() / factors.min()))
        for name in group.sources:
            along = np.ones(folder.tensors[name].shape[0], np.float32)
            along[group.first :] = 1 / factors
            found.edits.setdefault(name, []).append((0, along))
        for name in group.sinks:
            found.edits.setdefault(name, []).append((1, np.tile(factors, group.times)))
    return found


def largest_inputs(
    model: ir.Model, weights: Mapping[str, Weight], images: Images, cache: Path | None
) -> dict[str, np.ndarray]:
    """The filled tower on pictures -> for the weight of each product the largest |x_c| of what it multiplies, (K,)."""
    from ....calibration.statistics.collect import collect
    from .forms import products

    fed = {weights[key].source: node.inputs[0] for node, key in products(model, weights)}
    names = {source: str(value.name) for source, value in fed.items() if value is not None}
    found = collect(model, dict.fromkeys(names.values(), -1), images, cache=cache, batch=1)
    return {source: found.tensors[name].absmax for source, name in names.items()}


def _array(tensor: LazyTensor) -> np.ndarray:
    array: np.ndarray = tensor.read().float().numpy()
    return array


def _multiplied(tensor: LazyTensor, edits: list[Edit]) -> Any:
    import torch

    array = _array(tensor).copy()
    for axis, factors in edits:
        array *= factors.reshape([-1 if at == axis else 1 for at in range(array.ndim)])
    return torch.from_numpy(array)
