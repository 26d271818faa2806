"""Rotary positions in the rotate-half form as ONNX Runtime's node."""

import pytest
from graph_asserts import assert_refuses, assert_rewrites, parse, weights

from edgesmith.exporter.patterns.ort.rotary_node import RotaryNode

TURN = f"""<ir_version: 10, opset_import: ["" : 20]>
g (float[batch, 3, 2, 8] x) => (float[batch, 3, 2, 8] y)
<{weights(cos=(3, 1, 4), sin=(3, 1, 4))}>
{{
  a, b = Split<axis = -1, num_outputs = 2>(x)
  ac = Mul(a, cos) bs = Mul(b, sin) less = Sub(ac, bs)
  bc = Mul(b, cos) as = Mul(sin, a) more = Add(bc, as)
  y = Concat<axis = -1>(less, more)
}}"""


def test_the_turn_becomes_one_node():
    model = assert_rewrites(RotaryNode, TURN, to=["Reshape", "RotaryEmbedding", "Reshape"])
    node = next(node for node in model.graph if node.op_type == "RotaryEmbedding")
    assert (node.domain, node.attributes["num_heads"].value) == ("com.microsoft", 2)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("less = Sub(ac, bs)", "less = Add(ac, bs)"),
        ("bc = Mul(b, cos) as = Mul(sin, a)", "bc = Mul(a, cos) as = Mul(sin, b)"),
        ("more = Add(bc, as)", "more = Add(bc, bs)"),
        ("Concat<axis = -1>(less, more)", "Concat<axis = -1>(more, less)"),
    ],
)
def test_other_sums_of_halves_are_no_turn(old, new):
    assert RotaryNode().run(parse(TURN.replace(old, new))).count == 0


def test_refuses_tables_that_are_computed():
    given = TURN.replace("x) =>", "x, float[3, 1, 4] cosine) =>").replace("(a, cos)", "(a, cosine)")
    assert_refuses(RotaryNode, given.replace("(b, cos)", "(b, cosine)"), because="no constant")


def test_refuses_a_table_of_other_rows():
    other = TURN.replace(weights(cos=(3, 1, 4), sin=(3, 1, 4)), weights(cos=(3, 2, 4), sin=(3, 2, 4)))
    assert_refuses(RotaryNode, other, because="(3, 1, 4)")


def test_refuses_an_open_number_of_tokens():
    opened = TURN.replace("[batch, 3, 2, 8]", "[batch, tokens, 2, 8]")
    assert_refuses(RotaryNode, opened, because="open batch at most")
