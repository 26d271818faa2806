"""Form -> the function that writes it into the graph; one line for each, so that a new form is a new file and a line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .insert_blocks import insert_blocks
from .insert_dynamic import insert_dynamic
from .insert_nbits import insert_nbits
from .insert_qdq import insert_qdq
from .insert_u8 import insert_u8
from .nouns import Recipe, ScaleTable, Site

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
