"""exported graph -> whether anything in it grows with the square of the tokens, read from the shapes of all values."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...runtime.plugins.expressions import parse

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class TokenPair:
    """The value whose two largest token axes have the largest product, and that product."""

    product: int
    value: str
    shape: tuple[int, ...]


def largest_pair(model: ir.Model, channels: Collection[int], sizes: Mapping[str, int] | None = None) -> TokenPair:
    """The largest product of two token axes of one value, weights included.

    ``channels``: sizes that are no number of tokens (channels, heads, layers, words): every other axis is taken for one of
    tokens, so choose tokens that are none of them. ``sizes`` gives the open axes numbers; the batch is 1.

    Raises:
        ValueError: a value without a shape, or an open axis without a size.
    """
    largest = TokenPair(0, "", ())
    for value in _values(model):
        if value.shape is None:
            raise ValueError(f"{value.name}: no shape is known; infer shapes first")
        shape = tuple(_size(dim, str(value.name), sizes or {}) for dim in value.shape)
        tokens = sorted(size for size in shape if size not in channels)[-2:]
        if len(tokens) == 2 and tokens[0] * tokens[1] > largest.product:
            largest = TokenPair(tokens[0] * tokens[1], str(value.name), shape)
    return largest


def _values(model: ir.Model) -> list[ir.Value]:
    inside = [output for node in model.graph for output in node.outputs if output.name]
    return [*model.graph.inputs, *model.graph.initializers.values(), *inside]


def _size(dim: Any, value: str, sizes: Mapping[str, int]) -> int:
    if isinstance(dim, int):
        return dim
    spelled = str(getattr(dim, "value", dim))
    expression = parse(spelled)
    if lacking := [name for name in expression.names if name not in sizes]:
        raise ValueError(f"{value} has the open axis {spelled}: no size of {', '.join(lacking)} is given")
    return int(expression.value(dict(sizes)))
