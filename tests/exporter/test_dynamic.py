"""One graph for batches of 1 to 8, every family: right at batches other than the traced one, and nothing computed on shapes.

Also other image sizes: exported again where the family allows it, refused in words where one graph cannot serve several.
SMT and VAN with open height and width are in test_open_sizes.py. The weights are the trained fixtures (runnable logits, not
noise), their sizes those of the fixtures; the full-size models are traced once each in the slow tests.
"""

from __future__ import annotations

from collections import Counter

import pytest
from graph_asserts import distance_to_eager
from reference_weights import reference_state
from safetensors.torch import save_file
from torch import nn

from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.run.nouns import ExportedGraph, Shapes
from edgesmith.exporter.trace.trace import trace
from edgesmith.models import create, families, find
from edgesmith.models.fixtures.fixtures import TRAINED
from edgesmith.runtime.errors import UserMistake

FIXTURES = [f"{family}_mnist" for family in families("classification")]
BATCHES = (1, 3, 8)  # traced with 2
TOLERANCE = 2e-5  # the product's limit for float32 (exporter/run/runners.py)
SHAPE_OPS = {"Shape", "Expand", "Range", "Gather", "ConstantOfShape", "Concat", "Squeeze", "Unsqueeze"}


def opened(module: nn.Module, height: int, width: int) -> ExportedGraph:
    return trace(module, Shapes((1, 3, height, width), (1, 3, height, width), (8, 3, height, width)))


@pytest.fixture(scope="module", params=FIXTURES)
def traced(request) -> tuple[nn.Module, ExportedGraph, ExportedGraph]:
    """(module, open batch, fixed batch 1) of a trained fixture."""
    module = create(request.param, weights=TRAINED / f"{request.param}.safetensors")
    height, width = find(request.param).contract.size
    return module, opened(module, height, width), trace(module, Shapes.fixed(1, 3, height, width))


@pytest.mark.parametrize("target", ["cpu", "openvino", "rtx"])
def test_an_open_batch_agrees_with_pytorch_at_every_size(traced, target):
    module, graph, _ = traced
    model = rewrite(graph, target).model
    sides = graph.shapes.opt[2:]
    assert max(distance_to_eager(module, model, (batch, 3, *sides)) for batch in BATCHES) <= TOLERANCE


@pytest.mark.parametrize("target", ["cpu", "rtx"])
def test_an_open_batch_costs_no_nodes(traced, target):
    """The same operators as in the fixed graph, but for what spreads a class token over the batch."""
    _, graph, fixed = traced
    wide, narrow = (Counter(node.op_type for node in rewrite(g, target).model.graph) for g in (graph, fixed))
    assert sum(wide[op] for op in SHAPE_OPS) <= sum(narrow[op] for op in SHAPE_OPS) + 6, wide - narrow
    assert wide.total() <= narrow.total() + 10, wide - narrow


@pytest.mark.parametrize("sides", [(64, 80), (58, 90)], ids=lambda sides: "x".join(map(str, sides)))
def test_davit_keeps_the_pads_of_maps_that_are_no_whole_windows(sides):
    """Maps that are no whole windows: the pads stay, and padded tokens are not masked."""
    module = create("davit_mnist", weights=TRAINED / "davit_mnist.safetensors", image_size=sides)
    graph = opened(module, *sides)
    for target in ("cpu", "rtx"):
        rewritten = rewrite(graph, target).model
        assert any(node.op_type == "Pad" for node in rewritten.graph)
        assert max(distance_to_eager(module, rewritten, (batch, 3, *sides)) for batch in (1, 3)) <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sides"),
    [("smt_tiny", (256, 320)), ("van_b0", (256, 320)), ("davit_tiny", (256, 320)), ("davit_tiny", (250, 330))],
)
def test_full_size_at_another_size(name, sides, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in reference_state(name).items()}, path)
    module = create(name, weights=path, image_size=sides)
    model = rewrite(opened(module, *sides), "cpu").model
    assert max(distance_to_eager(module, model, (batch, 3, *sides)) for batch in (1, 3)) <= TOLERANCE


def test_open_sides_of_a_network_with_windows_are_refused_not_tried():
    module = create("davit_mnist", weights=TRAINED / "davit_mnist.safetensors")
    with pytest.raises(UserMistake) as mistake:
        trace(module, Shapes((1, 3, 32, 32), (1, 3, 64, 64), (1, 3, 96, 96)))
    for part in ("windows", "found", "expected", "because", "try", "once for each image size"):
        assert part in str(mistake.value)
