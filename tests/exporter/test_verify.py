"""Agreement in numbers: what holds, what fails, and which node is named."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgesmith.exporter.bundle.jump import first_jump
from edgesmith.exporter.run import runners as verify
from edgesmith.exporter.run.nouns import Shapes
from edgesmith.exporter.tasks.rows import Row, agreement

LOGITS = np.array([[1.0, 5.0, -2.0, 0.5, 0.0, -1.0], [0.1, 0.2, 0.9, -0.3, 0.4, 0.6]], np.float32)

GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[2, 4] images) => (float[2, 4] logits)
<float scale = {SCALE}, float bias = {0.25}>
{
  a = Mul(images, scale)
  b = Add(a, bias)
  c = Tanh(b)
  logits = Mul(c, c)
}
"""


def row(other: np.ndarray, precision: str) -> Row:
    return agreement("graph", "ONNX Runtime", "seeded", (2, 3, 8, 8), LOGITS, other, precision)


def graph(scale: float) -> ir.Model:
    return ir.from_onnx_text(GRAPH.replace("SCALE", str(scale)))


def test_equal_logits_hold_in_every_precision():
    for precision in ("fp32", "fp16", "bf16"):
        same = row(LOGITS.copy(), precision)
        assert (same.passed, same.max_abs, same.top1, same.top5) == (True, 0.0, 1.0, 1.0)
        assert same.cosine == pytest.approx(1.0, abs=1e-12)


def test_the_fp32_limit_follows_the_largest_logit():
    assert row(LOGITS + 9e-5, "fp32").passed  # 2e-5 times the largest, 5
    assert not row(LOGITS + 1.2e-4, "fp32").passed
    small = agreement("graph", "", "seeded", (1,), LOGITS / 100, LOGITS / 100 + 3e-5, "fp32")
    assert not small.passed, "the limit never falls below 2e-5, and never rises for small logits"


def test_sixteen_bit_is_judged_by_direction():
    turned = LOGITS + np.float32(0.02) * np.array([1, -1, 1, -1, 1, -1], np.float32)
    assert not row(turned, "fp16").passed
    assert row(turned, "bf16").passed


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_number_that_is_not_finite_fails_the_row(bad: float):
    broken = LOGITS.copy()
    broken[1, 3] = bad
    assert not row(broken, "bf16").passed


def test_top_classes_are_counted():
    swapped = LOGITS[:, ::-1].copy()
    found = row(swapped, "fp32")
    assert found.top1 == 0.0 and 0 < found.top5 < 1


def test_a_dynamic_graph_is_tried_where_it_was_not_traced():
    shapes = verify.shapes_to_try(Shapes((1, 3, 224, 224), (2, 3, 256, 256), (8, 3, 320, 384)), step=32)
    assert shapes[0] == (2, 3, 256, 256)
    assert {(1, 3, 224, 224), (8, 3, 320, 384)} <= set(shapes)
    assert any(height != width for _, _, height, width in shapes)
    assert all(height % 32 == 0 and width % 32 == 0 for _, _, height, width in shapes)
    assert verify.shapes_to_try(Shapes.fixed(1, 3, 224, 224)) == [(1, 3, 224, 224)]


def test_inputs_that_do_not_fill_a_batch_are_not_lost():
    images = np.arange(5, dtype=np.float32)[:, None]
    sizes = []

    def runner(part: np.ndarray) -> np.ndarray:
        sizes.append(len(part))
        return part * 2

    np.testing.assert_array_equal(verify.run_all(runner, images, 2), images * 2)
    assert sizes == [2, 2, 2]


def test_the_first_node_that_differs_is_named():
    images = verify.seeded((2, 4))
    jump = first_jump(graph(1.0), graph(1.01), images)
    assert jump is not None and jump.op == "Mul" and jump.value == "a"
    assert jump.before == 0 and jump.after == pytest.approx(0.01, rel=0.02)


def test_a_graph_does_not_differ_from_itself():
    jump = first_jump(graph(1.0), graph(1.0), verify.seeded((2, 4)))
    assert jump is None or jump.after == 0


def test_onnx_runtime_is_the_judge_of_a_graph():
    images = verify.seeded((2, 4), seed=3)
    np.testing.assert_allclose(verify.graph_runner(graph(0.5))(images), np.tanh(images / 2 + 0.25) ** 2, rtol=1e-5)
