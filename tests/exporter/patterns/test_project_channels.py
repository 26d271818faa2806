"""Channel attention over 300 tokens and the layer behind it, as PackedChannels leaves them: two heads of two channels."""

from __future__ import annotations

from graph_asserts import assert_refuses, assert_rewrites, parse

from edgesmith.exporter.patterns.attention.project_channels import ProjectChannels

BLOCK = """
<ir_version: 10, opset_import: ["" : 20]>
block (float[1, 12, 300] x) => (float[1, 300, 3] y)
<int64[4] heads = {1, 6, 2, 300}, int64[3] thirds = {2, 2, 2}, int64[3] flat = {1, 4, 300},
 float[4, 3] w = {0.5, -0.25, 1.0, 0.75, 0.125, -0.5, -1.0, 0.3, 0.2, 0.9, -0.7, 0.4}>
{
  packed = Reshape(x, heads)
  a, b, c = Split<axis = 1>(packed, thirds)
  t = Transpose<perm = [0, 1, 3, 2]>(b)
  s0 = MatMul(a, t)
  s = Softmax<axis = -1>(s0)
  o = MatMul(s, c)
  f = Reshape(o, flat)
  r = Transpose<perm = [0, 2, 1]>(f)
  y = MatMul(r, w)
}
"""


def test_the_attention_goes_into_the_projection():
    small = ["Split", "Transpose", "MatMul", "Softmax", "Transpose", "MatMul", "Reshape"]
    tokens = ["Reshape", "Transpose", "MatMul", "Reshape"]
    assert_rewrites(ProjectChannels, BLOCK, to=["Reshape", *small, *tokens])


def test_what_fuses_into_one_kernel_is_left_alone():
    record = ProjectChannels().run(parse(BLOCK.replace("300", "256")))
    assert record.count == 0 and not record.refused


def test_refuses_a_batch_of_two():
    two = BLOCK.replace("[1, 12, 300]", "[2, 12, 300]").replace("[1, 300, 3]", "[2, 300, 3]")
    assert_refuses(ProjectChannels, two.replace("{1, 6,", "{2, 6,").replace("{1, 4,", "{2, 4,"), because="batch 2")


def test_refuses_when_the_tokens_are_read_elsewhere():
    tapped = BLOCK.replace("float[1, 300, 3] y)", "float[1, 300, 3] y, float[1, 300, 4] r)")
    assert_refuses(ProjectChannels, tapped, because="no linear layer of its own")


def test_refuses_a_layer_that_widens_beyond_the_tokens():
    numbers = ", ".join("0.5" for _ in range(4 * 301))
    i, j = BLOCK.index("float[4, 3] w = {"), BLOCK.index("}>\n")
    wide = BLOCK[:i] + "float[4, 301] w = {" + numbers + BLOCK[j:]
    assert_refuses(ProjectChannels, wide.replace("[1, 300, 3] y", "[1, 300, 301] y"), because="more multiplications")
