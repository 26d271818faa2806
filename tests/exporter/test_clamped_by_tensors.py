"""A value that several layers clamp by tensors: torch's simplification leaves such a graph with constants that stand nowhere."""

from __future__ import annotations

import numpy as np
import torch
from graph_asserts import distance_to_eager
from torch import nn

from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.run.nouns import Shapes
from edgesmith.exporter.trace.trace import trace
from edgesmith.graph.read import LISTS, is_op
from edgesmith.graph.run import open_session


class Clamped(nn.Module):
    """What q, k and v of gemma4_vit do with their input."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3, 4, 1) for _ in range(3))
        self.register_buffer("low", torch.tensor(-1.0))
        self.register_buffer("high", torch.tensor(1.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x * 2
        x = torch.cat(x.split([1, 2], dim=1)[::-1], dim=1)  # a list of tensors where nothing is simplified
        return sum(layer(torch.clamp(x, self.low, self.high)) for layer in self.layers).mean((2, 3))  # type: ignore[union-attr,misc]


def test_its_graph_is_whole_and_gives_what_torch_gives():
    torch.manual_seed(0)
    network = Clamped().eval()
    shape = (2, 3, 8, 8)
    exported = trace(network, Shapes(shape, shape, shape), outputs=("logits",))
    images = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    assert all(
        value.dtype is not None for node in exported.model.graph for value in node.outputs if not is_op(node, LISTS)
    )
    (found,) = open_session(exported.model).run(None, {"images": images})
    with torch.no_grad():
        np.testing.assert_allclose(found, network(torch.from_numpy(images)), atol=1e-5)
    rewritten = rewrite(exported, "rtx").model
    assert not {"CastLike", *LISTS}.intersection(node.op_type for node in rewritten.graph)
    assert distance_to_eager(network, rewritten, shape) < 1e-5
