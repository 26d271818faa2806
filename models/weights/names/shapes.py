"""Names and shapes that a network asks for; it is built on the device meta, without memory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from torch import Tensor

from ...spec import ModelSpec
from ..files.stored import Stored

HEAD = re.compile(
    r"head\.(weight|fc\.weight|gfl_cls\.\d\.weight)"
)  # a row a class: (K, C), or (K, C, k, k) of a detector
HEAD_BIAS = re.compile(r"head\.(bias|fc\.bias|gfl_cls\.\d\.bias)")
Shapes = dict[str, tuple[int, ...]]


def wanted(spec: ModelSpec, changes: Mapping[str, Any]) -> Shapes:
    """The tensors of ``spec``, with ``changes`` to its configuration."""
    return _built(_Key(spec), tuple(changes.items()))


class _Key:
    """A spec as a key of the cache: a frozen dataclass whose dict of settings cannot be hashed."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.told = (spec.name, spec.num_classes, spec.contract.size, repr(sorted(spec.config.items())))

    def __hash__(self) -> int:
        return hash(self.told)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.told == other.told


@lru_cache(maxsize=64)
def _built(key: _Key, changes: tuple[tuple[str, Any], ...]) -> Shapes:
    import torch

    with torch.device("meta"):
        built = key.spec.build(**dict(changes)).state_dict()
    return {name: tuple(value.shape) for name, value in built.items()}


def renamed(spec: ModelSpec, tensors: Mapping[str, Stored]) -> dict[str, Tensor]:
    """Tensors without values under the network's names; as they are where a family's ``rename`` needs the values for it."""
    state = {name: value.without_values() for name, value in tensors.items()}
    try:
        return spec.rename(dict(state))
    except (RuntimeError, NotImplementedError):
        return state


def is_head(spec: ModelSpec, name: str) -> bool:
    """Whether it is the weight of the classifier, a row a class."""
    return HEAD.fullmatch(name) is not None or name in {f"{layer}.weight" for layer in spec.classifier}


def is_head_bias(spec: ModelSpec, name: str) -> bool:
    return HEAD_BIAS.fullmatch(name) is not None or name in {f"{layer}.bias" for layer in spec.classifier}


def told_by(spec: ModelSpec, shapes: Shapes) -> Shapes:
    """Without counters, position tables and what the model fills in itself; of the head only its input width, not its classes."""
    skipped = ("num_batches_tracked", "pos_embed", *spec.filled())
    return {
        name: shape[1:] if is_head(spec, name) else shape
        for name, shape in shapes.items()
        if not name.endswith(skipped) and not is_head_bias(spec, name)
    }
