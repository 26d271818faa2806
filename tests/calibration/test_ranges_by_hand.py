"""Ranges and factors of channels by hand: what a percentile leaves out, what three weights weigh together, factors of mean 1."""

import numpy as np
import onnx_ir as ir
import pytest
from graph_asserts import parse

from edgesmith.calibration.balance.smooth import smooth
from edgesmith.calibration.codes.ranges import choose_range
from edgesmith.calibration.codes.scales import build_table, input_energies
from edgesmith.calibration.nouns import Decision, Recipe
from edgesmith.calibration.sites.sites import find_sites
from edgesmith.calibration.statistics.observers import Observer, Statistics
from edgesmith.graph.read import nodes_by_name

RNG = np.random.default_rng(5)


def stats(values):
    observer = Observer("x", -1)
    observer.add(values.astype(np.float32), len(values))
    return observer.stats()


def test_an_unsigned_percentile_leaves_out_half_of_its_share_at_either_end():
    """1 value in 10,000 in all: 0.005 % below, 0.005 % above, however unlike the two tails are."""
    values = RNG.standard_normal((100, 500, 4)).astype(np.float32)
    values = np.where(values > 0, values**3, values)
    found = choose_range(stats(values), np.ones(4), rules="percentile", symmetric=False, low="fp32")
    step = 2 * float(np.abs(values).max()) / 4096  # of the grid on which values are counted
    low, high = np.quantile(values, [5e-5, 1 - 5e-5]).tolist()
    assert found.low == pytest.approx(low, abs=2 * step + found.scale / 2)
    assert found.high == pytest.approx(high, abs=2 * step + found.scale / 2)
    assert 0.2e-4 < (values > found.high).mean() < 0.8e-4 and (values < found.low).mean() < 0.8e-4


@pytest.mark.parametrize("far", [-1, 1])
def test_a_signed_percentile_looks_at_the_size_of_values(far):
    values = far * np.abs(RNG.standard_normal((100, 500, 2))) ** 2
    found = choose_range(stats(values), np.ones(2), rules="percentile", low="fp32")
    limit = np.quantile(np.abs(values), 1 - 1e-4)
    assert found.high == -found.low == pytest.approx(limit, abs=8 * np.abs(values).max() / 2048)  # bins of 512
    assert found.scale == pytest.approx(found.high / 127)


def test_zeros_count_among_the_values_of_a_percentile():
    values = np.zeros((10, 10_000, 1), np.float32)
    values[:, :5] = np.linspace(1, 2, 50).reshape(10, 5, 1)  # 50 of 100,000: 10 of them may be left out
    found = choose_range(stats(values), np.ones(1), rules="percentile", symmetric=False, low="fp32")
    assert found.low == 0 and found.zero_point == 0
    assert ((values > found.high + found.scale / 2).sum()) in (4, 5, 6), "0.005 % of all"
    assert found.clipped == pytest.approx((values > found.high).mean(), abs=1.5e-5)


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_mse_range_is_the_cheapest_by_trying_the_values_themselves(symmetric):
    values = RNG.standard_normal((20, 500, 4)) * [1, 1, 1, 8] + (0 if symmetric else 0.4)
    weight = np.array([1.0, 0.1, 2.0, 0.002])
    found = choose_range(stats(values), weight, rules="mse", symmetric=symmetric, low="fp32")

    def cost(part):
        if symmetric:
            scale, zero, ends = part * np.abs(values).max() / 127, 0, (-127, 127)
        else:
            scale, ends = part * (values.max() - values.min()) / 255, (0, 255)
            zero = round(-part * values.min() / scale)
        codes = np.clip(np.rint(values / scale) + zero, *ends)
        return (np.square((codes - zero) * scale - values) * weight).sum(), scale

    tried = [cost(part) for part in np.geomspace(0.2, 1, 48)]
    best = min(tried)
    mine = min(tried, key=lambda one: abs(one[1] - found.scale))
    assert mine[1] == pytest.approx(found.scale, rel=1e-4), "it is one of those tried"
    assert mine[0] <= 1.03 * best[0] and best[0] < 0.7 * tried[-1][0]
    assert found.error == pytest.approx(mine[0] / (np.square(values) * weight).sum(), rel=0.1)


def test_minmax_holds_both_ends_and_zero():
    values = np.stack([RNG.uniform(2, 5, 400), RNG.uniform(3, 9, 400)], axis=-1)[None]
    found = choose_range(stats(values), np.ones(2), rules="minmax", symmetric=False, low="fp32")
    assert found.zero_point == 0 and found.high == pytest.approx(values.max(), rel=1e-5)
    found = choose_range(stats(-values), np.ones(2), rules="minmax", symmetric=False, low="fp32")
    assert found.zero_point == 255 and found.low == pytest.approx(-values.max(), rel=1e-5) and found.high == 0
    both = choose_range(stats(np.concatenate([values, -values / 3], axis=1)), np.ones(2), rules="minmax", symmetric=False, low="fp32")  # fmt: skip
    assert both.scale == pytest.approx(values.max() * 4 / 3 / 255, rel=1e-5) and both.zero_point == 64
    assert both.low == pytest.approx(-64 * both.scale) and both.high == pytest.approx(191 * both.scale)


