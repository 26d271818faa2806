"""The nouns of calibration, frozen: where a graph may be quantised, how, what was decided, and the graph that came out.

Left to right: ``Site`` (sites.py) + ``TensorStats`` (observers.py) + ``Recipe`` -> ``Decision`` (placement.py) -> ``Range`` and
``WeightScales`` in a ``ScaleTable`` (scales.py) -> ``QuantisedGraph`` (quantise.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runtime.ground.limits import FP16, INT8

if TYPE_CHECKING:
    import onnx_ir as ir

    from .statistics.observers import TensorStats

FORMS = ("qdq", "dynamic", "u8", "weights", "nbits")
WEIGHT_ONLY = ("weights", "nbits")  # forms that leave the activations in floating point
RULES = ("best", "minmax", "mse", "percentile", "entropy")


@dataclass(frozen=True)
class Site:
    """One Conv, Gemm or MatMul whose weight is a constant: a place where Q/DQ may stand."""

    node: str
    op: str  # "Conv", "Gemm" or "MatMul"
    input: str  # the activation it reads
    weight: str  # its initializer
    weight_shape: tuple[int, ...]
    in_axis: int  # channel axis of the activation: 1 of (B, C, H, W), -1 of (..., C)
    weight_in_axis: int  # axis of the weight that meets the input channels
    weight_out_axis: int  # axis of the weight that becomes the output channels; scales are one a channel of it
    groups: int = 1
    macs: int = 0  # for one image
    share: float = 0.0  # of the MACs of the whole graph, attention products included
    kind: str = "linear"  # "stem", "head", "depthwise", "conv" or "linear"
    producer: str = ""  # op_type that makes the activation, views such as Reshape looked through


@dataclass(frozen=True)
class Decision:
    """Whether a site is quantised, and why (or why not), in words for the report."""

    quantise: bool
    why: str


@dataclass(frozen=True)
class Recipe:
    """How to quantise; every field has a default that was measured (docs/quantisation.md)."""

    precision: str = INT8
    form: str = "qdq"  # "qdq" static Q/DQ, "dynamic" int8 MatMul, "u8" static asymmetric with outputs, "weights" only, "nbits" those of ORT
    rules: str = "best"
    smooth: float = 0.75  # strength alpha of moving activation scale into weights; 0 leaves the graph as it is
    equalise: bool = True
    weights: str = "mse"  # range of the weights: "max" or "mse"
    block: int = 128  # values of a weight that share a scale (int4); nvfp4 has 16
    keep: Mapping[str, str] = field(default_factory=dict)  # node -> why it must not be quantised
    also: tuple[str, ...] = ()  # nodes that are quantised although the default leaves them: stem, head, depthwise
    low: str = FP16  # type around the quantised nodes; scales are rounded to it, so that both files hold the same


@dataclass(frozen=True)
class Range:
    """What a quantiser of one activation covers: ``real = scale * (code - zero_point)``."""

    low: float
    high: float
    scale: float
    zero_point: int
    rule: str  # the rule that won: "minmax", "mse", "percentile" or "entropy"
    clipped: float = 0.0  # share of the values outside [low, high]
    sqnr_db: float = float("inf")  # of the activation itself
    error: float = 0.0  # local output error relative to the output, estimated from the statistics
    tried: Mapping[str, float] = field(default_factory=dict)  # rule -> local output error


@dataclass(frozen=True)
class WeightScales:
    """The quantised weight of one site: codes and their scales along ``axis`` (and blocks of ``block`` along it)."""

    codes: np.ndarray
    scale: np.ndarray
    axis: int
    block: int = 0
    rule: str = "max"
    sqnr_db: float = float("inf")
    outer: float = 1.0  # nvfp4: block scales are stored in E4M3, times this power of two


@dataclass(frozen=True)
class ScaleTable:
    """Everything that calibration decided in numbers: per site the range of its input and the codes of its weight."""

    activations: Mapping[str, Range]  # site node -> range of its input
    weights: Mapping[str, WeightScales]  # site node -> quantised weight
    values: Mapping[str, Range] = field(default_factory=dict)  # form "u8": every value that becomes codes -> its range

    def to_json(self) -> dict[str, Any]:
        """Plain data; floats are printed so that they read back bit for bit."""
        return {
            "activations": {name: asdict(found) for name, found in self.activations.items()},
            "values": {name: asdict(found) for name, found in self.values.items()},
            "weights": {
                name: {"scale": found.scale.astype(np.float64).ravel().tolist(), "axis": found.axis,
                       "block": found.block, "rule": found.rule, "codes_sha256": hashlib.sha256(found.codes.tobytes()).hexdigest()}
                for name, found in self.weights.items()
            },
        }  # fmt: skip

    def sha256(self) -> str:
        """Hex digest of the table: two runs that agree bit for bit have the same."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class QuantisedGraph:
    """A float32 graph with explicit quantisation, and what was done to it."""

    model: ir.Model
    recipe: Recipe
    sites: tuple[Site, ...]
    decisions: Mapping[str, Decision]  # site node -> decision
    scales: ScaleTable
    smoothed: tuple[dict[str, Any], ...] = ()  # groups: kind, nodes, strength, largest factor
    notes: tuple[str, ...] = ()
    statistics: Mapping[str, TensorStats] = field(default_factory=dict)  # of the sites' inputs, after smoothing
    base: ir.Model | None = None  # the float32 graph that was quantised, smoothed and equalised

    @property
    def share(self) -> float:
        """Share of the graph's MACs that are quantised."""
        return sum(site.share for site in self.sites if self.decisions[site.node].quantise)

    @property
    def share_of_weighted(self) -> float:
        """The same of the MACs that have a constant weight: attention products cannot have Q/DQ by our placement."""
        return self.share / max(sum(site.share for site in self.sites), 1e-12)
