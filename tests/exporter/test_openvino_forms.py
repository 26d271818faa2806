"""What OpenVINO takes beside Q/DQ of its own form, and that it is OpenVINO which is asked what a graph for it loses."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from digit_pictures import arrays, export
from openvino_here import openvino_or_skip

import edgesmith
from edgesmith.calibration.budget import hold
from edgesmith.calibration.judge.evaluation import any_batch
from edgesmith.calibration.nouns import Recipe
from edgesmith.exporter.plan.plan import make_plan
from edgesmith.exporter.precision.quantise import facts_of
from edgesmith.exporter.run.on_engine import on_engine
from edgesmith.runtime.errors import BackendUnavailable, UserMistake

VIT, VAN = "vit_ggem_mnist", "van_mnist"
TIES = """<ir_version: 10, opset_import: ["" : 20]>
g (float[1, 3, 8, 8] images) => (float[1, 3, 8, 8] logits) <float s = {2.0}, uint8 z = {ZERO}>
{ q = QuantizeLinear(images, s, z)  logits = DequantizeLinear(q, s, z) }"""


def on_ties(zero: int) -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model(TIES.replace("ZERO", str(zero))))


def halves() -> np.ndarray:
    """(2, 3, 8, 8): odd numbers, each of which is exactly between two codes of scale 2."""
    return (np.arange(384, dtype=np.float32).reshape(2, 3, 8, 8) - 100) * 2 + 1


@pytest.mark.parametrize("zero, same", [(0, True), (128, True), (3, False), (127, False), (131, False)])
def test_a_graph_on_ties_is_judged_as_openvino_rounds_them(zero, same):
    """The rule of each, worked out: half to even before the zero point is added, and after."""
    openvino_or_skip()
    ratio, model = halves() / 2, on_ties(zero)
    before = (np.clip(np.rint(ratio) + zero, 0, 255) - zero) * 2
    after = (np.clip(np.rint(ratio + zero), 0, 255) - zero) * 2
    found = on_engine(model, "openvino")
    assert found is not None
    np.testing.assert_array_equal(found(halves()), after)
    np.testing.assert_array_equal(any_batch(model)(halves()), before)
    assert np.array_equal(before, after) is same


def plan_for(target: str, model: str = VIT, **choices: object):
    return make_plan(model, data=arrays(20, 20), target=target, **{"precision": "int8", **choices})


def test_the_budget_of_a_graph_for_openvino_is_measured_there():
    openvino_or_skip()
    model = on_ties(3)
    there = hold.judged(facts_of(plan_for("openvino")), model)(halves())
    for target in ("cpu", "rtx"):
        assert not np.array_equal(hold.judged(facts_of(plan_for(target)), model)(halves()), there)


def test_without_the_library_onnxruntime_stands_for_it(monkeypatch):
    import edgesmith.runtime.backends.openvino_library as module

    def missing():
        raise BackendUnavailable("OpenVINO is not installed")

    monkeypatch.setattr(module, "openvino", missing)
    assert on_engine(on_ties(3), "openvino") is None


def test_the_forms_that_openvino_has():
    def form(**choices: object) -> str:
        calibration = plan_for("openvino", **choices).calibration
        assert calibration is not None
        return calibration.recipe.form

    assert form() == form(model=VAN) == "qdq", "its own, unless another is asked for"
    assert form(int8_form="u8") == "u8" and form(precision="int4") == form(precision="nvfp4") == "weights"
    with pytest.raises(UserMistake, match="does not take the int8 form dynamic") as refused:
        form(int8_form="dynamic")
    assert "static or u8" in refused.value.expected and "in float32" in refused.value.because
    with pytest.raises(UserMistake) as refused:
        form(precision="fp8")
    assert "computes fp8 products in float32" in refused.value.because


@pytest.mark.slow
def test_u8_for_openvino_runs_and_keeps_its_budget_there(tmp_path: Path):
    openvino_or_skip()
    result = export(VAN, tmp_path / "van.edge", data=arrays(40, 100), precision="int8", target="openvino", int8_form="u8", max_drop=3.0)  # fmt: skip
    assert result.quantisation is not None and result.quantisation["form"] == "u8"
    assert {node.op_type for node in ir.load(result.path / "model.onnx").graph} >= {
        "QuantizeLinear",
        "DequantizeLinear",
    }
    assert result.quantisation["budget"]["met"] and all(row.passed for row in result.parity)
    with edgesmith.load(result.path) as session:
        assert session.backend == "openvino" and all(row.passed for row in session.self_test())


@pytest.mark.slow
@pytest.mark.parametrize("precision, kind, rounds", [("int4", "INT4", True), ("nvfp4", "FLOAT4E2M1", False)])
def test_four_bits_for_openvino(precision, kind, rounds, tmp_path: Path):
    """The weights are exact, and the note says how far OpenVINO's own rounding of the activations is from the file."""
    openvino_or_skip()
    result = export(VIT, tmp_path / "vit.edge", data=arrays(40, 100), precision=precision, target="openvino", max_drop=10.0)  # fmt: skip
    model = ir.load(result.path / "model.onnx")
    codes = [
        value for value in model.graph.initializers.values() if value.dtype is not None and value.dtype.name == kind
    ]
    assert len(codes) >= 4 and all(row.passed for row in result.parity)
    notes = [note for note in result.notes if note.startswith("the engine rounds activations: ")]
    assert bool(notes) is rounds and all("as it is written. OpenVINO does so by default" in note for note in notes)
    exact = on_engine(model, "openvino", exact=True)
    assert exact is not None
    pictures = np.random.default_rng(0).standard_normal((4, *result.plan.shapes.opt[1:])).astype(np.float32)
    np.testing.assert_allclose(exact(pictures), any_batch(model)(pictures), atol=1e-4)
    with edgesmith.load(result.path) as session:
        assert session.backend == "openvino" and all(row.passed for row in session.self_test())


def test_facts_without_an_engine_ask_onnxruntime():
    """What a caller of calibration without a target gets."""
    facts = SimpleNamespace(engine=lambda model, recipe: None, calibration=SimpleNamespace(recipe=Recipe()), integer_kernels=False)  # fmt: skip
    model = on_ties(3)
    np.testing.assert_array_equal(hold.judged(facts, model)(halves()), any_batch(model)(halves()))
