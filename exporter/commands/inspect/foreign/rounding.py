"""What ONNX Runtime rounds by itself, told apart from the file.

A layer with nothing but its weight in few bits multiplies in float32, as its graph says. By default ONNX Runtime rounds the
activations of such a layer to 8 bits, which is faster, and no fault of the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .....graph.edit import clone
from .....graph.read import attribute, is_op
from .....graph.run import open_session
from ....bundle.as_written import apart_db
from ....bundle.engine_rounding import rounding_words
from ....run.foreign.words import engine_errors

if TYPE_CHECKING:
    import onnx_ir as ir

MICROSOFT = "com.microsoft"


def exact_products(model: ir.Model) -> ir.Model:
    """A copy whose MatMulNBits compute in float32, where one asks for less; else the graph itself."""
    import onnx_ir as ir

    def rounds(node: ir.Node) -> bool:
        return is_op(node, "MatMulNBits", MICROSOFT) and attribute(node, "accuracy_level", 0) not in (0, 1)

    if not any(rounds(node) for node in model.graph):
        return model
    copy = clone(model)
    for node in copy.graph:
        if rounds(node):
            node.attributes["accuracy_level"] = ir.AttrInt64("accuracy_level", 1)
    return copy


def own_rounding(model: ir.Model, images: np.ndarray) -> float | None:
    """dB between the graph as ONNX Runtime runs it by default and as it is written, on (n, 3, H, W); None where it is exact."""
    if not any(is_op(node, "DequantizeLinear") or is_op(node, "MatMulNBits", MICROSOFT) for node in model.graph):
        return None
    try:
        exact = _answers(exact_products(model), images, True)
        usual = _answers(model, images, False)
    except engine_errors():
        return None  # what it cannot run is told where it is judged
    return apart_db(exact, usual)


def _answers(model: ir.Model, images: np.ndarray, exact: bool) -> dict[str, np.ndarray]:
    """The outputs that are tensors."""
    session = open_session(model, exact=exact)
    feed = session.get_inputs()[0]
    batch = feed.shape[0] if isinstance(feed.shape[0], int) else len(images)
    found = session.run(None, {feed.name: np.resize(images, (batch, *images.shape[1:]))})
    return {str(number): one for number, one in enumerate(found) if isinstance(one, np.ndarray)}


def rounding_note(found_db: float, engine: str = "ONNX Runtime") -> str:
    """The words of an export, and that nothing else which the command tells has it in it."""
    return f"{rounding_words(found_db, engine)}; all other figures are without it"
