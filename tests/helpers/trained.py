"""The trained fixtures as calibration sees them: rewritten graph, 128 training digits, 1000 held-out ones."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgesmith.calibration.judge.accuracy import sqnr_db
from edgesmith.calibration.nouns import QuantisedGraph, Site
from edgesmith.calibration.sites.sites import find_sites
from edgesmith.calibration.statistics.observers import Observer, Statistics
from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.run.nouns import Shapes
from edgesmith.exporter.run.runners import graph_runner
from edgesmith.exporter.trace.trace import trace
from edgesmith.graph.run import open_session
from edgesmith.models import create, find
from edgesmith.models.fixtures.digits import digits
from edgesmith.models.fixtures.fixtures import TRAINED as WEIGHTS
from edgesmith.runtime.pictures.preprocess import preprocess

NAMES = ("vit_ggem_mnist", "convit_mnist", "davit_mnist", "smt_mnist", "van_mnist")
BATCH = 100


@dataclass(frozen=True, eq=False)
class Trained:
    """One fixture for one target."""

    name: str
    model: ir.Model  # float32, rewritten
    sites: tuple[Site, ...]
    images: np.ndarray  # (128, 3, H, W) to calibrate
    held_out: np.ndarray  # (1000, 3, H, W)
    labels: np.ndarray  # (1000,)
    logits: np.ndarray  # (1000, 10) of the float32 graph

    def statistics(self, model: ir.Model | None = None) -> Statistics:
        """Of the sites' inputs, over the 128 digits; ``model`` is one with the same values' names."""
        axes = {site.input: site.in_axis for site in self.sites}
        session = open_session(model or self.model, list(axes), optimise=False, threads=1)
        feed = session.get_inputs()[0].name
        observers = {name: Observer(name, axis) for name, axis in axes.items()}
        asked = [name for name in axes if name != feed]
        for start in range(0, len(self.images), 16):
            batch = self.images[start : start + 16]
            found = dict(zip(asked, session.run(asked, {feed: batch}), strict=True))
            for name, observer in observers.items():
                observer.add(found.get(name, batch), len(batch))
        return Statistics({name: one.stats() for name, one in observers.items()}, len(self.images), "")

    def judge(self, found: ir.Model | QuantisedGraph) -> tuple[float, float, float]:
        """(logit SQNR in dB, points of top-1 lost, share of equal answers in %) against the float32 graph."""
        logits = answers(found if isinstance(found, ir.Model) else found.model, self.held_out)
        mine, theirs = logits.argmax(axis=1), self.logits.argmax(axis=1)
        lost = 100 * ((theirs == self.labels).mean() - (mine == self.labels).mean())
        return sqnr_db(self.logits, logits), float(lost), float(100 * (mine == theirs).mean())


def answers(model: ir.Model, images: np.ndarray) -> np.ndarray:
    """Logits, ONNX Runtime changing nothing: Q and DQ round as they are written."""
    run = graph_runner(model, optimise=False, threads=1)
    return np.concatenate([run(images[start : start + BATCH]) for start in range(0, len(images), BATCH)])


@functools.cache
def trained(name: str, target: str = "rtx") -> Trained:
    """The fixture, traced with an open batch and rewritten for ``target``."""
    contract = find(name).contract
    size = contract.size
    module = create(name, weights=WEIGHTS / f"{name}.safetensors")
    exported = trace(module, Shapes((1, 3, *size), (1, 3, *size), (BATCH, 3, *size)), name=name)
    model = rewrite(exported, target, skip=("OrtAttention",) if target == "cpu" else ()).model
    pictures, labels = digits("train")
    rng = np.random.default_rng(0)
    drawn = np.concatenate([rng.permutation(np.flatnonzero(labels == digit))[:13] for digit in range(10)])
    images = preprocess([pictures[index] for index in rng.permutation(drawn)[:128]], contract)
    pictures, labels = digits("held_out")
    held_out = preprocess(list(pictures), contract)
    sites = find_sites(model, {exported.input_name: images[:2]})
    return Trained(name, model, sites, images, held_out, np.asarray(labels), answers(model, held_out))