def test_fp8_covers_the_largest_value_with_448():
    values = RNG.standard_normal((2, 100, 2))
    found = choose_range(stats(values), np.ones(2), rules="minmax", precision="fp8", symmetric=False, low="fp32")
    assert found.scale == pytest.approx(np.abs(values).max() / 448, rel=1e-6) and found.zero_point == 0
    assert found.high == -found.low == pytest.approx(np.abs(values).max(), rel=1e-6)


ATTENTION = """<ir_version: 10, opset_import: ["" : 20]>
net (float[1, 50, 4] x) => (float[1, 50, 3] a, float[1, 50, 3] b, float[1, 50, 2] c)
<float[4, 3] q = {{{q}}}, float[4, 3] k = {{{k}}}, float[4, 2] v = {{{v}}}>
{{
  a = MatMul(x, q)
  b = MatMul(x, k)
  c = MatMul(x, v)
}}
"""


def qkv(**arrays):
    text = ATTENTION.format(**{name: ", ".join(map(str, array.ravel())) for name, array in arrays.items()})
    model = parse(text)
    for node, name in zip(model.graph, "qkv", strict=True):
        node.name = name
    return model, find_sites(model, {"x": np.zeros((1, 50, 4), np.float32)})


def test_one_range_serves_the_weights_of_q_k_and_v_together():
    """A channel that is small in q may be large in v: the range is that of the sum, the same for the three."""
    q, k, v = (RNG.integers(-4, 5, size).astype(np.float64) for size in ((4, 3), (4, 3), (4, 2)))
    q[1], k[1], v[1] = 0, 0, 40  # the channel of the outliers is read by v alone
    model, sites = qkv(q=q, k=k, v=v)
    energies = input_energies(nodes_by_name(model), sites)
    assert list(energies) == ["x"]
    np.testing.assert_allclose(energies["x"], sum(np.square(one).sum(axis=1) for one in (q, k, v)))
    values = RNG.standard_normal((4, 400, 4)) * [1, 40, 1, 1]
    statistics = Statistics({"x": stats(values)}, 4, "")
    decisions = {site.node: Decision(True, "") for site in sites}
    table = build_table(model, sites, decisions, statistics, Recipe(low="fp32"))
    assert table.activations["q"] == table.activations["k"] == table.activations["v"]
    alone = choose_range(stats(values), np.square(q).sum(axis=1), low="fp32")
    assert table.activations["v"].scale > 2 * alone.scale


@pytest.mark.parametrize("alpha", [0.5, 0.75, 1.0])
def test_factors_of_smoothing_are_the_formula_divided_by_their_geometric_mean(alpha):
    """s_c = a_c^alpha / w_c^(1 - alpha), a the largest activation and w the largest weight of all three that meet c."""
    q, k, v = (RNG.uniform(0.1, 2, size).round(3) for size in ((4, 3), (4, 3), (4, 2)))
    k[2, 1] = -5.0
    text = ATTENTION.format(**{name: ", ".join(map(str, one.ravel())) for name, one in (("q", q), ("k", k), ("v", v))})
    text = text.replace("x, q", "n, q").replace("x, k", "n, k").replace("x, v", "n, v")
    text = text.replace("<float[4, 3] q", "<float[4] g = {1.0, 2.0, 30.0, 0.25}, float[4, 3] q")
    model = parse(text.replace("  a =", "  n = LayerNormalization <axis = -1> (x, g)\n  a ="))
    for node, name in zip(model.graph, "nqkv", strict=True):
        node.name = name
    sites = find_sites(model, {"x": np.zeros((1, 50, 4), np.float32)})
    values = RNG.standard_normal((1, 50, 4)) * [1, 2, 30, 0.25]
    smoothed, scaled, records = smooth(model, sites, Statistics({"n": stats(values)}, 1, ""), alpha)
    act = np.abs(values).max(axis=(0, 1))
    weight = np.abs(np.concatenate([q, k, v], axis=1)).max(axis=1)
    factors = act**alpha / weight ** (1 - alpha)
    factors /= np.exp(np.log(factors).mean())
    gamma = smoothed.graph.node("n").inputs[1].const_value.numpy()
    np.testing.assert_allclose(gamma, [1, 2, 30, 0.25] / factors, rtol=1e-5)
    for name, array in (("q", q), ("k", k), ("v", v)):
        found = smoothed.graph.node(name).inputs[1].const_value.numpy()
        np.testing.assert_allclose(found, array * factors[:, None], rtol=1e-5)
    np.testing.assert_allclose(scaled.tensors["n"].absmax, act / factors, rtol=1e-5)
    (record,) = records
    assert record["ratio"] == pytest.approx(factors.max() / factors.min(), rel=1e-5)
    assert (record["kind"], record["source"], record["strength"]) == ("smooth", "n", alpha)
    assert record["nodes"] == ["q", "k", "v"] and record["refused"] == []


