"""Equalisation: exact wherever only scaling operators lie between two layers, through attention and gates too; GELU stops it."""

import numpy as np
import pytest
from graph_asserts import parse, run, weights

from edgesmith.calibration.balance.channels import follow
from edgesmith.calibration.balance.equalise import equalise
from edgesmith.calibration.sites.sites import find_sites
from edgesmith.calibration.statistics.observers import Observer, Statistics
from edgesmith.graph.run import run_values

HEAD = """<ir_version: 10, opset_import: ["" : 20]>
net (float[{x}] x) => (float[{y}] y)
<{constants}>
{{
{body}
}}
"""
CONV = {"x": "2, 3, 5, 5", "y": "2, 4, 5, 5"}
PAIRS = {  # name: shapes, weights, nodes, source, sink
    "fc1 relu fc2": ({"x": "2, 4, 6", "y": "2, 4, 6"}, {"a": (6, 8), "b": (8,), "c": (8, 6)},
                     "  h = MatMul(x, a)\n  i = Add(h, b)\n  j = Relu(i)\n  y = MatMul(j, c)", 0, 3),
    "leaky conv": (CONV, {"a": (6, 3, 1, 1), "b": (6,), "c": (4, 6, 1, 1)},
                   "  h = Conv(x, a, b)\n  i = LeakyRelu <alpha = 0.1> (h)\n  y = Conv(i, c)", 0, 2),
    "into depthwise": (CONV, {"a": (4, 3, 1, 1), "c": (4, 1, 3, 3)},
                       "  h = Conv(x, a)\n  y = Conv <group = 4, pads = [1, 1, 1, 1]> (h, c)", 0, 1),
    "out of depthwise": (CONV, {"a": (3, 1, 3, 3), "c": (4, 3, 1, 1)},
                         "  h = Conv <group = 3, pads = [1, 1, 1, 1]> (x, a)\n  y = Conv(h, c)", 0, 1),
    "grouped": (CONV, {"a": (6, 3, 1, 1), "c": (4, 3, 1, 1)}, "  h = Conv(x, a)\n  y = Conv <group = 2> (h, c)", 0, 1),
    "a gate": (CONV, {"g": (6, 3, 1, 1), "a": (6, 3, 1, 1), "c": (4, 6, 1, 1)},
               "  s = Conv(x, g)\n  t = Sigmoid(s)\n  h = Conv(x, a)\n  i = Mul(t, h)\n  y = Conv(i, c)", 2, 4),
    "gemm": ({"x": "4, 6", "y": "4, 5"}, {"a": (8, 6), "b": (8,), "c": (8, 5)},
             "  h = Gemm <transB = 1> (x, a, b)\n  i = Relu(h)\n  y = Gemm(i, c)", 0, 2),
    "two ways": (CONV, {"a": (6, 3, 1, 1), "c": (4, 6, 1, 1)}, "  h = Conv(x, a)\n  r = Relu(h)\n  s = Add(h, r)\n  y = Conv(s, c)", 0, 3),
}  # fmt: skip
ATTENTION = """
  q, k, v = Split <axis = -1, num_outputs = 3> (p)
  t = Transpose <perm = [0, 2, 1]> (k)
  m = MatMul(q, t)
  s = Softmax(m)
  o = MatMul(s, v)
  y = MatMul(o, c)"""


def model_of(shapes, constants, body):
    model = parse(HEAD.format(body=body, constants=weights(**constants), **shapes))
    for index, node in enumerate(model.graph):
        node.name = f"n{index}"
    return model


def calibrated(model):
    value = model.graph.inputs[0]
    feeds = {"x": np.random.default_rng(0).standard_normal(tuple(value.shape.numpy())).astype(np.float32)}
    sites = [site for site in find_sites(model, feeds) if site.input != "x"]
    found, tensors = run_values(model, feeds, [site.input for site in sites]), {}
    for site in sites:
        observer = Observer(site.input, site.in_axis)
        observer.add(found[site.input], 1)
        tensors[site.input] = observer.stats()
    return sites, Statistics(tensors, 1, "")


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_are_equalised_exactly(name):
    shapes, constants, body, source, sink = PAIRS[name]
    model = model_of(shapes, constants, body)
    wide = model.graph.node(f"n{source}").inputs[1]
    axis = 1 if model.graph.node(f"n{source}").op_type == "MatMul" else 0
    scale = np.geomspace(0.1, 10, wide.shape[axis]).astype(np.float32)
    scale = scale.reshape([-1 if at == axis else 1 for at in range(len(wide.shape))])
    import onnx_ir as ir

    wide.const_value = ir.tensor(wide.const_value.numpy() * scale, name=wide.name)  # channels a hundred times apart
    sites, statistics = calibrated(model)
    before = run(model)
    equal, scaled, groups = equalise(model, sites, statistics)
    assert [(group["source"], group["nodes"]) for group in groups] == [(f"n{source}", [f"n{sink}"])]
    for old, new in zip(before, run(equal), strict=True):
        np.testing.assert_allclose(new, old, rtol=2e-5, atol=2e-5)
    _, fresh = calibrated(equal)
    for key, found in scaled.tensors.items():
        np.testing.assert_allclose(found.high, fresh.tensors[key].high, rtol=1e-4, atol=1e-6)
        old = statistics.tensors[key].absmax
        assert found.absmax.max() / found.absmax.min() < 0.6 * old.max() / old.min()


