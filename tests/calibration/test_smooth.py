"""Smoothing and the tracing under it: exact through every view, statistics follow, and what is not linear is refused in words."""

import numpy as np
import onnx_ir as ir
import pytest
from graph_asserts import parse, run, weights

from edgesmith.calibration.balance.channels import follow
from edgesmith.calibration.balance.smooth import smooth
from edgesmith.calibration.sites.sites import find_sites
from edgesmith.calibration.statistics.observers import Observer, Statistics

HEAD = """<ir_version: 10, opset_import: ["" : 20]>
net (float[2, 4, 6] x) => (float[{out}] y)
<float[6] gamma = {{0.5, 9.0, 1.0, 1.0, 20.0, 0.1}}, float[6] beta = {{0.0, 3.0, -1.0, 0.0, 1.0, 0.5}}, {constants}>
{{
  n = LayerNormalization <axis = -1> (x, gamma, beta)
{body}
}}
"""

SMOOTHABLE = {
    "straight": ("2, 4, 5", {"w": (6, 5)}, "", "  y = MatMul(n, w)"),
    "two readers": ("2, 4, 5", {"w": (6, 5), "v": (6, 5)}, "", "  a = MatMul(n, w)\n  b = MatMul(n, v)\n  y = Add(a, b)"),
    "a map": ("2, 5, 2, 2", {"w": (5, 6, 1, 1)}, "int64[4] to = {2, 2, 2, 6}",
              "  m = Reshape(n, to)\n  t = Transpose <perm = [0, 3, 1, 2]> (m)\n  y = Conv(t, w)"),
    "padded windows": ("12, 1, 5", {"w": (6, 5)}, "int64[6] pads = {0, 0, 0, 0, 2, 0}, int64[3] to = {12, 1, 6}",
                       "  p = Pad(n, pads)\n  r = Reshape(p, to)\n  y = MatMul(r, w)"),
    "a gemm": ("8, 5", {"w": (5, 6)}, "int64[2] to = {8, 6}", "  r = Reshape(n, to)\n  y = Gemm <transB = 1> (r, w)"),
    "split channels": ("2, 4, 5", {"w": (2, 5), "v": (4, 5)}, "int64[2] parts = {2, 4}",
                       "  a, b = Split <axis = -1> (n, parts)\n  c = MatMul(a, w)\n  d = MatMul(b, v)\n  y = Add(c, d)"),
    "one token": ("2, 5", {"w": (5, 6)}, "int64[1] zero = {0}, int64[1] one = {1}, int64[1] axes = {1}",
                  "  s = Slice(n, zero, one, axes)\n  q = Squeeze(s, axes)\n  y = Gemm <transB = 1> (q, w)"),
    "a mean": ("2, 5", {"w": (6, 5)}, "int64[1] axes = {1}", "  a = ReduceMean <keepdims = 0> (n, axes)\n  y = MatMul(a, w)"),
    "a group": ("2, 4, 2, 2", {"w": (4, 3, 1, 1)}, "int64[4] to = {2, 2, 2, 6}",
                "  m = Reshape(n, to)\n  t = Transpose <perm = [0, 3, 1, 2]> (m)\n  y = Conv <group = 2> (t, w)"),
}  # fmt: skip

REFUSED = {
    "residual": ("2, 4, 6", "  a = MatMul(n, w)\n  y = Add(a, n)", "a residual"),
    "gelu": ("2, 4, 6", "  g = Gelu(n)\n  y = MatMul(g, w)", "is not linear"),
    "output": ("2, 4, 6", "  a = MatMul(n, w)\n  y = Identity(n)", "output of the graph"),
    "other product": ("2, 4, 4", "  t = Transpose <perm = [0, 2, 1]> (n)\n  y = MatMul(n, t)", "with each other"),
    "ones around": ("2, 6, 6", "  p = Pad(n, pads, one)\n  y = MatMul(p, w)", "something else than zeros"),
    "mixed channels": ("2, 4, 6", "  t = Transpose <perm = [0, 2, 1]> (n)\n  r = Reshape(t, to)\n  y = MatMul(r, w)", "mixes them"),
}  # fmt: skip


