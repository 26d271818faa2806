"""SMT and VAN with open batch, height and width: traced at one size, right at others, before and after the rewrites.

Narrow networks of the real classes; sizes include one that the strides do not divide. The weights are seeded and the
BatchNorms have statistics of their own, so that nothing folds away by being 0 or 1.
"""

from __future__ import annotations

import pytest
import torch
from graph_asserts import distance_to_eager
from torch import nn

from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.run.nouns import ExportedGraph, Shapes
from edgesmith.exporter.trace.trace import trace
from edgesmith.models.families.smt.network import SMT
from edgesmith.models.families.van.network import VAN

OPEN = Shapes((1, 3, 64, 64), (1, 3, 96, 96), (4, 3, 160, 160))
BATCHES_AND_SIZES = [(1, 3, 96, 96), (3, 3, 64, 128), (2, 3, 90, 122)]
PASSES = {
    "smt": {"MergeScaleHeads": 3, "FoldDepthwiseShortcut": 5, "FoldLayerScale": 10},
    "van": {"FoldNormalisedShortcut": 5, "FoldBatchNorm": 5, "FoldLayerScale": 5},
}
TOLERANCE = 2e-5  # the product's limit for float32 (exporter/run/runners.py)


def network(family: str) -> nn.Module:
    torch.manual_seed(0)
    dims = (16, 32, 48, 64)
    if family == "smt":
        model: nn.Module = SMT(dims, (1, 1, 2, 1), (2, 2, 2, 2), (2, 4), layer_scale=0.5, num_classes=10)
    else:
        model = VAN(dims, (1, 2, 1, 1), (2, 2, 2, 2), num_classes=10)
    for name, value in model.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            value.normal_(0, 0.1)
        elif name.endswith("running_var") or "layer_scale" in name:
            value.uniform_(0.5, 1.5)
    return model.eval()


@pytest.fixture(scope="module", params=["smt", "van"])
def traced(request) -> tuple[str, nn.Module, ExportedGraph]:
    model = network(request.param)
    return request.param, model, trace(model, OPEN, name=request.param)


@pytest.mark.parametrize("shape", BATCHES_AND_SIZES, ids=lambda shape: "x".join(map(str, shape)))
def test_the_plain_export_is_right(traced, shape):
    _, model, exported = traced
    assert distance_to_eager(model, exported.model, shape) <= TOLERANCE


@pytest.mark.parametrize("target", ["cpu", "openvino", "rtx"])
def test_the_rewritten_graph_is_right_and_every_pass_applied(traced, target):
    family, model, exported = traced
    rewritten = rewrite(exported, target)
    counts = {record.name: record.count for record in rewritten.passes}
    if family == "van" and target == "rtx":
        assert counts["RescaleTrunk"] == 5
    assert {name: counts[name] for name in PASSES[family]} == PASSES[family]
    for shape in BATCHES_AND_SIZES:
        assert distance_to_eager(model, rewritten.model, shape) <= TOLERANCE
