"""The engine of a quantised export beside that of fp16: what the report says, and what is given back where fusion broke."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from digit_pictures import export

from edgesmith.exporter.bundle.rivals import beside_fp16
from edgesmith.exporter.engine import rtx
from edgesmith.exporter.engine.audit import Audited, audit
from edgesmith.exporter.pipeline import Result
from edgesmith.runtime.backends.engine_build import BuildFailed
from edgesmith.runtime.bundle.bundle import open_bundle

pytestmark = pytest.mark.usefixtures("each_graph_traced_once")
DIGITS = 32, 40  # to calibrate with, to judge by
VIT = "vit_ggem_mnist"
JETSON = {"precision": "int8", "target": "jetpack6"}
WHY = "with int8 here the attention beside it is not one kernel any more"
needs_rtx = pytest.mark.skipif(not rtx.installed(), reason="TensorRT-RTX is not installed")


@pytest.fixture(scope="module")
def jetson(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return export(VIT, tmp_path_factory.mktemp("jetson") / "vit.edge", data=data, **JETSON)


@needs_rtx
def test_a_target_that_builds_on_the_device_is_read_from_a_stand_in(jetson: Result):
    told = open_bundle(jetson.path).manifest["quantisation"]
    assert told["xray"]["builder"] == "TensorRT-RTX for sm86, a stand-in for the device's own builder"
    assert told["xray"]["given_back"] == {} and told["xray"]["attention_lost"] == []
    assert told["xray"]["sites"] == sum(row["quantised"] for row in told["nodes"]) > 0
    assert not (jetson.path / "engines").exists(), "the engine is the device's own to build"
    assert "may win" in told["xray"]["verdict"] or "expect fp16 to win" in told["xray"]["verdict"]


@needs_rtx
def test_what_was_given_back_is_what_ships_and_what_is_told(jetson: Result, data: Path, tmp_path: Path, monkeypatch):
    kept: list[str] = []

    def build_audited(make, float16, build) -> Audited:
        """As if the first engine had lost the attention beside two of its sites."""
        _, nodes = make({})
        kept[:] = sorted(nodes)[:2]
        model, left = make(dict.fromkeys(kept, WHY))
        engine = build(model)
        return Audited(model, engine, audit(engine, float16, left), dict.fromkeys(kept, WHY), 2)

    monkeypatch.setattr(beside_fp16, "build_audited", build_audited)
    result = export(VIT, tmp_path / "vit.edge", data=data, **JETSON)
    before, told = (open_bundle(found.path).manifest["quantisation"] for found in (jetson, result))
    assert told["xray"]["given_back"] == dict.fromkeys(kept, WHY) and told["xray"]["rounds"] == 2
    rows = {row["node"]: row for row in told["nodes"]}
    assert all(not rows[node]["quantised"] and rows[node]["why"] == WHY for node in kept)
    lost = sum(rows[node]["share"] for node in kept)
    assert told["share"] == pytest.approx(before["share"] - lost) and lost > 0
    assert told["scales_sha256"] != before["scales_sha256"]
    assert told["accuracy"]["sqnr_db"] > before["accuracy"]["sqnr_db"], "judged again, with fewer nodes in int8"
    assert told["xray"]["sites"] == before["xray"]["sites"] - 2
    assert all(row.passed for row in result.parity)
    shipped = onnx.load(result.path / "model.onnx").graph
    makers = {output: node.op_type for node in shipped.node for output in node.output}
    assert all(makers.get(node.input[1]) != "DequantizeLinear" for node in shipped.node if node.name in kept)
    assert sum(node.name in kept for node in shipped.node) == 2
    assert WHY in (result.path / "report.html").read_text()


def test_the_stand_in_is_the_nearest_chip_that_has_the_precision():
    """Ada (sm89) has no fp4; Blackwell (sm120) is the first of ours that has."""
    assert [beside_fp16.stand_in(None, precision) for precision in ("int8", "fp8", "int4", "nvfp4")] == [
        "sm89", "sm89", "sm89", "sm120",
    ]  # fmt: skip
    assert (beside_fp16.stand_in("sm87", "int8"), beside_fp16.stand_in("sm110", "nvfp4")) == ("sm86", "sm120")


@needs_rtx
def test_a_stand_in_that_does_not_build_the_graph_ends_no_export(data: Path, tmp_path: Path, monkeypatch):
    def refused(*_, **__):
        raise BuildFailed("TensorRT-RTX did not build the graph", found="no implementation")

    monkeypatch.setattr(rtx, "build_rtx", refused)
    result = export(VIT, tmp_path / "vit.edge", data=data, **JETSON)
    assert "xray" not in open_bundle(result.path).manifest["quantisation"]
    (audited,) = [stage for stage in result.stages if stage.name == "audit"]
    assert "did not build the graph" in audited.detail and "stands in" in audited.detail


def test_without_the_builder_a_device_target_has_no_audit(data: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(rtx, "installed", lambda: False)
    result = export(VIT, tmp_path / "vit.edge", data=data, **JETSON)
    assert "audit" not in [stage.name for stage in result.stages]
    assert "xray" not in open_bundle(result.path).manifest["quantisation"]
