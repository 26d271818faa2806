"""Graph + statistics -> the same graph with the scale of LayerNormalization outputs moved into the weights behind them.

    x > LayerNormalization(gamma, beta) > views > linear layers W      gamma / s, beta / s, W[c] * s[c]

Pretrained transformers have a few channels ten to a hundred times larger than the rest, always the same ones: one scale
for the whole tensor then leaves the rest a few codes.  Moved into the weights, which have a scale for each output, the
outlier costs little on either side.  Exact (balance.py); what is refused says why: a residual that reads the output too,
an operator that is not linear, an output of the graph.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ...graph.read import is_op
from ..nouns import Site
from ..statistics.observers import Statistics
from .balance import balance

if TYPE_CHECKING:
    import onnx_ir as ir


def smooth(
    model: ir.Model, sites: Iterable[Site], statistics: Statistics, alpha: float = 0.75
) -> tuple[ir.Model, Statistics, tuple[dict[str, Any], ...]]:
    """A copy of ``model`` in which every LayerNormalization before one of ``sites`` is smoothed; its statistics; the groups.

    ``alpha`` in (0, 1] is how much of the activation's spread moves into the weights; 0 changes nothing.
    """
    model = model.clone()
    if not alpha:
        return model, statistics, ()
    sources = [node for node in model.graph if is_op(node, "LayerNormalization")]
    statistics, groups = balance(model, sources, sites, statistics, alpha, "smooth")
    return model, statistics, groups
