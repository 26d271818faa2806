"""A classifier in an ONNX file through the command: export, run, test, bench; judged by its own answers, names kept."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from command_line import edgesmith
from onnx_files import CLASSES, SIDE, beside, classifier

import edgesmith as product
from edgesmith.runtime.bundle.bundle import open_bundle


def exported(file: Path, out: Path, *more: str) -> product.runtime.bundle.bundle.Bundle:
    answer = edgesmith("export", "--model", str(file), "--out", str(out), *more)
    assert answer.code == 0, answer.err
    return open_bundle(out)


def same_answers(bundle: Path, file: Path) -> None:
    """The bundle gives what the file gives, by the file's own names."""
    images = np.random.default_rng(1).standard_normal((1, 3, SIDE, SIDE)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(str(file)).run(None, {"pixels": images})
    with product.load(bundle) as session:
        found = session.run({"pixels": images})
    np.testing.assert_allclose(found["scores"], expected, atol=1e-5)


@pytest.mark.parametrize("opset", [11, 13, 17, 20, 22, 25])
def test_every_opset_goes_through(opset: int, tmp_path: Path):
    file = classifier(tmp_path / "net.onnx", opset)
    bundle = exported(file, tmp_path / "net.edge")
    assert bundle.manifest["opset"] == min(max(opset, 13), 23)
    same_answers(bundle.path, file)


def test_the_newest_opset_and_ir_go_through_with_a_function(tmp_path: Path):
    file = classifier(tmp_path / "net.onnx", opset=26, function=True)
    model = onnx.load(file)
    model.ir_version = 14
    onnx.save(model, file)
    bundle = exported(file, tmp_path / "net.edge")
    assert bundle.manifest["opset"] == 23
    assert any("1 functions of the file are written out" in note for note in bundle.manifest["notes"])
    same_answers(bundle.path, file)


def test_run_test_and_bench_take_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    bundle = exported(classifier(tmp_path / "net.onnx"), tmp_path / "net.edge")
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), picture)
    ran = edgesmith("run", str(bundle.path), "photo.png", "--json")
    assert ran.code == 0 and len(json.loads(ran.out)[0]["top"]) == CLASSES
    tested = edgesmith("test", str(bundle.path), "--json")
    assert tested.code == 0 and [row["output"] for row in json.loads(tested.out)] == ["scores", "preprocessing"]
    bench = edgesmith("bench", str(bundle.path), "--rounds", "2", "--against", "eager,plain", "--no-memory", "--json")
    assert bench.code == 0, bench.err
    first, ours = json.loads(bench.out)["rows"]
    assert first["name"] == "the file + ONNX Runtime" and ours["max_abs"] < 1e-4


def test_the_batch_stays_open_where_it_is_and_fixed_where_it_is_not(tmp_path: Path):
    opened = exported(classifier(tmp_path / "open.onnx"), tmp_path / "open.edge")
    assert opened.inputs[0].limits(0) == (1, 8)
    fixed = exported(classifier(tmp_path / "four.onnx", batch=4), tmp_path / "four.edge")
    assert fixed.inputs[0].shape == (4, 3, SIDE, SIDE) and fixed.outputs[0].shape == (4, CLASSES)
    told = exported(classifier(tmp_path / "two.onnx"), tmp_path / "two.edge", "--batch", "2")
    assert told.inputs[0].shape == (2, 3, SIDE, SIDE)
    one = exported(classifier(tmp_path / "one.onnx"), tmp_path / "one.edge", "--batch", "1")
    assert one.inputs[0].shape == (1, 3, SIDE, SIDE)


def test_functions_of_the_file_are_written_out(tmp_path: Path):
    file = classifier(tmp_path / "net.onnx", function=True)
    bundle = exported(file, tmp_path / "net.edge")
    assert not {node.domain for node in onnx.load(bundle.graph).graph.node} & {"mine"}
    same_answers(bundle.path, file)


def test_weights_beside_the_file_are_read_and_weights_that_are_inputs_are_constants(tmp_path: Path):
    apart = beside(classifier(tmp_path / "net.onnx"), tmp_path / "apart.onnx")
    same_answers(exported(apart, tmp_path / "apart.edge").path, apart)
    old = classifier(tmp_path / "old.onnx", opset=11, as_inputs=True)
    bundle = exported(old, tmp_path / "old.edge")
    assert [spec.name for spec in bundle.inputs] == ["pixels"]


def test_what_was_assumed_stands_in_the_bundle_and_flags_say_otherwise(tmp_path: Path):
    file = classifier(tmp_path / "net.onnx")
    notes = exported(file, tmp_path / "a.edge").manifest["notes"]
    assert any("assumed" in note and "--mean" in note for note in notes)
    flags = (
        "--mean",
        "0.5",
        "--std",
        "0.5",
        "--crop",
        "1",
        "--resize",
        "bilinear",
        "--colour",
        "bgr",
        "--scale",
        "255",
    )
    said = exported(file, tmp_path / "b.edge", *flags)
    assert said.contract.mean == (0.5, 0.5, 0.5) and said.contract.colour == "BGR"
    assert not any("assumed" in note for note in said.manifest["notes"])


def test_probabilities_of_a_file_are_shown_as_they_are(tmp_path: Path):
    file = classifier(tmp_path / "net.onnx", softmax=True)
    bundle = exported(file, tmp_path / "net.edge")
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    pixels = product.runtime.pictures.preprocess.preprocess([picture], bundle.contract)
    (expected,) = onnxruntime.InferenceSession(str(file)).run(None, {"pixels": pixels})
    with product.load(bundle) as session:
        found = session(picture).top(CLASSES)
    np.testing.assert_allclose([one.probability for one in found], np.sort(expected[0])[::-1], rtol=1e-4)


def test_the_judge_is_told(tmp_path: Path):
    bundle = exported(classifier(tmp_path / "net.onnx"), tmp_path / "net.edge")
    assert bundle.manifest["judge"] == "the file itself on ONNX Runtime"
    report = (bundle.path / "report.html").read_text()
    assert "The file itself on ONNX Runtime is the judge" in report and "PyTorch" not in report


@pytest.mark.slow
def test_int8_with_pictures(tmp_path: Path):
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(24):
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.png"), rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
    more = ("--precision", "int8", "--data", str(tmp_path / "photos"))
    bundle = exported(classifier(tmp_path / "net.onnx", opset=11), tmp_path / "net.edge", *more)
    assert bundle.precision == "int8" and bundle.manifest["quantisation"]["share"] > 0
    assert edgesmith("test", str(bundle.path)).code == 0
    answer = edgesmith("quant-report", str(bundle.path), "--data", str(tmp_path / "photos"))
    assert answer.code == 0, answer.err
