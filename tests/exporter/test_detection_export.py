"""A detector through the whole line: what the bundle says, that its boxes are PyTorch's, wherever suppression runs.

The weights are random and settled (models/families/damo_yolo/settle.py), so that pictures have tens of detections and parity sees something.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from command_line import edgesmith as command
from saturation import exact_products

import edgesmith
from edgesmith.exporter.pipeline import Result, export
from edgesmith.exporter.run.nouns import ExportedGraph
from edgesmith.exporter.run.pictures import packaged_pictures
from edgesmith.graph.edit import clone
from edgesmith.runtime.bundle.bundle import open_bundle
from edgesmith.runtime.errors import ParityFailed
from edgesmith.runtime.tasks.detection.task import NMS_OUTPUTS

MODEL, SIZE = "damo_yolo_nano_small", 160
PHOTOGRAPH = packaged_pictures()[0].path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Result:
    out = tmp_path_factory.mktemp("detector") / "plain.edge"
    return export(MODEL, image_size=SIZE, out=out, keep=True)


@pytest.fixture
def again(exported: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same export with other choices; its trace serves all of them."""
    assert exported.artefacts is not None
    graph = ir.load(exported.artefacts / "10-exported.onnx")

    def trace(module: object, shapes: object, *, name: str, outputs: tuple[str, ...], **_: object) -> ExportedGraph:
        return ExportedGraph(clone(graph), name, exported.plan.shapes, output_names=outputs)

    monkeypatch.setattr("edgesmith.exporter.trace.trace.trace", trace)
    return lambda **choices: export(MODEL, image_size=SIZE, out=tmp_path / "again.edge", **choices)


def boxes_of(path: Path, **thresholds: float) -> Any:
    with edgesmith.load(path) as session:
        return session(PHOTOGRAPH, **thresholds)


def test_the_bundle_says_what_its_boxes_are(exported: Result):
    manifest = open_bundle(exported.path).manifest
    assert manifest["task"] == "detection" and manifest["num_classes"] == 80
    assert manifest["detection"] == {"nms": "runtime", "score": 0.03, "iou": 0.65, "max_detections": 500}
    assert [one["name"] for one in manifest["outputs"]] == ["boxes", "scores"]
    assert manifest["input_contract"]["fit"] == "stretch" and manifest["input_contract"]["scale"] == 1
    assert open_bundle(exported.path).labels[0] == "person"
    pictures = manifest["detection_report"]["pictures"]
    assert pictures and all((exported.path / one["file"]).stat().st_size > 1000 for one in pictures)
    page = (exported.path / "report.html").read_text()
    assert all(f'src="{one["file"]}"' in page for one in pictures)


def test_every_stage_finds_the_boxes_of_pytorch(exported: Result):
    assert {row.stage for row in exported.parity} == {"rewritten", "bundle"}
    assert {row.inputs for row in exported.parity} == {"seeded", "pictures"}
    for row in exported.parity:
        assert row.passed and row.missing == row.extra == 0, row
        assert row.box_px < 0.1 and row.score_abs < 1e-4, row
    assert sum(row.detections for row in exported.parity if row.inputs == "pictures") > 100, "nothing was compared"


def test_the_device_tests_itself_by_matching(exported: Result):
    with edgesmith.load(exported.path) as session:
        row, pixels = session.self_test()
    assert row.passed and row.figures["detections"] > 10 and row.figures["missing"] == 0
    assert pixels.passed and pixels.output == "preprocessing" and pixels.max_abs == 0.0


def test_suppression_in_the_graph_finds_the_same(exported: Result, again: Any):
    result = again(nms="graph", max_detections=100)
    assert result.bundle is not None
    assert [one["name"] for one in result.bundle.manifest["outputs"]] == list(NMS_OUTPUTS)
    assert all(row.passed and row.missing == row.extra == 0 for row in result.parity)
    inside, outside = boxes_of(result.path), boxes_of(exported.path, max_detections=100)
    assert len(inside) == len(outside) > 10
    assert np.array_equal(inside.classes, outside.classes)
    np.testing.assert_allclose(inside.boxes, outside.boxes, atol=1e-3)


