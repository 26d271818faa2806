"""Where the heads of an attention block come from, found by following numbers instead of matching nodes.

Exporters write the way from a projection to its heads in many forms (reshape to five axes and Gather, Slice and Squeeze,
Split before or after the reshape, a transposed copy of k through three axes). What matters is only which element lands
where, so the nodes between are run on element numbers and the result is compared with the plain layout:

    projection (..., columns) of B x N tokens  >  nodes that only move elements, or multiply by one number
    >  heads (B, heads, N, width), or (B heads, N, width): element (b, h, n, d) is column ``picked[h, d]`` of token (b, n)

``picked`` is ``offset + h * width + d`` where q, k and v stand side by side, and another order where a projection packs them
head by head. The B x N tokens of the heads are all those of the projection, in their order or, ``turned``, as (N, B); how it
counts them itself (B N, a map, the rows of a map as pictures) does not matter. Heads of a part of the tokens start at what
cut them, not before it.
Open sizes: one axis may be open and is tried with 2; an open number of tokens is not followed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ....graph.read import constant, sizes
from .moves import MOVES, OPEN_BATCH, move, number_elements


@dataclass(frozen=True)
class Heads:
    """Heads (batch, heads, tokens, width) are the columns ``picked`` of ``root`` (..., columns), times ``scale``.

    ``root`` holds batch x tokens rows; ``tried`` is the batch with which an open one was followed, else the batch.
    """

    root: ir.Value
    picked: tuple[int, ...]  # heads x width columns
    columns: int
    batch: int | str
    heads: int
    tokens: int
    width: int
    scale: float
    tried: int
    turned: bool = False  # the rows of the root are (tokens, batch)

    @property
    def dim(self) -> int:
        """Columns of all heads together."""
        return self.heads * self.width

    @property
    def offset(self) -> int:
        """The first column where they follow each other, else -1."""
        first = self.picked[0]
        return first if self.picked == tuple(range(first, first + self.dim)) else -1


def find_heads(value: ir.Value, *, transposed: bool = False) -> Heads | str:
    """The origin of q, k or v, given as (batch, heads, tokens, width) or with the first two axes as one.

    ``transposed`` says that the last two are exchanged. A string says why there is none.
    """
    shape = sizes(value)
    if shape is None or len(shape) not in (3, 4):
        return f"heads of shape {shape}, expected (batch, heads, tokens, width)"
    known = (*shape[1:-2], *(shape[:-3:-1] if transposed else shape[-2:]))  # heads unless they are one with the batch
    if not all(isinstance(size, int) for size in known):
        return f"heads, tokens or width of {shape} are open"
    if 0 in shape:
        return f"heads of shape {shape} have no element"
    path = _path(value)
    for start in range(len(path) + 1):  # the furthest origin with a known layout wins
        root = path[start][1] if start < len(path) else value
        numbers = number_elements(root)
        moved = move(numbers, path[start:])
        if numbers is None or moved is None or moved.ndim != len(shape) or not moved.size:
            continue
        moved, columns = moved.swapaxes(-1, -2) if transposed else moved, numbers.shape[-1]
        if moved.shape[1:] != known:
            continue  # an open size was tried that does not fit
        moved = _heads_apart(moved, columns) if moved.ndim == 3 else moved
        if moved[:, 0, :, 0].size * columns != numbers.size:
            continue  # these are the heads of some of the tokens
        found, named = _layout(moved, columns), _batch(root, shape[0] if len(shape) == 4 else None, len(moved))
        if found is not None and named is not None:
            scale = math.prod(scaled[1] for node, _, _ in path[start:] if (scaled := scaled_by(node)))
            own, tokens, width = moved.shape[1:]
            return Heads(root, found[0], columns, named, own, tokens, width, scale, len(moved), found[1])
    return f"element order of {value.name} is not that of a projection split into heads"


def _heads_apart(moved: np.ndarray, columns: int) -> np.ndarray:
    """(B heads, N, width) as (B, heads, N, width): the first heads are those of one token."""
    rows = moved[:, 0, 0] // columns
    heads = int(np.argmax(rows != rows[0])) or len(rows)
    return moved.reshape(-1, heads, *moved.shape[1:]) if len(rows) % heads == 0 else moved[:, None]


def _batch(root: ir.Value, batch: int | str | None, tried: int) -> int | str | None:
    """The first axis of the heads: a number, or a name that is the same for equal open sizes; None where it is unknown."""
    opened = [size for size in sizes(root) or () if not isinstance(size, int)]
    if not opened:
        return None if isinstance(batch, int) and batch != tried else tried
    name = opened[0]
    if isinstance(batch, int) or name is None:
        return batch if batch == tried or isinstance(batch, str) else None
    # the name that the network uses, not one of a reshape
    return name if tried == OPEN_BATCH else f"{tried / OPEN_BATCH:g} {name}"


def _path(value: ir.Value) -> list[tuple[ir.Node, ir.Value, ir.Value]]:
    """(node, input, output) from the furthest origin down to ``value``."""
    path: list[tuple[ir.Node, ir.Value, ir.Value]] = []
    while (node := value.producer()) is not None and node.domain == "":
        source = node.inputs[0]
        if node.op_type in ("Mul", "Div"):
            scaled = scaled_by(node)
            if scaled is None:
                break
            source = scaled[0]
        elif node.op_type not in MOVES:
            break
        if source is None:
            break
        path.append((node, source, value))
        value = source
    return path[::-1]


def scaled_by(node: ir.Node) -> tuple[ir.Value, float] | None:
    """For x * c, c * x and x / c with one number c: (x, factor); else None."""
    if node.op_type not in ("Mul", "Div") or node.domain:
        return None
    for index in (1, 0) if node.op_type == "Mul" else (1,):
        number = constant(node.inputs[index])
        other = node.inputs[1 - index]
        if number is not None and number.size == 1 and other is not None and constant(other) is None:
            rank, factor = len(sizes(other) or ()), float(number.item())
            if number.ndim <= rank and (factor or node.op_type == "Mul"):
                return other, factor if node.op_type == "Mul" else 1.0 / factor
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


def _layout(moved: np.ndarray, columns: int) -> tuple[tuple[int, ...], bool] | None:
    """The columns of ``moved`` (B, heads, N, width), and whether its rows are turned; None for another order."""
    batch, _, tokens, _ = moved.shape
    picked = moved[:1, :, :1]  # (1, heads, 1, width) of token 0
    if picked.max() >= columns or len(np.unique(picked)) < picked.size:
        return None
    rows = np.arange(batch * tokens)
    for turned, order in ((False, rows.reshape(batch, tokens)), (True, rows.reshape(tokens, batch).T)):
        if np.array_equal(moved, order[:, None, :, None] * columns + picked):
            return tuple(picked.ravel().tolist()), turned
    return None


def follow_out(context: ir.Value, q: Heads) -> tuple[ir.Value, bool] | str:
    """From context (B, heads, N, width) down to the tokens, (..., heads * width), or why they are not to be found.

    With them stands whether their rows are turned, (N, B).
    """
    shape = sizes(context)
    inner = [size for size in (shape or ())[1:] if isinstance(size, int)]
    if shape is None or len(inner) != len(shape) - 1 or (len(shape) == 4 and inner[0] != q.heads):
        return f"context of shape {shape}, expected (batch, heads, tokens, width)"
    full = (q.tried, q.heads, *inner[-2:])
    numbers = np.arange(np.prod(full))
    wanted = numbers.reshape(full).transpose(0, 2, 1, 3).reshape(full[0], full[2], -1)
    plain, turned = wanted.ravel(), wanted.swapaxes(0, 1).ravel()
    numbers = numbers.reshape(-1, *inner)
    value, best = context, (context, False) if q.heads == 1 and len(shape) == 3 else None
    while not value.is_graph_output() and len(users := list(value.uses())) == 1:
        node = users[0].node
        if node.op_type not in ("Transpose", "Reshape") or users[0].idx != 0:
            break
        value = node.outputs[0]
        moved = move(numbers, [(node, value, value)])
        if moved is None:
            break
        numbers = moved
        if numbers.shape[-1] == wanted.shape[-1]:
            if np.array_equal(numbers.ravel(), plain):
                best = (value, False)
                if numbers.shape == wanted.shape:
                    break
            elif np.array_equal(numbers.ravel(), turned):
                best = best or (value, True)
    return best or "the context is not brought back to (batch, tokens, channels)"
