"""What channel labels are made of, and how a factor for each of them is written into a constant of the graph.

A label is the channel of an element (of one image), ``FROZEN`` where its factor must stay 1, or ``ZERO`` where padding put
a zero, which any factor leaves alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...graph.edit import add_constant
from ...graph.read import constant

if TYPE_CHECKING:
    import onnx_ir as ir

FROZEN, ZERO = -1, -2


class NotLinear(Exception):
    """Labels (an array) cannot pass a node; the message says why."""

    def __init__(self, labels: np.ndarray, why: str) -> None:
        super().__init__(why)
        self.labels = labels


@dataclass(frozen=True, eq=False)
class Edit:
    """Input ``index`` of ``node`` is multiplied (``times``) or divided by the factor of each element's label."""

    node: ir.Node
    index: int
    labels: np.ndarray  # broadcasts over the constant, or widens it
    times: bool

    def apply(self, model: ir.Model, factors: np.ndarray) -> None:
        """Write the changed constant; one that others read too is left to them."""
        import onnx_ir as ir

        value = self.node.inputs[self.index]
        old = constant(value)
        assert value is not None and old is not None
        spread = with_ones(factors)[self.labels]
        new = (old * spread if self.times else old / spread).astype(np.float32)
        if len(value.uses()) == 1 and value.is_initializer() and new.shape == old.shape:
            value.const_value = ir.tensor(new, name=value.name)
        else:
            self.node.replace_input_with(self.index, add_constant(model, f"{value.name}_scaled", new))


def with_ones(factors: np.ndarray) -> np.ndarray:
    """Factors with two more at the end, 1 for FROZEN and ZERO, which as indices are the last two."""
    return np.concatenate([np.asarray(factors, np.float64), [1.0, 1.0]])


def guess(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape of a value for one image: an open size such as ``9*s77`` counts 9, ``batch`` counts 1."""
    array = constant(value)
    if array is not None:
        return array.shape
    if value is None or value.shape is None:
        return None
    sizes = []
    for size in value.shape:
        text = str(size)
        head = text.split("*")[0]
        sizes.append(size if isinstance(size, int) else int(head) if head.isdigit() else 1)
    return tuple(sizes)


def collapse(labels: np.ndarray, *, padding: bool = True) -> np.ndarray:
    """The labels with size 1 along every axis on which they do not change; ``padding``: a zero goes with any label."""
    for axis in range(labels.ndim):
        most = labels.max(axis=axis, keepdims=True)
        if ((labels == most) | ((labels == ZERO) & padding)).all():
            labels = most
    return labels
