"""Small graphs and tables of which every figure is known: sites, chains, labels of channels, forms, words of a report."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graph_asserts import parse, run, weights

from edgesmith.calibration.balance.channels import follow
from edgesmith.calibration.codes.ranges import choose_range
from edgesmith.calibration.forms.compact import compact
from edgesmith.calibration.forms.u8 import insert_u8
from edgesmith.calibration.nouns import Range, Recipe, ScaleTable, Site, WeightScales
from edgesmith.calibration.precisions import PRECISIONS
from edgesmith.calibration.quantise import blank
from edgesmith.calibration.report.report import quantile, reasons
from edgesmith.calibration.sites.observed import chain_nodes
from edgesmith.calibration.sites.sites import find_sites
from edgesmith.calibration.statistics.fingerprint import graph_sha256
from edgesmith.calibration.statistics.observers import Observer

HEAD = '<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]>'


def named(text: str) -> ir.Model:
    """Nodes are called after what they make."""
    model = parse(HEAD + text)
    for node in model.graph:
        node.name = node.outputs[0].name
    return model


def stats(values):
    observer = Observer("x", -1)
    observer.add(np.asarray(values, np.float32), len(values))
    return observer.stats()


@pytest.mark.parametrize("name", ["fp32", "fp16", "bf16"])
def test_the_table_of_precisions_says_of_floats_what_the_types_are(name):
    row = PRECISIONS[name]
    kind = ml_dtypes.finfo({"fp32": np.float32, "fp16": np.float16, "bf16": ml_dtypes.bfloat16}[name])
    assert row.bits == kind.bits and row.smallest == float(kind.smallest_normal) and not row.quantised
    assert row.largest == (float("inf") if name == "fp32" else pytest.approx(float(kind.max), rel=1e-4))
    assert row.dtype == kind.dtype.name and getattr(ir.DataType, row.onnx).numpy() == kind.dtype


@pytest.mark.parametrize(
    ("name", "bits", "block", "opset", "chip", "only"),
    [("int8", 8, 0, 0, 72, False), ("fp8", 8, 0, 0, 89, False), ("int4", 4, 0, 21, 80, True), ("nvfp4", 4, 16, 23, 100, True)],
)  # fmt: skip
def test_the_table_of_precisions_says_of_codes_what_engines_read(name, bits, block, opset, chip, only):
    row = PRECISIONS[name]
    assert (row.bits, row.block, row.least_opset, row.first_chip, row.weights_only) == (bits, block, opset, chip, only)
    assert row.quantised and row.jump == (0.4 if bits == 4 else 0.3) and PRECISIONS["bf16"].best_opset == 22


ATTENTION_MACS = {  # node -> multiplications by hand for one picture: scores, then the mix
    "y = com.microsoft.MultiHeadAttention <num_heads = 2> (x, k, v)": 6 * 5 * 8 + 6 * 5 * 4,
    "y = com.microsoft.MultiHeadAttention <num_heads = 2> (x, heads, v)": 6 * 5 * 8 + 6 * 5 * 4,
}


@pytest.mark.parametrize("line", ATTENTION_MACS)
def test_attention_in_one_node_counts_scores_and_mix(line):
    """Query (B, 6, 8), key (B, 5, 8) or (B, 2 heads, 5, 4), value (B, 5, 4): the linear behind has 6 x 4 x 3."""
    model = ir.from_onnx_text(
        HEAD
        + "net (float[2, 6, 8] x, float[2, 5, 8] k, float[2, 2, 5, 4] heads, float[2, 5, 4] v) => (float[2, 6, 3] z) "
        f"<{weights(w=(4, 3))}> {{ {line}  z = MatMul(y, w) }}"
    )
    for node in model.graph:
        node.name = node.outputs[0].name
    from edgesmith.calibration.sites import sites as module

    shapes = {value: tuple(int(size) for size in value.shape) for value in model.graph.inputs}
    attention = next(iter(model.graph))
    shapes[attention.outputs[0]] = (2, 6, 4)
    assert module._macs(attention, shapes) == 2 * ATTENTION_MACS[line]


def test_attention_with_its_projection_in_one_node_counts_the_three():
    """x (2, 6, 8), weight (8, q 10 + k 10 + v 4): 6 x 8 x 24 to project, 6 x 6 x 10 for scores, 6 x 6 x 4 to mix."""
    model = ir.from_onnx_text(
        HEAD + "net (float[2, 6, 8] x, float[8, 24] w, float[24] b) => (float[2, 6, 4] y)"
        "{ y = com.microsoft.Attention <num_heads = 2, qkv_hidden_sizes = [10, 10, 4]> (x, w, b) }"
    )
    from edgesmith.calibration.sites import sites as module

    shapes = {value: tuple(int(size) for size in value.shape) for value in model.graph.inputs}
    attention = next(iter(model.graph))
    shapes[attention.outputs[0]] = (2, 6, 4)
    assert module._macs(attention, shapes) == 2 * (6 * 8 * 24 + 6 * 6 * 10 + 6 * 6 * 4)


@pytest.mark.parametrize(("how", "shape"), [("transB = 0", (3, 6)), ("transA = 1", (6, 3))])
def test_a_gemm_counts_what_it_sums_over(how, shape):
    """3 rows, 6 channels in, 5 out: 90, whichever way the input lies."""
    from edgesmith.calibration.sites import sites as module

    model = named(
        f"net (float[{shape[0]}, {shape[1]}] x) => (float[3, 5] y) <{weights(w=(6, 5))}> {{ y = Gemm <{how}> (x, w) }}"
    )
    gemm = model.graph.node("y")
    shapes = {gemm.inputs[0]: shape, gemm.inputs[1]: (6, 5), gemm.outputs[0]: (3, 5)}
    assert module._macs(gemm, shapes) == 90


def test_kinds_of_convolutions_of_one_and_two_axes():
    model = named(
        f"net (float[1, 4, 9] x) => (float[1, 4, 9] y) <{weights(a=(4, 4, 1), b=(4, 4, 3), c=(4, 1, 3), d=(4, 2, 3), e=(4, 4, 1))}>"
        "{ p = Conv(x, a)  q = Conv <pads = [1, 1]> (p, b)  r = Conv <group = 4, pads = [1, 1]> (q, c)"
        "  s = Conv <group = 2, pads = [1, 1]> (r, d)  y = Conv(s, e) }"
    )
    sites = {site.node: site for site in find_sites(model, {"x": np.zeros((1, 4, 9), np.float32)})}
    assert {name: site.kind for name, site in sites.items()} == {
        "p": "stem", "q": "conv", "r": "depthwise", "s": "conv", "y": "head"
    }  # fmt: skip
    assert {name: site.macs for name, site in sites.items()} == {
        "p": 9 * 16, "q": 9 * 48, "r": 9 * 12, "s": 9 * 24, "y": 9 * 16
    }  # fmt: skip
    assert sites["q"].share == pytest.approx(48 / 116) and sites["s"].groups == 2 and sites["s"].producer == "Conv"


def test_a_gemm_that_scales_or_turns_its_input_is_no_site():
    text = "net (float[4, 6] x, float[6, 4] t) => (float[4, 5] y) <{w}> {{ y = Gemm <{how}> ({which}, w) }}"
    for how, which, sites in (("transB = 0", "x", 1), ("alpha = 0.5", "x", 0), ("transA = 1", "t", 0)):
        model = named(text.format(w=weights(w=(6, 5)), how=how, which=which))
        feeds = {"x": np.zeros((4, 6), np.float32), "t": np.zeros((6, 4), np.float32)}
        assert len(find_sites(model, feeds)) == sites, how


def test_a_sum_with_a_constant_stops_a_chain_of_codes():
    model = named(
        f"net (float[1, 4, 6, 6] x) => (float[1, 4, 6, 6] y) <{weights(a=(4, 4, 1, 1), c=(1, 4, 1, 1), b=(4, 4, 1, 1))}>"
        "{ p = Conv(x, a)  q = Add(p, c)  r = Add(p, p)  s = Concat <axis = 1> (r, r)  t = Relu(q)  u = Conv(r, b)  y = Add(t, u) }"
    )
    assert {str(node.name) for node in chain_nodes(model, {"p", "u"})} == {"p", "r", "s", "u"}


def test_a_gate_made_of_the_channels_themselves_stops_their_scaling():
    model = named(
        f"net (float[2, 4, 6] x) => (float[2, 4, 5] y) <{weights(a=(6, 8), b=(8, 5))}>"
        "{ h = MatMul(x, a)  r = Relu(h)  m = Mul(h, r)  y = MatMul(m, b) }"
    )
    group = follow(model, model.graph.node("h"), set())
    assert not group.free.any() and group.refused == ("Mul m squares them",)


@pytest.mark.parametrize("body", [
    "g = GlobalAveragePool(c)  f = Flatten(g)  y = Gemm(f, b)",
    "g = GlobalAveragePool(c)  p = Conv(g, d)  f = Flatten(p)  y = Identity(f)",
    "m = ReduceMean <keepdims = 1> (c, axes)  f = Reshape(m, flat)  y = Gemm(f, b)",
], ids=["global pool", "global pool into a convolution", "mean"])  # fmt: skip
def test_factors_pass_a_mean_over_the_picture(body):
    model = named(
        f"net (float[2, 3, 6, 6] x) => (float[2, 5] y) <{weights(a=(4, 3, 3, 3), b=(4, 5), d=(5, 4, 1, 1))},"
        f" int64[2] axes = {{2, 3}}, int64[2] flat = {{2, 4}}> {{ c = Conv <pads = [1, 1, 1, 1]> (x, a)  {body} }}"
    )
    before, kernel = run(model)[0], model.graph.node("c").inputs[1].const_value.numpy().copy()
    group = follow(model, model.graph.node("c"), set())
    assert group.free.all() and len(group.sinks()) == 1 and not group.refused
    group.apply(model, np.array([4.0, 0.5, 2.0, 0.25]))
    np.testing.assert_allclose(run(model)[0], before, rtol=1e-5, atol=1e-6)
    after = model.graph.node("c").inputs[1].const_value.numpy()
    np.testing.assert_allclose(after * np.array([4.0, 0.5, 2.0, 0.25])[:, None, None, None], kernel, rtol=1e-6)


@pytest.mark.parametrize("body", [
    "m = Mul(h, k)  y = MatMul(m, b)",
    "m = Div(h, k)  y = MatMul(m, b)",
    "m = Sub(h, k)  y = MatMul(m, b)",
    "m = Sub(k, h)  y = MatMul(m, b)",
    "s = Slice(h, one, most, last, two)  t = Slice(h, zero, seven, last, two)  m = Concat <axis = -1> (s, t)  y = MatMul(m, b)",
    "m = Gather <axis = 2> (h, order)  y = MatMul(m, b)",
    "u = Unsqueeze(h, one)  e = Expand(u, wide)  g = ReduceMean <keepdims = 0> (e, one)  y = MatMul(g, b)",
    "s = Transpose <perm = [2, 0, 1]> (h)  m = Transpose <perm = [1, 2, 0]> (s)  y = MatMul(m, b)",
    "f = Flatten <axis = 2> (h)  g = Gemm(f, b)  y = Reshape(g, back)",
    "p = Pad(h, pads)  s = Slice(p, one, most, one)  m = MatMul(s, b)  y = Identity(m)",
], ids=["times", "by", "minus", "from", "every second", "gathered", "expanded", "turned", "flat", "padded"])  # fmt: skip
def test_views_and_constants_carry_the_factors_of_their_channels(body):
    """Each channel has a factor of its own, so any label at the wrong place changes the numbers."""
    model = named(
        f"net (float[2, 4, 6] x) => (float[2, out, 5] y) <{weights(a=(6, 8), b=(8, 5), k=(8,))}, int64[1] zero = {{0}},"
        " int64[1] one = {1}, int64[1] two = {2}, int64[1] seven = {7}, int64[1] most = {9223372036854775807}, int64[1] last = {2},"
        " int64[8] order = {3, 1, 2, 0, 7, 6, 5, 4}, int64[4] wide = {2, 3, 4, 8}, int64[3] back = {2, 4, 5},"
        f" int64[6] pads = {{0, 2, 0, 0, 1, 0}}> {{ h = MatMul(x, a)  {body} }}"
    )
    before = run(model)[0]
    group = follow(model, model.graph.node("h"), set())
    assert group.free.all() and group.sinks() and not group.refused, group.refused
    group.apply(model, np.geomspace(0.125, 16, 8))
    np.testing.assert_allclose(run(model)[0], before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("body", "why"), [
    ("m = Div(k, h)  y = MatMul(m, b)", "divides by them"),
    ("p = Pad(h, cut)  y = MatMul(p, b)", "something else than zeros"),
    ("p = Pad <mode = \"edge\"> (h, pads)  y = MatMul(p, b)", "something else than zeros"),
    ("p = Pad(h, pads)  m = Add(p, k)  y = MatMul(m, b)", "adds a constant to padding"),
    ("m = ReduceMean <keepdims = 1> (h, last)  y = MatMul(m, c)", "mixes them"),
    ("m = Gather <axis = 2> (h, order)  s = Add(m, h)  y = MatMul(s, b)", "adds other channels"),
    ("t = Transpose <perm = [0, 2, 1]> (h)  y = MatMul(t, d)", "mixes them"),
    ("m = Reshape(h, computed)  y = MatMul(m, b)", "could not be followed"),
], ids=lambda text: text if " " not in text else None)  # fmt: skip
def test_what_would_change_a_number_is_refused_with_its_reason(body, why):
    model = named(
        f"net (float[2, 4, 6] x, int64[3] computed) => (float[p, q, r] y) <{weights(a=(6, 8), b=(8, 5), c=(1, 5), d=(4, 5), k=(8,))},"
        " int64[1] last = {2}, int64[8] order = {3, 2, 1, 0, 7, 6, 5, 4}, int64[6] pads = {0, 2, 0, 0, 1, 0},"
        f" int64[6] cut = {{0, -1, 0, 0, 0, 0}}> {{ h = MatMul(x, a)  {body} }}"
    )
    group = follow(model, model.graph.node("h"), set())
    assert not group.free.any() and not group.edits and why in group.refused[0], group.refused


def test_a_layer_read_inside_a_branch_keeps_its_channels():
    model = named(
        f"net (float[2, 4, 6] x, bool c) => (float[2, 4, 5] y, float[2, 4, 8] z) <{weights(a=(6, 8), b=(8, 5))}>"
        "{ h = MatMul(x, a)  y = MatMul(h, b)  z = If (c) <then_branch = t () => (float[2, 4, 8] u) { u = Abs(h) },"
        " else_branch = e () => (float[2, 4, 8] v) { v = Neg(h) }> }"
    )
    group = follow(model, model.graph.node("h"), set())
    assert not group.free.any() and "inside a branch" in group.refused[0]


def test_a_bias_in_chains_is_rounded_to_the_nearest_step_of_the_sums():
    model = named(
        f"net (float[1, 2, 4, 4] x) => (float[1, 3, 4, 4] z) <{weights(w=(3, 2, 1, 1))}, float[3] b = {{0.26, -0.24, 1e9}}>"
        "{ y = Conv(x, w, b)  z = Tanh(y) }"
    )
    (site,) = find_sites(model, {"x": np.zeros((1, 2, 4, 4), np.float32)})
    codes = WeightScales(np.ones((3, 2, 1, 1), np.int8), np.array([1, 0.5, 0.25], np.float32), 0)
    ranges = {"x": Range(-0.1, 25.4, 0.1, 1, ""), "y": Range(-1, 1, 0.01, 100, "")}
    found = insert_u8(model, [site], ScaleTable({}, {"y": codes}, ranges), Recipe(form="u8"))
    real = found.graph.node("y").inputs[2].producer()
    whole, scale = (value.const_value.numpy() for value in real.inputs)
    # half a step off at most; a bias past 32 bits has a coarser step, which leaves half of them to the sums
    np.testing.assert_allclose(scale, [0.1, 0.05, 1e9 / 2**30], rtol=2e-6)
    assert whole[:2].tolist() == [3, -5] and whole[2] == pytest.approx(2**30, rel=2e-6)
    points = {node.name: node.inputs[2].const_value.numpy() for node in found.graph if node.op_type == "QuantizeLinear"}
    assert {name: (int(one), one.dtype) for name, one in points.items()} == {
        "x_Q": (1, np.uint8), "y_Q": (100, np.uint8)
    }  # fmt: skip


@pytest.mark.parametrize(("size", "value", "smaller"), [
    (4096, 1.0, True), (4095, 1.0, False), (4096, 65504.0, True), (4096, 65536.0, False), (4096, np.inf, False),
])  # fmt: skip
def test_from_which_size_and_to_which_value_a_constant_becomes_float16(size, value, smaller):
    array = np.full(size, 0.5, np.float32)
    array[7] = value
    proto = onnx.parser.parse_model(HEAD + f"net (float[{size}] x) => (float[{size}] y) {{ y = Add(x, k) }}")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(array, "k"))
    model = ir.from_proto(proto)
    assert compact(model) == int(smaller)
    kinds = {value.dtype for value in model.graph.initializers.values()}
    assert kinds == ({ir.DataType.FLOAT16} if smaller else {ir.DataType.FLOAT})


def test_the_range_of_least_divergence_is_found_by_trying_them_all():
    """Kullback-Leibler by the definition: 128 levels, every 16 bins, what lies beyond in the last bin."""
    values = np.random.default_rng(2).standard_normal((20, 400, 2)) ** 3
    found = choose_range(stats(values), np.ones(2), rules="entropy", low="fp32")
    radius = np.abs(values.astype(np.float32)).max()
    size, middle = np.zeros(2048), (np.arange(2048) + 0.5) * radius / 2048
    table = stats(values)
    at = np.clip(np.abs(table.centres()) / radius * 2048, 0, 2047).astype(int)
    counts = table.counts.astype(float)
    counts[:, 256] -= table.zeros
    np.add.at(size, at.ravel(), counts.ravel())
    tried = {}
    for stop in range(128, 2049, 16):
        p, q = size[:stop].copy(), np.zeros(stop)
        p[-1] += size[stop:].sum()
        for inside in np.split(np.arange(stop), [-(-level * stop // 128) for level in range(1, 128)]):
            full = inside[size[inside] > 0]
            q[full] = size[full].sum() / max(len(full), 1)
        p, q = p / p.sum(), q / q.sum()
        tried[stop] = (p[p > 0] * np.log(p[p > 0] / np.maximum(q[p > 0], 1e-9))).sum()
    limit = middle[min(tried, key=lambda stop: tried[stop]) - 1]
    assert found.high == -found.low == pytest.approx(limit, rel=1e-5)
    assert limit < 0.9 * radius and found.scale == pytest.approx(limit / 127, rel=1e-5)


def test_reasons_name_the_outlier_the_empty_side_and_the_tail():
    rng = np.random.default_rng(0)
    site = Site("n", "MatMul", "x", "w", (4, 4), -1, 0, 1)
    calm = rng.uniform(-1, 1, (4, 500, 4))
    assert reasons(site, stats(calm)) == [] and reasons(site, None) == []
    assert reasons(replace(site, kind="depthwise"), stats(0 * calm)) == ["depthwise: few values for each scale"]
    assert reasons(site, stats(calm * [1, 1, 9, 1]))[0].startswith("outlier channel 2: 9 x the median")
    assert reasons(site, stats(calm * [1, 1, 7, 1])) == []
    assert "the median channel is zero" in reasons(site, stats(calm * [0, 0, 5, 0]))[0]
    assert (
        reasons(site, stats(np.abs(calm))) == ["one-sided: 0 to 1"]
        or "one-sided" in reasons(site, stats(np.abs(calm)))[0]
    )
    assert reasons(site, stats(np.abs(calm)), symmetric=False) == []
    assert reasons(site, stats(np.where(calm < 0, calm * 0.2, calm))) == [], "a fifth is no empty side"
    far = calm.copy()
    far[0, 0, 0] = 6.0
    assert reasons(site, stats(far)) == ["heavy tail: largest is 6 x the 99.9 % quantile"]


def test_a_quantile_by_sorting():
    values = np.random.default_rng(1).standard_normal((10, 400, 3)).astype(np.float32)
    table, largest = stats(values), float(np.abs(values).max())
    for share in (0.5, 0.9, 0.999):
        expected = float(np.quantile(np.abs(values), share))
        assert quantile(table, share) == pytest.approx(expected, abs=largest / 128)
    assert quantile(table, 1.0) >= largest * 0.99


def test_the_key_of_a_graph_tells_lengths_of_names_apart():
    """Parts are written with their lengths: what ends one name never begins the next."""
    text = "net (float[2] {a}, float[2] {b}) => (float[2] y) {{ y = Add({a}, {b}) }}"
    keys = [graph_sha256(named(text.format(a=a, b=b))) for a, b in (("p", "qr"), ("pq", "r"), ("p", "qr"))]
    assert keys[0] == keys[2] != keys[1] and len(keys[0]) == 64


def test_a_blank_image_counts_one_for_an_open_size():
    model = named("net (float[B, 3, 8, W] x) => (float[B, 3, 8, W] y) { y = Relu(x) }")
    found = blank(model)
    assert (
        list(found) == ["x"]
        and found["x"].shape == (1, 3, 8, 1)
        and found["x"].dtype == np.float32
        and not found["x"].any()
    )


def test_factors_of_statistics_are_finite_and_positive():
    table = stats(np.ones((2, 3, 2)))
    assert table.scaled(np.array([2.0, 0.5])).high.tolist() == [2.0, 0.5]
    for factors in ([1.0, np.inf], [np.nan, 1.0], [1.0, 0.0], [1.0, -1.0], [1.0], [[1.0, 1.0]]):
        with pytest.raises(ValueError, match="expected 2 positive factors"):
            table.scaled(np.array(factors))


@pytest.mark.parametrize("pads", [[1, 2], [2, 0]])
def test_labels_pass_a_pad_of_named_axes(pads):
    """Pad of the one axis 1 adds rows before and behind; the channels of the last axis stay where they are."""
    model = named(
        f"net (float[2, 4, 6] x) => (float[2, n, 5] y) <{weights(a=(6, 8), b=(8, 5))}, int64[2] pads = {{{pads[0]}, {pads[1]}}},"
        " float zero = {0.0}, int64[1] rows = {1}> { h = MatMul(x, a)  p = Pad(h, pads, zero, rows)  y = MatMul(p, b) }"
    )
    before = run(model)[0]
    group = follow(model, model.graph.node("h"), {"p"})
    assert group.free.all() and group.labels["p"].tolist() == list(range(8)) and before.shape == (2, 4 + sum(pads), 5)
    group.apply(model, np.geomspace(0.25, 8, 8))
    np.testing.assert_allclose(run(model)[0], before, rtol=1e-5, atol=1e-5)


def test_a_pad_of_several_axes_keeps_the_place_of_every_channel():
    model = named(
        f"net (float[1, 3, 4, 4] x) => (float[1, 5, 8, 7] y) <{weights(a=(6, 3, 1, 1), b=(5, 6, 1, 1))}, int64[4] pads = {{1, 0, 3, 3}},"
        " float zero = {0.0}, int64[2] axes = {2, 3}> { h = Conv(x, a)  p = Pad(h, pads, zero, axes)  y = Conv(p, b) }"
    )
    before = run(model)[0]
    group = follow(model, model.graph.node("h"), {"p"})
    assert before.shape == (1, 5, 8, 7) and group.labels["p"].tolist() == list(range(6))
    group.apply(model, np.geomspace(0.25, 8, 6))
    np.testing.assert_allclose(run(model)[0], before, rtol=1e-5, atol=1e-5)


def test_picture_sets_ask_for_batches_from_one_on():
    from edgesmith.calibration.pictures.images import open_data
    from edgesmith.runtime.pictures.preprocess import ImageContract

    data = open_data(
        np.zeros((6, 8, 8, 3), np.uint8) + np.arange(6, dtype=np.uint8)[:, None, None, None], ImageContract((8, 8))
    )
    images = data.calibration
    assert (
        sum(len(batch) for batch in images.batches(4)) == len(images)
        and sum(len(one) for one in images.batches(1, 1)) == len(images) - 1
    )
    for size, start in ((0, 0), (-1, 0), (2, -1)):
        with pytest.raises(ValueError):
            next(iter(images.batches(size, start)))
