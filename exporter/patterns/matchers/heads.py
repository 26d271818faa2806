"""Where the heads of an attention block come from, found by following numbers instead of matching nodes.

Exporters write the way from a projection to its heads in many forms (reshape to five axes and Gather, Slice and Squeeze,
Split before or after the reshape, a transposed copy of k through three axes). What matters is only which element lands
where, so the nodes between are run on element numbers and the result is compared with the plain layout:

    projection (..., columns) of B x N tokens  >  nodes that only move elements, or multiply by one number
    >  heads (B, heads, N, width): element (b, h, n, d) is column ``offset + h * width + d`` of token (b, n)

Open sizes: the first axis may be open and is tried with 2; an open number of tokens is not followed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ....graph.read import constant, sizes
from .moves import MOVES, OPEN_BATCH, move, number_elements


@dataclass(frozen=True)
class Heads:
    """Heads (batch, heads, tokens, width) are columns ``offset`` and following of ``root`` (..., columns), x ``scale``."""

    root: ir.Value
    offset: int
    columns: int
    batch: int | str
    heads: int
    tokens: int
    width: int
    scale: float

    @property
    def dim(self) -> int:
        """Columns of all heads together."""
        return self.heads * self.width


def find_heads(value: ir.Value, *, transposed: bool = False) -> Heads | str:
    """The origin of q, k or v, given as (batch, heads, tokens, width), ``transposed`` with the last two exchanged.

    A string says why there is none.
    """
    shape = sizes(value)
    if shape is None or len(shape) != 4:
        return f"heads of shape {shape}, expected (batch, heads, tokens, width)"
    batch, heads, tokens, width = shape[0], shape[1], *(shape[:1:-1] if transposed else shape[2:])
    if not (isinstance(heads, int) and isinstance(tokens, int) and isinstance(width, int)):
        return f"heads, tokens or width of {shape} are open"
    path, scale = _path(value)
    found: Heads | None = None
    for start in range(len(path) + 1):  # the furthest origin with the plain layout wins
        root = path[start][1] if start < len(path) else value
        numbers = number_elements(root)
        if numbers is None:
            continue
        moved = move(numbers, path[start:])
        if moved is None or moved.ndim != 4:
            continue
        columns = numbers.shape[-1]
        offset = _plain_offset(moved.swapaxes(2, 3) if transposed else moved, columns)
        outer = sizes(root) or ()
        batch = outer[0] if len(outer) > 2 else batch  # the name that the network uses, not one of a reshape
        if offset is not None and batch is not None:
            found = Heads(root, offset, columns, batch, heads, tokens, width, scale)
            break
    return found or f"element order of {value.name} is not that of a projection split into heads"


def _path(value: ir.Value) -> tuple[list[tuple[ir.Node, ir.Value, ir.Value]], float]:
    """(node, input, output) from the furthest origin down to ``value``, and the product of the numbers on the way."""
    path: list[tuple[ir.Node, ir.Value, ir.Value]] = []
    scale = 1.0
    while (node := value.producer()) is not None and node.domain == "":
        source = node.inputs[0]
        if node.op_type in ("Mul", "Div"):
            scaled = scaled_by(node)
            if scaled is None:
                break
            source, factor = scaled
            scale *= factor
        elif node.op_type not in MOVES:
            break
        if source is None:
            break
        path.append((node, source, value))
        value = source
    return path[::-1], scale


def scaled_by(node: ir.Node) -> tuple[ir.Value, float] | None:
    """For x * c, c * x and x / c with one number c: (x, factor); else None."""
    if node.op_type not in ("Mul", "Div") or node.domain:
        return None
    for index in (1, 0) if node.op_type == "Mul" else (1,):
        number = constant(node.inputs[index])
        other = node.inputs[1 - index]
        if number is not None and number.size == 1 and other is not None and constant(other) is None:
            rank = len(sizes(other) or ()) or number.ndim
            if number.ndim <= rank:
                return other, float(number.item()) if node.op_type == "Mul" else 1.0 / float(number.item())
    return None


def unscaled(value: ir.Value | None) -> tuple[ir.Value | None, float]:
    """What ``value`` is before it is multiplied by numbers, and the product of the numbers."""
    factor = 1.0
    while value is not None and (node := value.producer()) is not None and (scaled := scaled_by(node)):
        value, number = scaled
        factor *= number
    return value, factor


def read_only_by(root: ir.Value, ends: set[ir.Value]) -> bool:
    """Whether all that is computed from ``root`` goes through moves and scalings into one of ``ends``."""
    stack = [root]
    while stack:
        value = stack.pop()
        if value in ends:
            continue
        if value.is_graph_output():
            return False
        for usage in value.uses():
            if usage.node.op_type not in MOVES and scaled_by(usage.node) is None:
                return False
            stack.extend(usage.node.outputs)
    return True


def _plain_offset(moved: np.ndarray, columns: int) -> int | None:
    """``offset`` when ``moved`` (B, heads, N, width) holds the numbers of that layout, else None."""
    batch, heads, tokens, width = moved.shape
    offset = int(moved.flat[0])
    if offset + heads * width > columns:
        return None
    token = np.arange(batch * tokens).reshape(batch, 1, tokens, 1) * columns
    column = np.arange(heads * width).reshape(1, heads, 1, width)
    return offset if np.array_equal(moved, token + column + offset) else None


def follow_out(context: ir.Value, batch: int | str) -> ir.Value | str:
    """From context (B, heads, N, width) down to the tokens, (..., heads * width), or why they are not to be found."""
    shape = sizes(context)
    inner = [size for size in (shape or ())[1:] if isinstance(size, int)]
    if shape is None or len(shape) != 4 or len(inner) != 3:
        return f"context of shape {shape}, expected (batch, heads, tokens, width)"
    full = (batch if isinstance(batch, int) else OPEN_BATCH, *inner)
    numbers = np.arange(np.prod(full)).reshape(full)
    wanted = numbers.transpose(0, 2, 1, 3).reshape(full[0], full[2], -1)
    value, best = context, None
    while not value.is_graph_output() and len(users := list(value.uses())) == 1:
        node = users[0].node
        if node.op_type not in ("Transpose", "Reshape") or users[0].idx != 0:
            break
        value = node.outputs[0]
        moved = move(numbers, [(node, value, value)])
        if moved is None:
            break
        numbers = moved
        if numbers.shape[-1] == wanted.shape[-1] and np.array_equal(numbers.ravel(), wanted.ravel()):
            best = value
            if numbers.shape == wanted.shape:
                break
    if best is None:
        return "the context is not brought back to (batch, tokens, channels)"
    return best
