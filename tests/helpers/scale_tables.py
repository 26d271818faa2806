"""Scale tables by plain min-max, so that the tests of the forms do not lean on the rules that choose ranges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir

from edgesmith.calibration.nouns import Range, ScaleTable, Site, WeightScales
from edgesmith.calibration.sites.observed import tensors_for
from edgesmith.graph.run import run_values


def int8_weights(model: ir.Model, sites: Iterable[Site]) -> dict[str, WeightScales]:
    """Site node -> symmetric int8 codes, one scale an output channel."""
    table = {}
    for site in sites:
        array, axis = model.graph.initializers[site.weight].const_value.numpy(), site.weight_out_axis
        others = tuple(other for other in range(array.ndim) if other != axis)
        scale = (np.abs(array).max(axis=others, keepdims=True) / 127).astype(np.float32)
        codes = np.clip(np.rint(array / scale), -127, 127).astype(np.int8)
        table[site.node] = WeightScales(codes, scale.ravel(), axis)
    return table


def symmetric_table(model: ir.Model, sites: Iterable[Site], feeds: Mapping[str, np.ndarray]) -> ScaleTable:
    """For ``insert_qdq``."""
    sites = list(sites)
    seen = {**run_values(model, feeds, [site.input for site in sites]), **feeds}
    peaks = {site.node: float(np.abs(seen[site.input]).max()) for site in sites}
    ranges = {node: Range(-peak, peak, float(np.float32(peak / 127)), 0, "minmax") for node, peak in peaks.items()}
    return ScaleTable(ranges, int8_weights(model, sites))


def chain_table(model: ir.Model, sites: Iterable[Site], feeds: Mapping[str, np.ndarray]) -> ScaleTable:
    """For ``insert_u8``."""
    sites = list(sites)
    names = list(tensors_for("u8", sites, model))
    seen = {**run_values(model, feeds, names), **feeds}
    ranges = {}
    for name in names:
        low, high = min(0.0, float(seen[name].min())), max(0.0, float(seen[name].max()))
        scale = float(np.float32((high - low) / 255))
        ranges[name] = Range(low, high, scale, round(-low / scale), "minmax")
    return ScaleTable({}, int8_weights(model, sites), ranges)
