"""int8 of all five trained families on every engine, judged on the digits that nobody trained on; and a killed export."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from digit_pictures import NAMES, WEIGHTS, export

import edgesmith
from edgesmith.calibration.statistics.cache import read
from edgesmith.exporter.engine import rtx
from edgesmith.models.fixtures.digits import digits
from edgesmith.runtime.bundle.bundle import open_bundle

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("each_graph_traced_once")]
DIGITS = 1000, 1000  # to calibrate with, to judge by
needs_rtx = pytest.mark.skipif(not rtx.installed(), reason="TensorRT-RTX is not installed")
TARGETS = ("cpu", "openvino", pytest.param("rtx", marks=needs_rtx))
TRANSFORMERS = ("vit_ggem_mnist", "convit_mnist", "davit_mnist")
LOSS_POINTS, SQNR_DB = 0.3, 33.0


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", NAMES)
def test_int8_keeps_the_accuracy_of_every_family(name: str, target: str, data: Path, tmp_path: Path):
    result = export(name, tmp_path / "net.edge", data=data, precision="int8", target=target)
    told = open_bundle(result.path).manifest["quantisation"]
    accuracy = told["accuracy"]
    assert told["data"]["images"] == 128 and accuracy["drop"]["n"] == 1000
    assert accuracy["drop"]["points"] <= LOSS_POINTS + 1e-9
    assert accuracy["sqnr_db"] >= SQNR_DB
    assert all(row.passed for row in result.parity) and (result.path / "report.html").is_file()
    if target == "rtx":
        if name in TRANSFORMERS:  # of the MACs with weights: products of attention have no Q/DQ
            assert told["share_of_weighted"] >= 0.95
        assert told["xray"]["attention_lost"] == []
        assert told["xray"]["quantised"]["fused_attention"] >= told["xray"]["fp16"]["fused_attention"]
        return
    pictures, labels = digits("held_out")
    with edgesmith.load(result.path) as session:
        right = sum(session(picture).top(1)[0].index == label for picture, label in zip(pictures, labels, strict=True))
    assert 100 * right / len(labels) >= accuracy["reference"]["value"] - LOSS_POINTS - 0.1, "as the engine runs it"


@pytest.mark.parametrize("name", ["convit_tiny", "davit_tiny"])
def test_a_full_size_file_is_less_than_a_third_of_float32(name: str, tmp_path: Path):
    result = edgesmith.export(name, out=tmp_path / "net.edge", precision="int8", check=False)
    sizes = open_bundle(result.path).manifest["quantisation"]["sizes"]
    assert sizes["quantised"] <= 0.30 * sizes["fp32"]
    assert sizes["quantised"] == (result.path / "model.onnx").stat().st_size
    if result.beside is not None:
        assert sizes["quantised"] <= 0.30 * (result.beside.path / "model.onnx").stat().st_size


SLOWLY = """
import signal, sys
import edgesmith
from edgesmith.exporter.run.stages import Silent

class Slow(Silent):
    def step(self, note, done, total):
        if note == "calibrating":
            print(done, flush=True)
            if done >= 72:
                signal.pause()  # the end must not come before the kill

weights, data, folder = sys.argv[1:4]
edgesmith.export("convit_mnist", weights=weights, data=data, out=folder + "/net.edge", precision="int8", int8_form="static",
                 calib_cache=folder + "/cache", progress=Slow())
"""


def test_an_export_killed_while_it_calibrates_continues_with_the_same_scales(data: Path, tmp_path: Path):
    weights = WEIGHTS / "convit_mnist.safetensors"
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    whole.mkdir()
    command = [sys.executable, "-c", SLOWLY, str(weights), str(data), str(killed)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip().isdigit() and int(line) >= 72:
            break
    child.send_signal(signal.SIGKILL)
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    assert not (killed / "net.edge").exists()
    (saved,) = (killed / "cache").glob("*.npz")
    done = read(saved)[0]["done"]
    assert 0 < done < 128
    choices = {"data": data, "precision": "int8", "int8_form": "static"}
    again = export("convit_mnist", killed / "net.edge", calib_cache=killed / "cache", **choices)
    fresh = export("convit_mnist", whole / "net.edge", calib_cache=whole / "cache", **choices)
    assert any(f"continued after {done} of 128 images" in note for note in again.notes)
    assert again.quantisation is not None and fresh.quantisation is not None
    assert again.quantisation["scales_sha256"] == fresh.quantisation["scales_sha256"]
    assert (killed / "net.edge" / "model.onnx").read_bytes() == (whole / "net.edge" / "model.onnx").read_bytes()