def test_only_the_values_of_an_attention_are_scaled():
    body = "  p = MatMul(x, w)" + ATTENTION
    model = model_of({"x": "2, 4, 6", "y": "2, 4, 5"}, {"w": (6, 24), "c": (8, 5)}, body)
    sites, statistics = calibrated(model)
    group = follow(model, model.graph.node("n0"), set())
    assert group.free.tolist() == [False] * 16 + [True] * 8
    assert len(group.refused) == 1 and "with each other" in group.refused[0]
    equal, _, groups = equalise(model, sites, statistics)
    assert groups[0]["nodes"] == ["n6"]
    for old, new in zip(run(model), run(equal), strict=True):
        np.testing.assert_allclose(new, old, rtol=2e-5, atol=2e-5)
    old, new = (one.graph.node("n0").inputs[1].const_value.numpy() for one in (model, equal))
    np.testing.assert_array_equal(old[:, :16], new[:, :16])
    assert not np.allclose(old[:, 16:], new[:, 16:])


@pytest.mark.parametrize("curve", ["Gelu", "Sigmoid", "Softmax", "HardSwish", "Tanh"])
def test_a_curve_between_stops_it(curve):
    model = model_of(
        {"x": "2, 4, 6", "y": "2, 4, 6"},
        {"a": (6, 8), "c": (8, 6)},
        f"  h = MatMul(x, a)\n  i = {curve}(h)\n  y = MatMul(i, c)",
    )
    sites, statistics = calibrated(model)
    equal, same, groups = equalise(model, sites, statistics)
    assert groups == () and same.tensors == statistics.tensors
    assert f"{curve} n1 is not linear" in follow(model, model.graph.node("n0"), set()).refused
    np.testing.assert_array_equal(run(equal)[0], run(model)[0])


def test_the_values_of_attention_in_one_node_are_scaled():
    """com.microsoft.MultiHeadAttention: of q, k and v only the channels of v pass, and only without a bias inside."""
    body = "  q = MatMul(x, a)\n  k = MatMul(x, b)\n  v = MatMul(x, d)\n  o = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k, v{bias})\n  y = MatMul(o, c)"
    for bias, free in (("", True), (", e", False)):
        constants = {"a": (6, 8), "b": (6, 8), "d": (6, 8), "c": (8, 5), "e": (24,)}
        text = HEAD.format(x="2, 4, 6", y="2, 4, 5", constants=weights(**constants), body=body.format(bias=bias))
        import onnx

        proto = onnx.parser.parse_model(text.replace('["" : 20]', '["" : 20, "com.microsoft" : 1]'))
        proto = onnx.shape_inference.infer_shapes(proto)
        import onnx_ir as ir

        model = ir.from_proto(proto)
        for index, node in enumerate(model.graph):
            node.name = f"n{index}"
        before = run(model)[0]
        for source in ("n0", "n1"):
            group = follow(model, model.graph.node(source), set())
            assert not group.free.any() and "is a softmax of them" in group.refused[0]
        group = follow(model, model.graph.node("n2"), {"o"})
        assert group.free.all() == free and (list(group.sinks()) == ["n4"]) == free
        if free:
            assert group.labels["o"].tolist() == list(range(8))
            group.apply(model, np.geomspace(0.25, 8, 8))
            np.testing.assert_allclose(run(model)[0], before, rtol=1e-5, atol=1e-5)


def test_a_norm_whose_shift_is_computed_cannot_be_scaled():
    body = "  t = Identity(z)\n  n = LayerNormalization <axis = -1> (x, g, t)\n  y = MatMul(n, c)"
    text = HEAD.format(x="2, 4, 6", y="2, 4, 5", constants=weights(g=(6,), c=(6, 5)), body=body)
    model = parse(text.replace("float[2, 4, 6] x)", "float[2, 4, 6] x, float[6] z)"))
    for index, node in enumerate(model.graph):
        node.name = f"n{index}"
    group = follow(model, model.graph.node("n1"), set())
    assert group.size == 0 and not group.edits and not group.sinks()
