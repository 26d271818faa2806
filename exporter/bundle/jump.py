"""Which node is to blame? Run two graphs on one input and find the first value where they part.

Both graphs are run once with every value they have in common made an output. Rewrites keep the name of the value
they compute, so after any number of passes most names are still there. Whole numbers are compared where the graph hands
them out (counts and classes of detections); inside it they are shapes, or places of equals that any order is right for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...calibration.precisions import PRECISIONS
from ...graph.run import open_session
from ...runtime.ground.limits import FP32
from ...runtime.ground.numbers import relative_error

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Jump:
    """The first node whose output is off, with the relative L2 error there and at the value before it."""

    node: str
    op: str
    value: str
    before: float
    after: float

    def __str__(self) -> str:
        return f"{self.op} {self.node} (value {self.value}): relative error {self.before:.1e} -> {self.after:.1e}"


def first_jump(
    reference: ir.Model,
    suspect: ir.Model,
    images: np.ndarray,
    precision: str = FP32,
    *,
    theirs: np.ndarray | None = None,
) -> Jump | None:
    """The first place, in the order of ``suspect``, where the two differ by more than rounding.

    When no value is past the limit, the place with the steepest rise is named. None: no common value differs.
    ``theirs``: the pictures as ``suspect`` wants them, where it prepares them in another way.
    """
    nodes = [(value.name, node) for node in suspect.graph for value in node.outputs if value.name]
    known = {value.name for node in reference.graph for value in node.outputs}
    names = [name for name, _ in nodes if name in known]
    left, right = _values(reference, names, images), _values(suspect, names, images if theirs is None else theirs)
    makers = dict(nodes)
    previous, steepest, blamed = 0.0, 0.0, None
    for name in names:
        if name not in left or name not in right or left[name].shape != right[name].shape:
            continue
        error = relative_error(left[name], right[name])
        node = makers[name]
        jump = Jump(node.name or "(no name)", node.op_type, name, previous, error)
        if error > PRECISIONS[precision].jump:
            return jump
        rise = error / max(previous, 1e-9)
        if rise > steepest:
            steepest, blamed = rise, jump
        previous = error
    return blamed


def _values(model: ir.Model, names: list[str], images: np.ndarray) -> dict[str, Any]:
    """The values ``names`` of one run that can be compared, by name."""
    have = {str(output.name) for output in model.graph.outputs}
    session = open_session(model, names, optimise=False)
    # bfloat16 cannot be handed to numpy by ONNX Runtime; those values are left out
    asked = set(names)
    wanted = [
        output.name
        for output in session.get_outputs()
        if output.name in asked and (output.type in FLOATS or (output.name in have and output.type in INTEGERS))
    ]
    return dict(zip(wanted, session.run(wanted, {session.get_inputs()[0].name: images}), strict=True))


FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)")
INTEGERS = ("tensor(int32)", "tensor(int64)")