def test_no_suppression_hands_out_every_cell(exported: Result, again: Any):
    result = again(nms="none")
    assert result.bundle is not None
    cells = sum((SIZE // stride) ** 2 for stride in (8, 16, 32))
    assert result.bundle.manifest["outputs"][0]["shape"] == [1, cells, 4]
    weak = {"score": 0.01, "max_detections": 10**6}  # so low that boxes overlap
    assert len(boxes_of(result.path, **weak)) > len(boxes_of(exported.path, **weak))


def test_letterboxed_boxes_lie_in_the_picture(again: Any):
    result = again(fit="letterbox")
    assert result.bundle is not None and result.bundle.contract.anchor == "corner"
    assert all(row.passed for row in result.parity)
    tall = np.full((300, 90, 3), 255, np.uint8)
    with edgesmith.load(result.path) as session:
        found = session(tall)
    assert (found.boxes[:, [0, 2]] <= 90).all() and (found.boxes[:, [1, 3]] <= 300).all()


def test_own_classes_have_their_names(tmp_path: Path):
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\n")
    answer = command("export", "--model", MODEL, "--labels", str(names), "--dry-run", "--json")
    assert json.loads(answer.out)["plan"]["num_classes"] == 2


def test_sixteen_bit_keeps_the_decoding_in_float32(again: Any):
    result = again(precision="fp16", target="jetpack7")
    assert all(row.passed for row in result.parity), [str(row) for row in result.parity]
    assert result.bundle is not None
    assert {one["dtype"] for one in result.bundle.manifest["outputs"]} == {"float32"}
    assert any("decod" in island["why"] for island in result.bundle.manifest["precision_report"]["islands"])


@pytest.mark.may_leave_out
def test_a_graph_that_finds_other_boxes_fails_at_the_first_node(exported: Result, again: Any, monkeypatch):
    from edgesmith.exporter.patterns import rewrite

    real = rewrite.rewrite

    def damaged(*words: Any, **choices: Any) -> Any:
        result = real(*words, **choices)
        name, value = next((n, v) for n, v in result.model.graph.initializers.items() if len(v.shape or ()) == 4)
        value.const_value = ir.tensor(1.2 * value.const_value.numpy(), name=name)
        return result

    monkeypatch.setattr(rewrite, "rewrite", damaged)
    with pytest.raises(ParityFailed, match="does not compute what PyTorch computes") as failed:
        again()
    assert "first at Conv" in str(failed.value)


@exact_products
def test_int8_without_annotations_is_judged_by_its_own_boxes(again: Any):
    pictures = [path.path for path in packaged_pictures()] * 4
    arrays = [np.roll(_read(path), 17 * index, axis=1) for index, path in enumerate(pictures)]
    result = again(precision="int8", target="openvino", data=arrays, calib_images=8, eval_images=16)
    told = result.quantisation
    assert told is not None and told["share"] > 0.5
    assert told["accuracy"]["metric"] == "mAP of own boxes"
    heads = [row for row in told["nodes"] if row["kind"] == "head"]
    assert len(heads) == 6 and all(row["why"] for row in heads)


def _read(path: Path) -> np.ndarray:
    import cv2

    return cv2.imread(str(path))[:, :, ::-1].copy()


@pytest.mark.slow
def test_one_graph_for_open_batch_and_sides(tmp_path: Path):
    words = {"min_shapes": "images:1x3x96x96", "opt_shapes": "images:2x3x160x160", "max_shapes": "images:4x3x224x224"}
    result = export(MODEL, out=tmp_path / "open.edge", **words)
    assert len({row.shape for row in result.parity}) >= 4 and all(row.passed for row in result.parity)
