"""Window attention cut from DaViT's export: a 4 x 4 map, windows of 2 x 2, two heads of two channels."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from graph_asserts import assert_refuses, assert_rewrites, parse

from edgesmith.exporter.patterns.attention.window_partition import MergeWindows
from edgesmith.exporter.patterns.cleanup.static_padding import DropZeroPads

WINDOWS = """
<ir_version: 10, opset_import: ["" : 20]>
block (float[BATCH, 4, 4, 4] x, float[4, 12] w, float[4, 4] p) => (float[BATCH, 16, 4] y)
<KNOWN int64[6] cut = {B, 2, 2, 2, 2, 4}, int64[3] rows = {W, 4, 4}, int64[4] heads = {W, 4, 6, 2}, int64[3] thirds = {2, 2, 2},
 int64[6] grid = {B, 2, 2, 2, 2, 4}, int64[3] image = {B, 16, 4},
 float[4, 12] qkv = {WEIGHTS}, float[12] bias = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2},
 float[4, 4] proj = {1.0, 0.5, 0.2, 0.1, -1.0, 0.3, 0.7, 0.9, 0.0, 1.0, 0.4, 0.6, 0.8, 0.2, 1.1, 0.3}, float[4] b = {0.1, 0.0, 0.2, 0.3}>
{
  c = Reshape(x, cut)
  d = Transpose<perm = [0, 1, 3, 2, 4, 5]>(c)
  e = Reshape(d, rows)
  f = MatMul(e, qkv)
  g = Add(f, bias)
  h = Reshape(g, heads)
  i = Transpose<perm = [0, 2, 1, 3]>(h)
  q, k, v = Split<axis = 1>(i, thirds)
  l = Transpose<perm = [0, 1, 3, 2]>(k)
  m = MatMul(q, l)
  n = Softmax(m)
  o = MatMul(n, v)
  r = Transpose<perm = [0, 2, 1, 3]>(o)
  s = Reshape(r, rows)
  t = MatMul(s, proj)
  u = Add(t, b)
  z = Reshape(u, grid)
  a = Transpose<perm = [0, 1, 3, 2, 4, 5]>(z)
  y = Reshape(a, image)
}
"""
WINDOWS = WINDOWS.replace(", float[4, 12] w, float[4, 4] p", "").replace(
    "{WEIGHTS}", "{" + ", ".join(f"{(7 * i % 23 - 11) / 11:.3f}" for i in range(48)) + "}"
)
FIXED = WINDOWS.replace("KNOWN", "").replace("BATCH", "2").replace("{B,", "{2,").replace("{W,", "{8,")
# an open batch as the exporter writes it: every value knows its shape
SHAPES = {"c": "batch,2,2,2,2,4", "d": "batch,2,2,2,2,4", "e": "win,4,4", "f": "win,4,12", "g": "win,4,12", "h": "win,4,6,2",
          "i": "win,6,4,2", "o": "win,2,4,2", "r": "win,4,2,2", "s": "win,4,4", "t": "win,4,4", "u": "win,4,4",
          "z": "batch,2,2,2,2,4", "a": "batch,2,2,2,2,4"}  # fmt: skip
KNOWN = " ".join(f"float[{shape}] {name}," for name, shape in SHAPES.items())
OPEN = WINDOWS.replace("KNOWN", KNOWN).replace("BATCH", "batch").replace("{B,", "{-1,").replace("{W,", "{-1,")
CUT = ["MatMul", "Add", "Reshape", "Transpose", "Reshape"]
JOIN = ["Reshape", "Transpose", "Reshape", "MatMul", "Add", "Reshape"]


@pytest.mark.parametrize("text", [FIXED, OPEN], ids=["fixed", "open"])
def test_one_transpose_before_and_one_after_the_attention(text):
    attention = ["Split", "Transpose", "MatMul", "Softmax", "MatMul"]
    assert_rewrites(MergeWindows, text, to=[*CUT, *attention, *JOIN], count=2)


def test_the_layer_works_on_the_image_afterwards():
    model = parse(FIXED)
    MergeWindows().run(model)
    first = next(node for node in model.graph if node.op_type == "MatMul")
    assert first.inputs[0].is_graph_input()


def test_refuses_when_the_windows_are_read_elsewhere():
    tapped = FIXED.replace("float[2, 16, 4] y)", "float[2, 16, 4] y, float[8, 4, 4] e)")
    model = parse(tapped)
    record = MergeWindows().run(model)
    assert record.count == 1  # the join is free of it
    assert "the windows have other uses" in [refusal.why for refusal in record.refused]


def test_refuses_heads_that_are_not_one_reshape_and_transpose():
    other = FIXED.replace("perm = [0, 2, 1, 3]>(h)", "perm = [2, 0, 1, 3]>(h)").replace(
        "q, k, v = Split<axis = 1>(i, thirds)", "i2 = Transpose<perm = [1, 0, 2, 3]>(i)\n  q, k, v = Split<axis = 1>(i2, thirds)"
    )  # fmt: skip
    record = MergeWindows().run(parse(other))
    assert record.count == 1
    assert "not split into heads" in record.refused[0].why


PADS = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[1, 3, 3, 2] x) => (float[1, 3, H, 2] y)
<int64[8] amounts = {0, 0, 0, 0, 0, 0, RIGHT, 0}>
{
  n = Neg(x)
  p = Pad(n, amounts)
  y = Neg(p)
}
"""


def test_a_pad_by_nothing_goes():
    assert_rewrites(DropZeroPads, PADS.replace("H,", "3,").replace("RIGHT", "0"), to=["Neg", "Neg"])


def test_a_real_pad_stays():
    model = parse(PADS.replace("H,", "5,").replace("RIGHT", "2"))
    assert DropZeroPads().run(model).count == 0 and len(model.graph) == 3


def test_refuses_amounts_known_at_run_time_only():
    text = (
        PADS.replace("H,", "3,")
        .replace("RIGHT", "0")
        .replace("float[1, 3, 3, 2] x)", "float[1, 3, 3, 2] x, int64[8] amounts)")
    )
    text = text.replace("<int64[8] amounts = {0, 0, 0, 0, 0, 0, 0, 0}>\n", "")
    assert_refuses(DropZeroPads, text, because="run time")


def test_weights_are_shared_not_copied():
    model = parse(FIXED)
    before = {name: value.const_value for name, value in model.graph.initializers.items()}
    MergeWindows().run(model)
    assert isinstance(model, ir.Model)
    assert all(model.graph.initializers[name].const_value is before[name] for name in ("qkv", "proj"))
