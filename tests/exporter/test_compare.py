"""compare of detectors: by detections, whoever suppressed them; and clear words where two do not go together."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import edgesmith as command
from detection_bundle import LABELS, write_detection_bundle
from small_bundle import write_small_bundle

from edgesmith.calibration.judge.detection import cells_of_rows
from edgesmith.exporter.commands.inspect import compare as module
from edgesmith.exporter.commands.inspect.compare import compare
from edgesmith.exporter.commands.inspect.compare_sides import open_side
from edgesmith.runtime.errors import UserMistake


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All forms of the small detector: raw, a few candidates, suppressed in the graph; and a classifier."""
    root = tmp_path_factory.mktemp("compare")
    write_detection_bundle(root / "raw.edge")
    write_detection_bundle(root / "few.edge", candidates=15)
    write_detection_bundle(root / "rows.edge", nms="graph")
    write_small_bundle(root / "small.edge")
    for name in ("raw", "rows"):
        shutil.copy(root / f"{name}.edge" / "model.onnx", root / f"{name}.onnx")
    return root


def changed(source: Path, out: Path, change) -> Path:
    """The file with one change to its protobuf."""
    model = onnx.load(source)
    change(model)
    onnx.save(model, out)
    return out


def halve_scores(model: onnx.ModelProto) -> None:
    """The scores of all cells times 0.5: the detections above 0.5 are gone."""
    (node,) = (one for one in model.graph.node if "scores" in one.output)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.5), "half"))
    node.CopyFrom(onnx.helper.make_node("Mul", [node.input[0], "half"], ["scores"], name="halve"))


def run(first: Path, second: Path, **more):
    return compare(str(first), str(second), **more)


@pytest.mark.parametrize("second", ["raw.edge", "few.edge", "raw.onnx"])
def test_the_same_detector_agrees_with_itself(folder: Path, second: str):
    found = run(folder / "raw.edge", folder / second)
    assert found["agree"] and found["first_difference"] == ""
    assert {row["inputs"] for row in found["rows"]} == {"seeded", "pictures"}
    assert all(row["box_px"] == 0 and row["missing"] == row["extra"] == 0 for row in found["rows"])
    assert sum(row["detections"] for row in found["rows"]) > 0, "a comparison of nothing proves nothing"


def test_two_that_suppress_inside_are_compared_by_their_rows(folder: Path):
    found = run(folder / "rows.edge", folder / "rows.onnx")
    assert found["agree"] and all(row["missing"] == row["extra"] == 0 for row in found["rows"])


def test_other_scores_are_a_difference_and_the_node_is_named(folder: Path, tmp_path: Path):
    wrong = changed(folder / "raw.onnx", tmp_path / "wrong.onnx", halve_scores)
    found = run(folder / "raw.edge", wrong)
    assert not found["agree"] and "halve" in found["first_difference"]
    assert any(row["score_abs"] > 0.1 or row["missing"] > 0 for row in found["rows"])


def test_rows_become_the_answer_of_a_graph_with_few_candidates():
    rows = np.array([[[1, 2, 3, 4, 0.9, 2], [5, 6, 7, 8, 0.4, 0], [0, 0, 0, 0, 0, -1]]], np.float32)
    answer = cells_of_rows(rows, 3)
    np.testing.assert_array_equal(answer[0, :, 4:], np.array([[0, 0, 0.9], [0.4, 0, 0], [0, 0, 0]], np.float32))
    np.testing.assert_array_equal(answer[..., :4], rows[..., :4])


def test_boxes_and_scores_of_others_are_known_by_their_shapes(folder: Path, tmp_path: Path):
    def rename(model: onnx.ModelProto) -> None:
        names = {"boxes": "output_1", "scores": "output_0"}
        for node in model.graph.node:
            node.output[:] = [names.get(name, name) for name in node.output]
        for value in model.graph.output:
            value.name = names[value.name]

    side = open_side(str(changed(folder / "raw.onnx", tmp_path / "theirs.onnx", rename)), "random", None)
    ours = open_side(str(folder / "raw.onnx"), "random", None)
    images = np.random.default_rng(0).random((1, 3, 32, 32), dtype=np.float32)
    np.testing.assert_array_equal(side.answer(side.run(images)), ours.answer(ours.run(images)))
    assert side.task.name == "detection"


def test_a_classifier_and_a_detector_are_not_compared(folder: Path):
    with pytest.raises(UserMistake, match="do not do the same") as caught:
        run(folder / "small.edge", folder / "raw.edge")
    assert "small.edge: classification" in str(caught.value) and "raw.edge: detection" in str(caught.value)


def test_another_number_of_classes_is_told(folder: Path, tmp_path: Path):
    def one_class_less(model: onnx.ModelProto) -> None:
        (node,) = (one for one in model.graph.node if "scores" in one.output)
        for name, value in (("from", [0]), ("to", [2]), ("axis", [2])):
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value), name))
        node.CopyFrom(onnx.helper.make_node("Slice", [node.input[0], "from", "to", "axis"], ["scores"]))
        model.graph.output[1].type.tensor_type.shape.dim[2].dim_value = 2

    two = changed(folder / "raw.onnx", tmp_path / "two.onnx", one_class_less)
    with pytest.raises(UserMistake, match="same outputs") as caught:
        run(folder / "raw.edge", two)
    assert f"{len(LABELS)} classes" in str(caught.value) and "two.onnx: 2" in str(caught.value)


def test_outputs_that_are_neither_are_told(folder: Path, tmp_path: Path):
    path = changed(folder / "raw.onnx", tmp_path / "boxes.onnx", lambda model: model.graph.output.pop())
    with pytest.raises(UserMistake, match="neither a classifier nor a detector"):
        run(folder / "raw.edge", path)


def test_seeded_numbers_are_in_the_range_of_the_contract(folder: Path, monkeypatch: pytest.MonkeyPatch):
    seen = []
    monkeypatch.setattr(module, "_rows", lambda one, two, pairs, kind, images, *_: (seen.append(images) or [], True))
    monkeypatch.setattr(module, "pictures", lambda data: ())
    run(folder / "raw.onnx", folder / "raw.onnx")
    assert seen[0].max() > 200 and seen[0].min() >= 0, "files without a bundle: 0..255, as DAMO-YOLO reads pictures"


def test_graphs_that_onnxruntime_does_not_run_leave_the_node_open(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object, **more: object) -> None:
        raise RuntimeError("EfficientNMS_TRT is not a registered function\nmore")

    monkeypatch.setattr(module, "first_jump", broken)
    side = open_side(str(folder / "raw.onnx"), "random", None)
    told = module._difference(side, side, np.zeros((1, 3, 32, 32), np.float32), "fp32")
    assert (
        told == "not looked for, ONNX Runtime does not run both graphs: EfficientNMS_TRT is not a registered function"
    )


def test_the_command_prints_detections(folder: Path):
    answer = command("compare", str(folder / "raw.edge"), str(folder / "few.edge"))
    assert answer.code == 0 and "missing" in answer.out and "holds" in answer.out
