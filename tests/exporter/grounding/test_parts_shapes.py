"""What the traced graphs hold: no tensor of all tokens by all tokens, and initialisers under the checkpoint's names."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from grounding_eager import BEFORE, config, model
from grounding_graphs import with_passes

from edgesmith.exporter.grounding.parts import trace
from edgesmith.exporter.grounding.parts.attention import IN_CACHE, chunks
from edgesmith.exporter.grounding.parts.sizes import Sizes
from edgesmith.exporter.grounding.parts.stored import Storage
from edgesmith.exporter.grounding.parts.weighting import Weighting
from edgesmith.exporter.trace.token_axes import largest_pair
from edgesmith.graph.read import node_types

GRID = (20, 41)  # 820 visual tokens, 833 with the text: more than one chunk of 512
CHANNELS = {1, 2, 3, 4, 8, 14, 16, 32, 48, 64, 96, 128, 320}  # of the tiny configuration
PREFIX = len(BEFORE) + GRID[0] * GRID[1]


@pytest.mark.slow
def test_the_vision_graph_has_no_tensor_of_all_patches_by_all_patches():
    part = trace.trace_vision(Sizes.of(config()), GRID)
    patches = 4 * GRID[0] * GRID[1]
    pair = largest_pair(part.model, CHANNELS, {"batch": 1})
    assert pair.product == 512 * patches < patches**2


@pytest.mark.slow
def test_the_vision_graph_of_onnx_runtime_leaves_all_scores_to_its_node():
    part = with_passes(trace.trace_vision(Sizes.of(config()), GRID, cuts=IN_CACHE))
    patches = 4 * GRID[0] * GRID[1]
    kinds = node_types(part.model)
    assert "Softmax" not in kinds and kinds["com.microsoft.RotaryEmbedding"] == 2 * Sizes.of(config()).vision.depth
    assert largest_pair(part.model, CHANNELS, {"batch": 1}).product < 512 * patches


@pytest.mark.slow
def test_the_prefix_graph_has_no_tensor_of_all_tokens_by_all_tokens():
    part = trace.trace_prefix(Sizes.of(config()), BEFORE, GRID, Storage())
    pair = largest_pair(part.model, CHANNELS, {"batch": 1})
    assert pair.product == 512 * PREFIX < PREFIX**2
    assert set(part.weights) <= set(part.model.graph.initializers)
    known = {name for name, _ in model().named_parameters()}
    assert {weight.source for weight in part.weights.values()} <= known
    assert all(part.model.graph.initializers[name].const_value is None for name in part.weights)


@pytest.mark.slow
def test_the_instruction_graph_grows_with_its_rows_times_the_prefix():
    part = trace.trace_instruction(Sizes.of(config()), len(BEFORE), Storage(), Weighting())
    pair = largest_pair(part.model, CHANNELS, {"batch": 1, "prefix": PREFIX, "visual": GRID[0] * GRID[1], "tokens": 31})
    assert pair.product == 2 * 31 * (PREFIX + 31)  # two query heads share a kv head


def test_a_tensor_of_all_tokens_by_all_tokens_is_found():
    x = ir.Value(name="x", shape=ir.Shape(["batch", 4, 100, 16]), type=ir.TensorType(ir.DataType.FLOAT))
    turned = ir.node("Transpose", [x], {"perm": [0, 1, 3, 2]})
    turned.outputs[0].name, turned.outputs[0].shape = "turned", ir.Shape(["batch", 4, 16, 100])
    scores = ir.node("MatMul", [x, turned.outputs[0]])
    scores.outputs[0].name, scores.outputs[0].shape = "scores", ir.Shape(["batch", 4, 100, 100])
    graph = ir.Graph([x], [scores.outputs[0]], nodes=[turned, scores], opset_imports={"": 20})
    pair = largest_pair(ir.Model(graph, ir_version=10), {4, 16}, {"batch": 1})
    assert (pair.product, pair.value, pair.shape) == (100 * 100, "scores", (1, 4, 100, 100))
    scores.outputs[0].shape = None
    with pytest.raises(ValueError, match="scores: no shape"):
        largest_pair(ir.Model(graph, ir_version=10), {4, 16}, {"batch": 1})


def test_chunks_cover_every_row_once():
    assert list(chunks(833, 512)) == [(0, 512), (512, 833)]
    assert list(chunks(512, 512)) == [(0, 512)]
