"""The tables of runtime/report/schema.py and runtime/bundle/contents.py at the door: sealed or not, what is of another kind is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from detection_bundle import write_detection_bundle
from sealed import edit_manifest

from edgesmith.runtime.bundle.bundle import open_bundle
from edgesmith.runtime.bundle.report import write_report
from edgesmith.runtime.errors import BundleRefused
from edgesmith.runtime.report.kinds import COUNT, FIGURE, TEXT, either, fields, listed, named

OLD = Path(__file__).parents[1] / "data" / "bundles"
ROW = {"name": "edgesmith", "median_ms": 1.0, "p90_ms": 2}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parity": [1]}, "parity[0]: 1"),
        ({"parity": [{"cosine": [1]}]}, "parity[0].cosine: [1]"),
        ({"parity": [{"passed": "yes"}]}, "parity[0].passed: 'yes'"),
        ({"stages": [{"seconds": {}}]}, "stages[0].seconds: {}"),
        ({"stages": [None]}, "stages[0]: None"),
        ({"engines": 5}, "engines: 5"),
        ({"engines": [{"file": 7}]}, "engines[0].file: 7"),
        ({"engines": [{"file": "model.onnx", "xray": []}]}, "engines[0].xray: []"),
        ({"rewrite": {"passes": [[]]}}, "rewrite.passes[0]: []"),
        ({"rewrite": {"passes": [{"refused": [1]}]}}, "rewrite.passes[0].refused[0]: 1"),
        ({"rewrite": {"nodes_after": {"Add": "2"}}}, "rewrite.nodes_after.Add: '2'"),
        ({"rewrite": {"nodes_after": {"Add": None}}}, "rewrite.nodes_after.Add: None"),
        ({"rewrite": {"fused": {"ops": ["a"]}}}, "rewrite.fused.ops: ['a']"),
        ({"precision_report": {"islands": [0]}}, "precision_report.islands[0]: 0"),
        ({"quantisation": {"nodes": [{"reasons": "x"}]}}, "quantisation.nodes[0].reasons: 'x'"),
        ({"quantisation": {"nodes": [{"activation_sqnr_db": -1e9}]}}, "activation_sqnr_db: -1000000000.0"),
        ({"quantisation": {"budget": {"curve": [{"drop": 3}]}}}, "quantisation.budget.curve[0].drop: 3"),
        ({"benchmark": {"rows": [{**ROW, "median_ms": "inf"}]}}, "benchmark.rows[0].median_ms: 'inf'"),
        ({"benchmark": {"rows": [{"name": "x"}]}}, "benchmark.rows[0].median_ms: None"),
        ({"benchmark": {"machine": []}}, "benchmark.machine: []"),
        ({"licence": {"code": [1]}}, "licence.code: [1]"),
        ({"weights": 3}, "weights: 3"),
        ({"files": {"model.onnx": 3}}, "files.model.onnx: 3"),
        ({"files": {"model.onnx": {"sha256": "x", "bytes": -1}}}, "files.model.onnx.bytes: -1"),
        ({"files": {"model.onnx": {"sha256": "x"}}}, "files.model.onnx.bytes: None"),
        ({"inputs": [3]}, "inputs[0]: 3"),
        ({"inputs": []}, "graph main: inputs []"),
        ({"outputs": []}, "graph main: outputs []"),
        ({"labels": "golden"}, "labels: 'golden'"),
        ({"detection_report": {"pictures": [{"missing": "inf"}]}}, "detection_report.pictures[0].missing: 'inf'"),
        ({"detection_report": {"pictures": [{"rows": [{"box": 1}]}]}}, "detection_report.pictures[0].rows[0].box: 1"),
        ({"detection_report": {"map": []}}, "detection_report.map: []"),
        ({"parity": [{"flips": 1.5}]}, "parity[0].flips: 1.5"),
        ({"benchmark": {"rows": [ROW], "end_to_end": 3}}, "benchmark.end_to_end: 3"),
    ],
)
@pytest.mark.parametrize("old", [False, True], ids=["schema 2, sealed", "schema 1, of version 0.1.0"])
def test_a_value_of_another_kind_is_named(tmp_path: Path, change: dict[str, Any], said: str, old: bool):
    place = tmp_path / "detector.edge"
    if old:
        shutil.copytree(OLD / "detector_int8", place)
        manifest = json.loads((place / "manifest.json").read_text())
        (place / "manifest.json").write_text(json.dumps({**manifest, **change}))
    else:
        write_detection_bundle(place)
        edit_manifest(place, **change)
    with pytest.raises(BundleRefused) as error:
        open_bundle(place)
    assert said in error.value.found
    assert error.value.expected and error.value.attempt


def test_what_is_not_known_may_be_null_and_what_is_new_may_be_anything(tmp_path: Path):
    place = write_detection_bundle(tmp_path / "detector.edge")
    known = (
        "paper",
        "licence",
        "weights",
        "parity",
        "stages",
        "rewrite",
        "precision_report",
        "quantisation",
        "benchmark",
    )
    edit_manifest(place, **dict.fromkeys((*known, "engines", "notes", "detection_report", "num_classes", "gpu_arch")))
    edit_manifest(place, written_by_a_newer_version=[{"of": ["any", {"kind": None}]}])
    assert "small_detector" in write_report(open_bundle(place).manifest)


@pytest.mark.parametrize(
    ("shape", "size"),
    [([1, 3, 9, 8], "(1, 3, 9, 8)"), ([1, 1, 16, 16], "(1, 1, 16, 16)"), ([1, 3], "(1, 3)"), ([], "()")],
)
def test_an_input_that_takes_no_picture_of_the_contract_is_refused(tmp_path: Path, shape: list[int], size: str):
    place = write_detection_bundle(tmp_path / "detector.edge")
    edit_manifest(place, lambda manifest: manifest["inputs"][0].update(shape=shape))
    with pytest.raises(BundleRefused, match="contradicts itself") as error:
        open_bundle(place)
    assert size in error.value.found


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("boxes", [1, 48, 5], "boxes (1, 48, 5), not (B, N, 4)"),
        ("scores", [1, 48], "scores (1, 48), not (B, N, K)"),
        ("scores", [1, 47, 3], "scores (1, 47, 3), not (B, N, K)"),
    ],
)
def test_outputs_that_are_no_detections_are_refused(tmp_path: Path, name: str, shape: list[int], said: str):
    place = write_detection_bundle(tmp_path / "detector.edge")

    def change(manifest: dict[str, Any]) -> None:
        for spec in manifest["outputs"]:
            spec["shape"] = shape if spec["name"] == name else [1, 48, spec["shape"][2]]

    edit_manifest(place, change)
    with pytest.raises(BundleRefused, match="no detections") as error:
        open_bundle(place)
    assert error.value.found == said


def test_a_shape_that_is_too_large_at_its_smallest_is_refused(tmp_path: Path):
    place = write_detection_bundle(tmp_path / "detector.edge", batch="batch")
    bounds = {"min": [10**17, 3, 16, 16], "opt": None, "max": None}
    edit_manifest(place, lambda manifest: manifest["inputs"][0].update(bounds))
    with pytest.raises(BundleRefused, match="a tensor that cannot be"):
        open_bundle(place)


def test_a_place_is_told_from_the_outside_in():
    check = fields({"rows": listed(named(either(COUNT, FIGURE)))}, needed=("rows",))
    assert check({"rows": [{"a": 1, "b": "inf"}], "more": {}}) is None
    wrong = check({"rows": [{"a": 1}, {"b": "x"}]})
    assert wrong is not None and (wrong.place, wrong.value) == ("rows[1].b", "x")
    wrong = check({})
    assert wrong is not None and wrong.place == "rows"
    wrong = TEXT("x" * 1001)
    assert wrong is not None and "1,000" in wrong.expected
