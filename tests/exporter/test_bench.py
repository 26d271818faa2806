"""What bench promises: candidates in turns with outputs compared, a table, and the result in the bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import edgesmith as command
from small_bundle import write_small_bundle

import edgesmith
from edgesmith.exporter.bench import bench, rows
from edgesmith.exporter.footprint import footprint
from edgesmith.runtime.bundle import open_bundle
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
    assert result["rows"][0]["ratio"] == 1.0
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

    monkeypatch.setattr("edgesmith.exporter.peers._plain", broken)
    result = bench(str(bundle), against="plain", rounds=2, memory=False)
    assert list(result["skipped"].values()) == ["RuntimeError: no compiler"]
    assert "no compiler" in rows(result)[-1][1]


def test_the_command_prints_a_table_and_json(tmp_path: Path):
    small = write_small_bundle(tmp_path / "small.edge")
    answer = command("bench", str(small), "--against", "none", "--rounds", "2", "--no-memory")
    assert answer.code == 0 and "median ms" in answer.out and "Edgesmith, onnxruntime, fp32" in answer.out
    answer = command("bench", str(small), "--against", "none", "--rounds", "2", "--no-memory", "--json")
    assert json.loads(answer.out)["rounds"] == 2


@pytest.mark.slow
def test_every_peer_runs(bundle: Path):
    result = bench(str(bundle), rounds=3)
    assert len(result["rows"]) + len(result["skipped"]) == 4
    assert "plain torch.onnx.export + ONNX Runtime" in [row["name"] for row in result["rows"]]