def test_a_channel_nobody_uses_stays_and_no_factor_leaves_the_range_of_fp16():
    model, _ = qkv(q=np.ones((4, 3)), k=np.ones((4, 3)), v=np.ones((4, 2)))
    text = ATTENTION.format(q=", ".join(["1.0"] * 12), k=", ".join(["1.0"] * 12), v=", ".join(["1.0"] * 8))
    text = text.replace("x, q", "n, q").replace("x, k", "n, k").replace("x, v", "n, v")
    text = text.replace("<float[4, 3] q", "<float[4] g = {1.0, 1.0, 1.0, 1.0}, float[4, 3] q")
    model = parse(text.replace("  a =", "  n = LayerNormalization <axis = -1> (x, g)\n  a ="))
    for node, name in zip(model.graph, "nqkv", strict=True):
        node.name = name
    sites = find_sites(model, {"x": np.zeros((1, 50, 4), np.float32)})
    values = np.ones((1, 50, 4)) * [0, 1, 1e5, 1e-12]
    smoothed, _, _ = smooth(model, sites, Statistics({"n": stats(values)}, 1, ""), 1.0)
    gamma = smoothed.graph.node("n").inputs[1].const_value.numpy()
    logs = np.log2([1, 1e5, 0.1])  # a channel below a millionth of the largest counts as a millionth
    expected = np.clip(logs - logs.mean(), -10, 10)
    np.testing.assert_allclose(1 / gamma, [1, *np.exp2(expected)], rtol=1e-5)
    assert isinstance(smoothed, ir.Model) and gamma[2] == pytest.approx(2.0**-10)


def test_a_norm_that_cannot_be_smoothed_is_told_and_a_layer_that_cannot_be_equalised_is_not():
    from edgesmith.calibration.balance.equalise import equalise

    head = '<ir_version: 10, opset_import: ["" : 20]> net (float[1, 50, 4] x) => (float[1, 50, 3] y)'
    norm = parse(head + " <float[4] g = {1.0, 2.0, 30.0, 0.25}, float[4, 3] w = {" + ", ".join(["0.5"] * 12) + "}>"
                 "{ n = LayerNormalization <axis = -1> (x, g)  c = Gelu(n)  y = MatMul(c, w) }")  # fmt: skip
    linear = parse(head + " <float[4, 4] v = {" + ", ".join(["0.5"] * 16) + "}, float[4, 3] w = {" + ", ".join(["0.5"] * 12) + "}>"
                   "{ n = MatMul(x, v)  c = Gelu(n)  y = MatMul(c, w) }")  # fmt: skip
    for model in (norm, linear):
        for node in model.graph:
            node.name = node.outputs[0].name
        sites = find_sites(model, {"x": np.zeros((1, 50, 4), np.float32)})
        statistics = Statistics({"c": stats(RNG.standard_normal((1, 50, 4)))}, 1, "")
        _, found, smoothed = smooth(model, sites, statistics, 0.75)
        _, same, equalised = equalise(model, sites, statistics)
        assert found.tensors == same.tensors == statistics.tensors and equalised == ()
        if model is norm:
            (record,) = smoothed
            assert (record["source"], record["strength"], record["ratio"], record["nodes"]) == ("n", 0.0, 1.0, [])
            assert record["refused"] == ["Gelu c is not linear"]
        else:
            assert smoothed == ()


def test_a_layer_of_one_channel_has_a_group_as_well():
    from edgesmith.calibration.balance.channels import follow

    model = parse(
        '<ir_version: 10, opset_import: ["" : 20]> net (float[1, 50, 4] x) => (float[1, 50, 3] y)'
        " <float[4, 1] v = {1.0, 2.0, 3.0, 4.0}, float[1, 3] w = {1.0, 2.0, 3.0}> { h = MatMul(x, v)  r = Relu(h)  y = MatMul(r, w) }"
    )
    for node in model.graph:
        node.name = node.outputs[0].name
    group = follow(model, model.graph.node("h"), {"h", "r"})
    assert (
        group.free.tolist() == [True]
        and list(group.sinks()) == ["y"]
        and group.labels["h"].tolist() == group.labels["r"].tolist() == [0]
    )
    group.apply(model, np.array([4.0]))
    assert model.graph.initializers["v"].const_value.numpy().ravel().tolist() == [0.25, 0.5, 0.75, 1.0]
    assert model.graph.initializers["w"].const_value.numpy().ravel().tolist() == [4.0, 8.0, 12.0]
