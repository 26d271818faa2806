"""``--precision auto``: what is tried, what is chosen and why, and the export of the chosen one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import edgesmith as command
from digit_pictures import WEIGHTS, export

import edgesmith
from edgesmith.calibration.budget.choose import Latency
from edgesmith.exporter.bundle.rivals import auto
from edgesmith.exporter.engine import rtx
from edgesmith.models.fixtures.digits import digits
from edgesmith.runtime.bundle.bundle import open_bundle
from edgesmith.runtime.errors import UserMistake

pytestmark = pytest.mark.usefixtures("each_graph_traced_once")
DIGITS = 32, 100  # to calibrate with, to judge by
VIT = "vit_ggem_mnist"
needs_rtx = pytest.mark.skipif(not rtx.installed(), reason="TensorRT-RTX is not installed")


def clock(monkeypatch: pytest.MonkeyPatch, **times_ms: float) -> None:
    monkeypatch.setattr(auto._Trying, "latency", lambda _, variant: Latency(*[times_ms[variant.plan.precision]] * 3))


@pytest.mark.parametrize("fastest", ["int8", "fp32"])
def test_the_fastest_within_the_budget_is_exported(fastest: str, data: Path, tmp_path: Path, monkeypatch):
    clock(monkeypatch, **{"int8": 2.0, "fp32": 2.0, fastest: 1.0})
    result = export(VIT, tmp_path / "vit.edge", data=data, precision="auto", max_drop=2)
    manifest = open_bundle(result.path).manifest
    assert manifest["precision"] == fastest == manifest["choice"]["precision"]
    tried = {row["precision"]: row for row in manifest["choice"]["tried"]}
    assert set(tried) == {"int8", "fp32"} and all(row["holds"] for row in tried.values())
    assert tried["fp32"]["figures"]["drop"]["points"] == 0 and tried["fp32"]["figures"]["n"] == 100
    assert f"{fastest} is the fastest within the budget (time ratio 0.50 to" in manifest["choice"]["why"]
    assert manifest["choice"]["why"] in manifest["notes"]
    assert (manifest["quantisation"] is not None) == (fastest == "int8")
    assert not any("no photographs" in note for note in manifest["notes"])
    assert {row.inputs for row in result.parity if row.stage == "bundle"} >= {"pictures"}
    assert all(row.passed for row in result.parity)
    with edgesmith.load(result.path) as session:
        assert all(row.passed for row in session.self_test())


def test_the_real_clock_chooses_one_of_them(data: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("--weights", str(WEIGHTS / f"{VIT}.safetensors"), "--data", str(data), "--out", "vit.edge", "--json")
    answer = command("export", "--model", VIT, "--precision", "auto", "--max-drop", "2", *words)
    assert answer.code == 0, answer.err
    document = json.loads(answer.out)
    manifest = open_bundle(tmp_path / "vit.edge").manifest
    tried = {row["precision"]: row["latency_ms"] for row in manifest["choice"]["tried"]}
    assert all(0 < found < 1000 for found in tried.values())
    assert manifest["precision"] == document["plan"]["precision"]
    fastest = min(tried, key=lambda name: tried[name])
    assert manifest["precision"] == fastest or "no faster within the spread" in manifest["choice"]["why"]


def test_a_precision_that_loses_too_much_is_not_taken(data: Path, tmp_path: Path, monkeypatch):
    """int8 would be ten times as fast, and answers the class beside the right one."""
    clock(monkeypatch, int8=1.0, fp32=10.0)
    real = auto._Trying.runner

    def runner(self, variant):
        run = real(self, variant)
        return (lambda images: np.roll(run(images), 1, axis=1)) if variant.plan.precision == "int8" else run

    monkeypatch.setattr(auto._Trying, "runner", runner)
    result = export(VIT, tmp_path / "vit.edge", data=data, precision="auto", max_drop=2)
    choice = open_bundle(result.path).manifest["choice"]
    assert choice["precision"] == "fp32"
    assert {row["precision"]: row["holds"] for row in choice["tried"]} == {"int8": False, "fp32": True}


def test_no_precision_within_the_budget_is_exit_code_1(data: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clock(monkeypatch, int8=1.0, fp32=1.0)
    real = auto._Trying.runner
    monkeypatch.setattr(
        auto._Trying, "runner", lambda self, variant: lambda images: np.roll(real(self, variant)(images), 1, axis=1)
    )
    words = ("--weights", str(WEIGHTS / f"{VIT}.safetensors"), "--data", str(data), "--out", "vit.edge")
    answer = command("export", "--model", VIT, "--precision", "auto", *words)
    assert answer.code == 1 and "no precision holds the budget of 0.5 points" in answer.err, answer.err
    assert "int8: " in answer.err and "fp32: " in answer.err and "--max-drop" in answer.err
    assert list(tmp_path.iterdir()) == []


def test_one_picture_leaves_none_to_choose_by(tmp_path: Path):
    with pytest.raises(UserMistake, match="budget cannot be measured"):
        export(VIT, tmp_path / "vit.edge", data=list(digits("train")[0][:1]), precision="auto")
    assert list(tmp_path.iterdir()) == []


@needs_rtx
def test_on_a_gpu_the_order_of_the_target_decides_and_nothing_is_said_to_be_timed(data: Path, tmp_path: Path):
    result = export(VIT, tmp_path / "vit.edge", data=data, precision="auto", target="rtx", max_drop=2)
    choice = open_bundle(result.path).manifest["choice"]
    assert choice["precision"] == "fp16" == open_bundle(result.path).precision
    assert "not timed here" in choice["why"]
    tried = {row["precision"]: row for row in choice["tried"]}
    assert list(tried) == ["fp16", "fp8", "int8"] and tried["fp16"]["holds"]
    assert "fp16 comes first and holds" in tried["int8"]["why_not"] and tried["int8"]["latency_ms"] is None
    assert all(row.passed for row in result.parity)
