"""Graphs quantised by the package's own flow on a few seeded inputs: what the tests of typing, engines and audit work on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from edgesmith.calibration.nouns import QuantisedGraph, Recipe
from edgesmith.calibration.quantise import quantise
from edgesmith.calibration.sites.observed import tensors_for
from edgesmith.calibration.sites.sites import find_sites
from edgesmith.calibration.statistics.observers import Observer, Statistics
from edgesmith.graph.run import run_values


def quantised(model: ir.Model, feeds: Mapping[str, np.ndarray], **recipe: Any) -> QuantisedGraph:
    """``model`` (float32) quantised with statistics of one batch; ``recipe`` are fields of ``Recipe``."""
    wanted = Recipe(**recipe)
    sites = find_sites(model, feeds)
    axes = tensors_for(wanted.form, sites, model)
    values = {**run_values(model, feeds, list(axes)), **feeds}
    tensors = {}
    for name, axis in axes.items():
        observer = Observer(name, axis)
        observer.add(values[name], len(values[name]))
        tensors[name] = observer.stats()
    images = len(next(iter(feeds.values())))
    return quantise(model, Statistics(tensors, images, key="seeded"), wanted, sites)


def chosen(graph: QuantisedGraph) -> list[str]:
    """The nodes that were quantised, in graph order."""
    return [site.node for site in graph.sites if graph.decisions[site.node].quantise]
