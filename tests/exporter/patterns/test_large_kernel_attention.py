"""VAN's block: the BatchNorm under the inner shortcut goes, then the factor that it left on the trunk."""

import numpy as np
from graph_asserts import assert_refuses, assert_rewrites, op_types, parse, run, weights

from edgesmith.exporter.patterns.convolutions.large_kernel_attention import FoldNormalisedShortcut
from edgesmith.exporter.patterns.convolutions.rescale_trunk import RescaleTrunk

BLOCK = f"""
<ir_version: 10, opset_import: ["" : 20]>
van (float[batch, 3, 8, 8] images) => (float[batch, 8, 8, 4] tokens)
<{
    weights(
        we=(4, 3, 3, 3),
        be=(4,),
        s=(4,),
        t=(4,),
        m=(4,),
        v=(4,),
        w1=(4, 4, 1, 1),
        b1=(4,),
        wd=(4, 1, 5, 5),
        w2=(4, 4, 1, 1),
        ls=(4, 1, 1),
        w3=(4, 4, 1, 1),
        b3=(4,),
    )
}>
{{
  x = Conv<pads = [1, 1, 1, 1]>(images, we, be)
  n = BatchNormalization(x, s, t, m, v)
  p = Conv(n, w1, b1)
  u = Gelu(p)
  d = Conv<group = 4, pads = [2, 2, 2, 2]>(u, wd)
  g = Mul(u, d)
  c = Conv(g, w2, b1)
  a = Add(n, c)
  l = Mul(ls, a)
  z = Add(x, l)
  r = Conv(z, w3, b3)
  q = Add(z, r)
  tokens = Transpose<perm = [0, 2, 3, 1]>(q)
}}
"""
FOLDED = ["Conv", "Conv", "Gelu", "Conv", "Mul", "Conv", "Mul", "Add", "Conv", "Add", "Transpose"]


def folded(text=BLOCK):
    """The block after FoldNormalisedShortcut: what RescaleTrunk is given."""
    model = parse(text)
    assert FoldNormalisedShortcut().run(model).count == 1
    return model


def test_one_factor_stays_on_the_shortcut():
    assert_rewrites(FoldNormalisedShortcut, BLOCK, to=FOLDED)


def test_the_operands_of_its_sums_may_be_swapped():
    swapped = (
        BLOCK.replace("Add(n, c)", "Add(c, n)").replace("Mul(ls, a)", "Mul(a, ls)").replace("Add(x, l)", "Add(l, x)")
    )
    assert_rewrites(FoldNormalisedShortcut, swapped, to=FOLDED)


def test_refuses_when_the_branch_has_other_uses():
    tapped = BLOCK.replace("tokens)", "tokens, float[batch, 4, 8, 8] c)", 1)
    assert_refuses(FoldNormalisedShortcut, tapped, because="other uses")


def test_refuses_a_padded_convolution_behind_the_norm():
    padded = BLOCK.replace("p = Conv(n, w1, b1)", "p = Conv<group = 4, pads = [2, 2, 2, 2]>(n, wd)")
    assert_refuses(FoldNormalisedShortcut, padded, because="unpadded convolutions")


def test_refuses_without_a_layer_scale():
    assert_refuses(
        FoldNormalisedShortcut, BLOCK.replace("l = Mul(ls, a)", "l = Relu(a)"), because="expected a layer scale"
    )


def test_the_factor_on_the_trunk_goes_into_the_convolutions():
    without = list(FOLDED)
    without.remove("Mul")
    assert_rewrites(RescaleTrunk, folded(), to=without)


def test_a_factor_out_of_range_stays():
    zero = parse(BLOCK)
    assert FoldNormalisedShortcut().run(zero).count == 1
    scale = next(v for k, v in zero.graph.initializers.items() if "shortcut_scale" in k)
    scale.const_value.numpy()[0] = 1e-4
    before = run(zero)
    assert_refuses(RescaleTrunk, zero, because="its factor stays")
    np.testing.assert_array_equal(run(zero)[0], before[0])


def test_a_trunk_read_by_something_else_ends_there():
    model = folded(BLOCK.replace("tokens)", "tokens, float[batch, 4, 8, 8] x)", 1))
    before = op_types(model)
    assert RescaleTrunk().run(model).count == 0
    assert op_types(model) == before
