"""BatchNorm into convolutions: after one always, before one only where nothing is padded."""

from graph_asserts import assert_refuses, assert_rewrites, weights

from edgesmith.exporter.patterns.convolutions.fold_batchnorm import FoldBatchNorm

NORM = weights(w=(4, 2, 3, 3), b=(4,), s=(4,), t=(4,), m=(4,), v=(4,), p=(6, 4, 1, 1), q=(6, 2, 1, 1))
AFTER = f"""
<ir_version: 10, opset_import: ["" : 20]>
after (float[2, 4, 5, 5] x) => (float[2, 4, 5, 5] y)
<{NORM}>
{{
  c = Conv<group = 2, pads = [1, 1, 1, 1]>(x, w, b)
  y = BatchNormalization<epsilon = 0.01>(c, s, t, m, v)
}}
"""
BEFORE = f"""
<ir_version: 10, opset_import: ["" : 20]>
before (float[batch, 4, 5, 5] x) => (float[batch, 6, 5, 5] y, float[batch, 6, 5, 5] z)
<{NORM}>
{{
  n = BatchNormalization(x, s, t, m, v)
  y = Conv(n, p)
  z = Conv<group = 2>(n, q)
}}
"""


def test_goes_into_the_grouped_padded_convolution_before_it():
    model = assert_rewrites(FoldBatchNorm, AFTER, to=["Conv"])
    assert model.graph.outputs[0].name == "y"


def test_goes_into_a_convolution_without_bias():
    assert_rewrites(FoldBatchNorm, AFTER.replace("(x, w, b)", "(x, w)"), to=["Conv"])


def test_goes_into_every_unpadded_convolution_behind_it():
    assert_rewrites(FoldBatchNorm, BEFORE, to=["Conv", "Conv"])


def test_refuses_a_padded_convolution_behind_it():
    padded = BEFORE.replace("z = Conv<group = 2>", "z = Conv<group = 2, pads = [1, 1, 1, 1]>")
    assert_refuses(FoldBatchNorm, padded.replace("6, 5, 5] z", "6, 7, 7] z"), because="is padded")


def test_refuses_when_something_else_reads_it_too():
    tapped = BEFORE.replace("6, 5, 5] z)", "6, 5, 5] z, float[batch, 4, 5, 5] r)").replace(
        "  y =", "  r = Relu(n)\n  y ="
    )
    assert_refuses(FoldBatchNorm, tapped, because="other uses")


def test_refuses_when_the_convolution_before_it_has_other_uses():
    tapped = AFTER.replace("5, 5] y)", "5, 5] y, float[2, 4, 5, 5] c)")
    assert_refuses(FoldBatchNorm, tapped, because="other uses")


def test_refuses_statistics_that_are_not_constants():
    open_mean = AFTER.replace("5, 5] x)", "5, 5] x, float[4] mean)").replace("s, t, m, v)", "s, t, mean, v)")
    assert_refuses(FoldBatchNorm, open_mean, because="constants")
