"""--verify-each for every family and every order: after each pass the graph loads, has names of its own, and is right.

Slow: the six fixtures, each traced once with an open batch and rewritten for six orders, each of some thirty passes run.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch

from edgesmith import export
from edgesmith.exporter.patterns import ALL
from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.run.nouns import ExportedGraph, Shapes
from edgesmith.exporter.trace.trace import trace
from edgesmith.graph.run import open_session
from edgesmith.models import find
from edgesmith.models.fixtures.fixtures import FIXTURES

pytestmark = pytest.mark.slow
NAMES = [spec.name for spec in FIXTURES]
LIMIT = 2e-5


def outputs(model: ir.Model, images: np.ndarray) -> list[np.ndarray]:
    return open_session(model, threads=1).run(None, {"images": images})


@pytest.fixture(scope="module")
def traced() -> dict[str, ExportedGraph]:
    found = {}
    for name in NAMES:
        spec = find(name)
        size = (64, 64) if "scenes" in name else spec.contract.size
        torch.manual_seed(0)
        shapes = Shapes((1, 3, *size), (2, 3, *size), (4, 3, *size))
        names = ("scores", "boxes") if "scenes" in name else ("logits",)
        found[name] = trace(spec.build().eval(), shapes, name=name, outputs=names)
    return found


@pytest.mark.parametrize("order", sorted(ALL))
@pytest.mark.parametrize("name", NAMES)
def test_every_pass_of_every_order_leaves_a_right_graph(name: str, order: str, traced: dict[str, ExportedGraph]):
    graph, ran = traced[name], []
    shape = graph.shapes.opt
    images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    wanted = outputs(graph.model, images)

    def check(model: ir.Model, step: str) -> None:
        ran.append(step)
        nodes = [node.name for node in model.graph]
        assert len(set(nodes)) == len(nodes), f"{step} gives two nodes one name"
        for new, old in zip(outputs(model, images), wanted, strict=True):
            scale = max(1.0, float(np.abs(old).max()))
            assert np.abs(new - old).max() <= LIMIT * scale, step

    done = rewrite(graph, order, verify_each=check).model
    assert len(ran) >= 2
    again = rewrite(ExportedGraph(done, name, graph.shapes), order)
    assert [record.name for record in again.passes if record.count] == [], "an order finds more in its own result"


@pytest.mark.parametrize("target", ["cpu", "openvino"])
def test_the_command_verifies_each_pass_of_the_detector(target: str, tmp_path):
    result = export("damo_yolo_scenes", out=tmp_path / "d.edge", target=target, image_size=128, verify_each=True)
    assert result.bundle is not None
