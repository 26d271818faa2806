"""Graph + statistics -> the same graph with layers that meet without a curve between them sharing their scales.

Nagel et al., Data-free quantization through weight equalization and bias correction, arXiv:1906.04721, with the spread
of the *activations* in place of the first layer's weights: those have one scale for each output channel, which takes a
factor without loss.

    fc1 > Relu > fc2        conv > depthwise conv > conv        v of an attention > projection        conv > Mul > conv

A depthwise convolution takes the factor of its input back and starts a group with its own outputs, so scales pass it.
GELU, SiLU, softmax and sums with an unscaled value stop a group: it would not be exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..nouns import Site
from ..sites.sites import is_site
from ..statistics.observers import Statistics
from .balance import balance

if TYPE_CHECKING:
    import onnx_ir as ir


def equalise(
    model: ir.Model, sites: Iterable[Site], statistics: Statistics, alpha: float = 0.5
) -> tuple[ir.Model, Statistics, tuple[dict[str, Any], ...]]:
    """A copy of ``model`` in which every layer that reaches one of ``sites`` in a linear way is equalised with it."""
    model = model.clone()
    sources = [node for node in model.graph if is_site(node)]
    statistics, groups = balance(model, sources, sites, statistics, alpha, "equalise")
    return model, statistics, groups
