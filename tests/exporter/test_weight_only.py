"""A file whose weights alone are in four bits is judged as it is written; what the engine rounds is told apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from command_line import edgesmith
from openvino_here import openvino_or_skip
from quantised_graphs import IMAGES
from weight_only import weight_only_files

from edgesmith.exporter.bundle.engine_rounding import rounding_words
from edgesmith.exporter.commands.inspect.compare import compare
from edgesmith.exporter.commands.inspect.foreign.rounding import exact_products, own_rounding, rounding_note
from edgesmith.graph.run import open_session
from edgesmith.runtime.backends.load import load
from edgesmith.runtime.errors import UserMistake


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    np.savez(tmp_path / "images.npz", images=IMAGES)
    return weight_only_files(tmp_path)


def rounds_here(path: Path) -> bool:
    """Whether this machine's ONNX Runtime rounds at all by default."""
    one, two = (open_session(ir.load(path), exact=exact).run(None, {"images": IMAGES})[0] for exact in (True, False))
    return not np.array_equal(one, two)


def test_compare_holds_for_a_file_of_the_same_weights(files: tuple[Path, Path]):
    found = compare(*map(str, files))
    assert found["agree"], found["rows"]
    told = [note for note in found["notes"] if "int4.onnx: the engine rounds activations" in note]
    assert bool(told) == rounds_here(files[1])


def test_quant_report_finds_no_loss_and_tells_the_engines_own(files: tuple[Path, Path], tmp_path: Path):
    words = ("--ref", str(files[0]), "--data", str(tmp_path / "images.npz"), "--json")
    answer = edgesmith("quant-report", str(files[1]), *words)
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)["quantisation"]
    loss = told["accuracy"]["sqnr_db"]
    assert loss is None or loss > 100, "the weights are those of the float file"
    if rounds_here(files[1]):
        assert 30 < told["engine"]["rounding_db"] < 60 and told["engine"]["name"] == "ONNX Runtime"
        assert any(note.startswith("the engine rounds activations: 4") for note in told["notes"])


def test_a_float_file_has_no_rounding_of_the_engine(files: tuple[Path, Path]):
    assert own_rounding(ir.load(files[0]), IMAGES) is None


def test_an_export_and_the_commands_say_it_alike():
    """In an export some figures have it in them, in the commands none has; the fact is one."""
    said = rounding_words(45.93, "OpenVINO")
    assert said.startswith("the engine rounds activations: 45.9 dB from the file as it is written. OpenVINO does so")
    assert rounding_note(45.93, "OpenVINO") == f"{said}; all other figures are without it"


def test_products_that_ask_for_less_are_judged_in_float32():
    node = ir.node("MatMulNBits", [], {"accuracy_level": 4, "K": 32}, domain="com.microsoft")
    model = ir.Model(ir.Graph([], [], nodes=[node], opset_imports={"": 20}), ir_version=10)
    (exact,) = exact_products(model).graph
    assert exact.attributes["accuracy_level"].value == 1 and node.attributes["accuracy_level"].value == 4


def test_openvino_is_exact_when_it_is_told_to_be(files: tuple[Path, Path]):
    openvino_or_skip()
    from edgesmith.runtime.backends.openvino_library import openvino_core

    config = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    plain, four = (openvino_core().compile_model(str(path), "CPU", config)(IMAGES)[0] for path in files)
    np.testing.assert_allclose(four, plain, rtol=1e-4, atol=1e-4)
    assert onnx.load(files[1]).graph.initializer[0].data_type == onnx.TensorProto.INT4


def bundle_of(files: tuple[Path, Path], out: Path, target: str) -> Path:
    """The int4 file as a bundle."""
    from edgesmith.runtime.bundle.bundle import write_bundle
    from edgesmith.runtime.bundle.golden import golden_bytes
    from edgesmith.runtime.pictures.contract import ImageContract

    model = ir.load(files[1])
    model.graph.inputs[0].shape = ir.Shape([6, 3, 8, 8])
    model.graph.outputs[0].shape = ir.Shape([6, 32])
    answers = open_session(model).run(None, {"images": IMAGES})[0]
    contents = {
        "model.onnx": ir.to_proto(model).SerializeToString(),
        "labels.json": json.dumps([str(number) for number in range(32)]).encode(),
        "golden.npz": golden_bytes({"images": IMAGES}, {"logits": answers}),
    }
    manifest = {
        "name": "four", "model": "four", "family": "four", "task": "classification", "target": target, "precision": "int4",
        "num_classes": 32, "inputs": [{"name": "images", "dtype": "float32", "shape": [6, 3, 8, 8]}],
        "outputs": [{"name": "logits", "dtype": "float32", "shape": [6, 32]}], "labels": "labels.json",
        "input_contract": ImageContract(size=(8, 8)).to_json(), "weights": {"source": "none", "sha256": None},
        "rewrite": {"passes": [], "nodes_before": {}, "nodes_after": {}}, "parity": [], "benchmark": None, "engines": [],
        "notes": [], "quantisation": {"precision": "int4", "form": "weights", "share": 1.0, "nodes": []},
    }  # fmt: skip
    return write_bundle(out, contents, manifest).path


def test_a_session_of_openvino_that_is_asked_to_be_exact_answers_as_the_file_is_written(
    files: tuple[Path, Path], tmp_path: Path
):
    openvino_or_skip()
    path = bundle_of(files, tmp_path / "four.edge", "openvino")
    written = open_session(ir.load(files[1])).run(None, {"images": IMAGES})[0]
    with load(path, exact=True) as session, load(path) as usual:
        assert session.exactly() is None
        found = session.run({"images": IMAGES})["logits"]
        own = usual.exactly()
        assert own is not None
        with own.start():
            np.testing.assert_array_equal(own.run({"images": IMAGES})["logits"], found)
        rounded = usual.run({"images": IMAGES})["logits"]
    np.testing.assert_allclose(found, written, rtol=1e-4, atol=1e-4)
    if rounds_here(files[1]):
        assert np.abs(rounded - written).max() > 10 * np.abs(found - written).max()


def test_only_openvino_has_such_a_choice(files: tuple[Path, Path], tmp_path: Path):
    path = bundle_of(files, tmp_path / "four.edge", "cpu")
    with load(path) as session:
        assert session.exactly() is None
    with pytest.raises(UserMistake, match="has no such option"):
        load(path, exact=True)


@pytest.mark.parametrize("target", ["cpu", "openvino"])
def test_a_bundle_is_compared_as_its_graph_is_written(files: tuple[Path, Path], tmp_path: Path, target: str):
    if target == "openvino":
        openvino_or_skip()
    bundle = bundle_of(files, tmp_path / "four.edge", target)
    found = compare(str(files[0]), str(bundle))
    assert found["agree"], found["rows"]
    if rounds_here(files[1]):
        assert any("four.edge: the engine rounds activations: 4" in note for note in found["notes"]), found["notes"]


def test_quant_report_of_a_bundle_tells_the_engines_own(files: tuple[Path, Path], tmp_path: Path):
    bundle = bundle_of(files, tmp_path / "four.edge", "cpu")
    words = ("--ref", str(files[0]), "--data", str(tmp_path / "images.npz"), "--json")
    answer = edgesmith("quant-report", str(bundle), *words)
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)["quantisation"]
    assert told["accuracy"]["sqnr_db"] is None or told["accuracy"]["sqnr_db"] > 100
    if rounds_here(files[1]):
        assert 30 < told["engine"]["rounding_db"] < 60