def model_of(out, body, constants):
    model = parse(HEAD.format(out=out, body=body, constants=constants))
    for index, node in enumerate(model.graph):
        node.name = node.name or f"n{index}"
    return model


def smoothable(name):
    out, shapes, extra, body = SMOOTHABLE[name]
    return model_of(out, body, ", ".join(filter(None, (weights(**shapes), extra))))


def statistics_of(model, sites):
    from edgesmith.graph.run import run_values

    feeds = {"x": np.random.default_rng(0).standard_normal((2, 4, 6)).astype(np.float32)}
    found, tensors = run_values(model, feeds, list({site.input for site in sites})), {}
    for site in sites:
        observer = Observer(site.input, site.in_axis)
        observer.add(found[site.input], 2)
        tensors[site.input] = observer.stats()
    return Statistics(tensors, 2, "")


@pytest.mark.parametrize("name", SMOOTHABLE)
def test_smoothing_is_exact_and_statistics_follow(name):
    model = smoothable(name)
    sites = find_sites(model, {"x": np.zeros((2, 4, 6), np.float32)})
    before, statistics = run(model), statistics_of(model, sites)
    smoothed, scaled, groups = smooth(model, sites, statistics, 0.5)
    assert [sorted(group["nodes"]) for group in groups] == [sorted(site.node for site in sites)]
    assert groups[0]["ratio"] > 2, "the spread of gamma was not moved"
    for old, new in zip(before, run(smoothed), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-5)
    fresh = statistics_of(smoothed, sites)
    for key, found in scaled.tensors.items():
        np.testing.assert_allclose(found.low, fresh.tensors[key].low, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.high, fresh.tensors[key].high, rtol=1e-4, atol=1e-6)
        old = statistics.tensors[key].absmax
        assert found.absmax.max() / found.absmax.min() < 0.5 * old.max() / old.min()
    for old, new in zip(before, run(model), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_linear_is_refused_in_words(name):
    out, body, why = REFUSED[name]
    extra = "int64[6] pads = {0, 1, 0, 0, 1, 0}, float one = {1.0}, int64[3] to = {2, 4, 6}"
    model = model_of(out, body, weights(w=(6, 6)) + ", " + extra)
    if name == "output":
        model.graph.outputs[0] = model.graph.node("n0").outputs[0]
    group = follow(model, model.graph.node("n0"), set())
    assert not group.free.any() and not group.edits
    assert any(why in text for text in group.refused), group.refused


def test_a_weight_that_two_layers_share_is_copied_for_the_one_that_changes():
    body = "  a = MatMul(n, w)\n  b = MatMul(x, w)\n  y = Add(a, b)"
    model = model_of("2, 4, 5", body, weights(w=(6, 5)))
    sites = [site for site in find_sites(model, {"x": np.zeros((2, 4, 6), np.float32)}) if site.input == "n"]
    smoothed, _, groups = smooth(model, sites, statistics_of(model, sites), 0.5)
    assert groups and smoothed.graph.node("n1").inputs[1].name != smoothed.graph.node("n2").inputs[1].name
    np.testing.assert_allclose(run(smoothed)[0], run(model)[0], rtol=1e-5, atol=1e-5)


def test_strength_zero_changes_nothing():
    model = smoothable("straight")
    sites = find_sites(model, {"x": np.zeros((2, 4, 6), np.float32)})
    statistics = statistics_of(model, sites)
    same, found, groups = smooth(model, sites, statistics, 0)
    assert groups == () and found is statistics
    assert ir.to_proto(same).SerializeToString() == ir.to_proto(model).SerializeToString()


def test_a_dead_channel_keeps_every_number_finite():
    model = smoothable("straight")
    for name in ("gamma", "beta"):
        value = model.graph.initializers[name]
        array = value.const_value.numpy().copy()
        array[2] = 0
        value.const_value = ir.tensor(array, name=name)
    sites = find_sites(model, {"x": np.zeros((2, 4, 6), np.float32)})
    smoothed, _, _ = smooth(model, sites, statistics_of(model, sites), 0.75)
    np.testing.assert_allclose(run(smoothed)[0], run(model)[0], rtol=1e-5, atol=1e-5)
    assert all(np.isfinite(value.const_value.numpy()).all() for value in smoothed.graph.initializers.values())
