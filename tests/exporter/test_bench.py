"""What bench promises: candidates in turns with outputs compared, a table, and the result in the bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import edgesmith as command
from detection_bundle import judge as colours
from detection_bundle import write_detection_bundle
from small_bundle import write_small_bundle

import edgesmith
from edgesmith.exporter.commands.measure.bench import bench, columns, rows
from edgesmith.exporter.commands.measure.footprint import footprint
from edgesmith.exporter.commands.measure.peers import PEERS, chosen_peers, deploy_form, openvino_runner
from edgesmith.exporter.tasks.detection import bench as bench_detection
from edgesmith.runtime.bundle.bundle import open_bundle
from edgesmith.runtime.errors import UserMistake

SIZE = {"num_classes": 10, "image_size": 64}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bench") / "van.edge"
    edgesmith.export("van_mnist", batch="1..2", out=out, **SIZE)
    return out


@pytest.fixture
def bundle(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "van.edge"))


def test_a_bundle_is_measured_beside_pytorch_and_says_so(bundle: Path):
    result = bench(str(bundle), against="eager", rounds=4, memory=False)
    assert [row["name"] for row in result["rows"]] == ["PyTorch eager", "Edgesmith, onnxruntime, fp32"]
    assert result["rows"][0]["time_ratio"] == 1.0
    assert all(row["median_ms"] <= row["p90_ms"] <= row["p99_ms"] for row in result["rows"])
    assert result["rows"][1]["max_abs"] <= 2e-5, "a fast wrong answer is no answer"
    written = open_bundle(bundle)
    assert written.manifest["benchmark"]["rows"][1]["median_ms"] == result["rows"][1]["median_ms"]
    assert json.loads((bundle / "benchmark.json").read_text())["rounds"] == 4
    assert "PyTorch eager" in (bundle / "report.html").read_text()
    assert len(rows(result)) == 2


def test_memory_is_that_of_a_process_of_its_own(bundle: Path):
    (row,) = bench(str(bundle), against="none", rounds=2)["rows"]
    assert 20e6 < row["peak_rss_bytes"] < 500e6, "the runtime alone: no torch in that process"


def test_a_candidate_that_cannot_be_loaded_has_no_memory():
    assert footprint({"kind": "graph", "path": "missing.onnx", "threads": 1, "shape": [1, 3, 8, 8]}) is None


def test_a_batch_inside_the_range_is_measured_and_one_outside_is_not(bundle: Path):
    assert bench(str(bundle), against="none", rounds=2, batch=2, memory=False)["shape"] == [2, 3, 64, 64]
    with pytest.raises(UserMistake, match="1 to 2"):
        bench(str(bundle), against="none", rounds=2, batch=3)


def test_a_checkpoint_that_is_not_the_bundles_is_refused(bundle: Path, tmp_path: Path):
    from safetensors.torch import save_file

    from edgesmith.models import create

    path = tmp_path / "other.safetensors"
    save_file(create("van_mnist", num_classes=10, seed=5).state_dict(), path)
    with pytest.raises(UserMistake, match="not the checkpoint of this bundle"):
        bench(str(bundle), weights=str(path), against="eager", rounds=2)


def test_a_peer_that_does_not_work_is_named(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise RuntimeError("no compiler\nsecond line")

    monkeypatch.setattr("edgesmith.exporter.commands.measure.peers._plain", broken)
    result = bench(str(bundle), against="plain", rounds=2, memory=False)
    assert list(result["skipped"].values()) == ["RuntimeError: no compiler"]
    assert "no compiler" in rows(result)[-1][1]


def test_a_table_that_the_bundle_cannot_keep_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def read_only(*_: object) -> None:
        raise PermissionError(30, "Read-only file system", "small.edge")

    monkeypatch.setattr("edgesmith.exporter.commands.measure.bench.update_bundle", read_only)
    small = str(write_small_bundle(tmp_path / "small.edge"))
    answer = command("bench", small, "--against", "none", "--rounds", "2", "--no-memory")
    assert answer.code == 0 and "Edgesmith, onnxruntime, fp32" in answer.out, answer.err
    assert "not kept in the bundle: [Errno 30] Read-only file system" in answer.out and "report.html" not in answer.out
    told = json.loads(command("bench", small, "--against", "none", "--rounds", "2", "--no-memory", "--json").out)
    assert "Read-only" in told["not_kept"] and len(told["rows"]) == 1


def test_the_command_prints_a_table_and_json(tmp_path: Path):
    small = write_small_bundle(tmp_path / "small.edge")
    answer = command("bench", str(small), "--against", "none", "--rounds", "2", "--no-memory")
    assert answer.code == 0 and "median ms" in answer.out and "Edgesmith, onnxruntime, fp32" in answer.out
    answer = command("bench", str(small), "--against", "none", "--rounds", "2", "--no-memory", "--json")
    assert json.loads(answer.out)["rounds"] == 2


def test_openvino_is_a_peer_where_it_is_installed(monkeypatch: pytest.MonkeyPatch):
    assert chosen_peers(None) == list(PEERS)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert chosen_peers(None) == ["eager", "compile", "plain"]
    assert chosen_peers("openvino,eager") == ["eager", "openvino"], "asked for: then its row says what is missing"


def test_openvino_runs_the_plain_export_at_the_bundles_precision(bundle: Path):
    result = bench(str(bundle), against="eager,openvino", rounds=2)
    row = result["rows"][1]
    assert row["name"] == "plain torch.onnx.export + OpenVINO, f32"
    assert row["max_abs"] <= 2e-5 and row["peak_rss_bytes"] > 20e6


@pytest.mark.parametrize("nms", ["runtime", "graph"])
def test_a_detector_is_measured_from_picture_to_boxes(tmp_path: Path, nms: str):
    colours = write_detection_bundle(tmp_path / "colours.edge", nms=nms)
    result = bench(str(colours), against="none", rounds=2, memory=False)
    (row,) = result["rows"]
    assert row["matched" if nms == "runtime" else "max_abs"] == (1.0 if nms == "runtime" else 0.0)
    told = result["end_to_end"]
    steps = sum(told[key] for key in ("preprocess_ms", "infer_ms", "postprocess_ms"))
    assert 0 < steps < 1.5 * told["total_ms"] and told["boxes"] > 0
    assert "From picture to boxes" in (colours / "report.html").read_text()
    assert all(len(line) == len(columns(result)) for line in rows(result))


def test_detections_that_differ_show():
    from edgesmith.runtime.tasks.detection.detection import DetectionRule

    rule = DetectionRule("runtime", score=0.5, iou=0.3)
    images = np.zeros((1, 3, 32, 32), np.float32)
    images[0, 0, :8, :8] = images[0, 2, 24:, 24:] = 1
    expected = colours(images)
    assert bench_detection.agreement(rule, expected, expected, False)["matched"] == 1.0
    lost = expected.copy()
    lost[0, 0, 4] = 0.1
    found = bench_detection.agreement(rule, expected, lost, False)
    assert found["matched"] == pytest.approx(2 / 3) and found["max_abs"] == pytest.approx(0.9)
    lost[0, 0, 0] = np.nan
    assert bench_detection.agreement(rule, expected, lost, False) == {"max_abs": np.inf, "box_px": np.inf, "matched": 0}


def test_the_fair_peer_of_a_detector_is_its_deploy_form():
    from edgesmith.models import create
    from edgesmith.models.families.damo_yolo.network import LAYOUTS, DamoYolo

    module, words = deploy_form(DamoYolo(LAYOUTS["tiny"]).eval())
    assert words == " (deploy form)" and getattr(module, "deploy", False)
    assert not any("rbr_dense" in name for name in module.state_dict()), "no branch is left"
    other = create("van_mnist", **SIZE)
    assert deploy_form(other) == (other, "")


def test_openvino_hands_out_boxes_and_scores_by_name(tmp_path: Path):
    images = np.random.default_rng(0).random((1, 3, 32, 32), dtype=np.float32)
    path = write_detection_bundle(tmp_path / "colours.edge") / "model.onnx"
    np.testing.assert_allclose(openvino_runner(path, 1, "f32")(images), colours(images), atol=1e-6)


@pytest.mark.slow
def test_every_peer_runs_or_says_why_not(bundle: Path):
    result = bench(str(bundle), rounds=3)
    assert len(result["rows"]) + len(result["skipped"]) == 5
    assert "plain torch.onnx.export + ONNX Runtime" in [row["name"] for row in result["rows"]]
