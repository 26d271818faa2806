"""Form -> the function that writes it into the graph; one line for each, so that a new form is a new file and a line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..nouns import Recipe, ScaleTable, Site
from .blocks import insert_blocks
from .dynamic import insert_dynamic
from .nbits import insert_nbits
from .qdq import insert_qdq
from .u8 import insert_u8

if TYPE_CHECKING:
    import onnx_ir as ir

Insert = Callable[["ir.Model", Sequence[Site], ScaleTable, Recipe], "ir.Model"]


def dynamic(model: ir.Model, sites: Sequence[Site], scales: ScaleTable, recipe: Recipe) -> ir.Model:
    """Weights only: the activations' ranges are found while the graph runs."""
    return insert_dynamic(model, sites, scales.weights)


FORMS: dict[str, Insert] = {
    "qdq": insert_qdq,
    "dynamic": dynamic,
    "u8": insert_u8,
    "weights": insert_blocks,
    "nbits": insert_nbits,
}
