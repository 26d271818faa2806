"""What is added to the scores in a view of them is added together first: TensorRT fuses attention with one added term.

    q k^T (B, h, N, M) > Reshape (B, h, H, W, H', W') > Add (B, h, H, W, H', 1) > Add (B, h, H, W, 1, W') > Reshape > Softmax
    Add of the two terms (B, h, H, W, H', W') > Reshape (B, h, N, M);    q k^T > Add > Softmax

Positions that are split into rows and columns, and depend on the query, are written so: MViTv2 (arXiv:2112.01526), ViTDet
and SAM, BoTNet. Only the order of the additions changes.
"""

from __future__ import annotations

import onnx_ir as ir

from ....graph.edit import insert, replace_value, sweep
from ....graph.read import is_op, only_consumer, sizes
from ..base import Pattern
from ..matchers.heads import unscaled

Shape = tuple[int | str | None, ...]


class BiasBesideScores(Pattern):
    """Add the terms of viewed scores to each other and then to the scores; declines terms that do not fill the view."""

    better_after = ("FoldShapes", "EinsumProduct")

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            if not is_op(node, "Softmax"):
                continue
            value, factor = unscaled(node.inputs[0])
            back = value.producer() if value is not None else None
            shape = sizes(value)
            if value is None or not is_op(back, "Reshape") or factor != 1 or shape is None or None in shape:
                continue
            view = back.inputs[0]
            found = _terms(view, shape)
            inner = sizes(view)
            if found is None or not found[1] or inner is None:
                continue
            scores, terms = found
            spread = _spread([sizes(term) for term in terms])
            if None in inner or spread != inner:
                self.decline(node, f"what is added to the scores fills {spread} of {inner}")
                continue
            total = terms[0]
            for number, term in enumerate(terms[1:], 2):
                shape_so_far = _spread([sizes(each) for each in terms[:number]])
                total = insert(back, "Add", [total, term], shape=shape_so_far)
            total = insert(back, "Reshape", [total, back.inputs[1]], shape=shape)
            replace_value(value, insert(back, "Add", [scores, total], shape=shape))
            count += 1
        if count:
            sweep(model)
        return count


def _terms(value: ir.Value | None, shape: Shape) -> tuple[ir.Value, list[ir.Value]] | None:
    """The scores of ``shape`` that ``value`` is a view of, and what is added to the view; None for anything else."""
    if value is None or only_consumer(value) is None:
        return None
    node = value.producer()
    if is_op(node, "Reshape"):
        scores = node.inputs[0]
        source = unscaled(scores)[0]
        product = source.producer() if source is not None else None
        return (scores, []) if scores is not None and is_op(product, "MatMul") and sizes(scores) == shape else None
    if is_op(node, "Add"):
        for index in (0, 1):
            found, term = _terms(node.inputs[index], shape), node.inputs[1 - index]
            if found is not None and term is not None and sizes(node.inputs[index]) == sizes(value):
                return found[0], [*found[1], term]
    return None


def _spread(shapes: list[Shape | None]) -> Shape | None:
    """The shape of a sum of values; None where one of them is not known, or two sizes are not known to fit."""
    rank = max((len(shape) for shape in shapes if shape is not None), default=0)
    total: list[int | str | None] = [1] * rank
    for shape in shapes:
        if shape is None or None in shape:
            return None
        for axis, size in enumerate(shape, rank - len(shape)):
            if size != 1 and total[axis] not in (1, size):
                return None
            total[axis] = size if size != 1 else total[axis]
    return tuple(total)
