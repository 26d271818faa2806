"""The whole flow: what a bundle holds, what a failure leaves, and what an interrupt leaves (nothing)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from command_line import edgesmith as command

import edgesmith
from edgesmith.exporter.pipeline import Result
from edgesmith.exporter.run.nouns import ExportedGraph, RewrittenGraph
from edgesmith.graph.edit import clone
from edgesmith.runtime.bundle.bundle import open_bundle
from edgesmith.runtime.errors import ParityFailed

SMALL = {"num_classes": 5, "image_size": (64, 96)}  # a quarter of the work of 224x224, and not square
WORDS = ("export", "--model", "van_b0", "--num-classes", "5", "--imgsz", "64", "96")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("pipeline")
    return edgesmith.export("van_b0", out=folder / "van.edge", keep=True, verify_each=True, **SMALL)


@pytest.fixture
def traced_once(exported: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing takes most of the time of these tests; the graph of the first export serves the others."""
    assert exported.artefacts is not None
    graph = ir.load(exported.artefacts / "10-exported.onnx")

    def trace(module: object, shapes: object, *, name: str, **_: object) -> ExportedGraph:
        return ExportedGraph(clone(graph), name, exported.plan.shapes)

    monkeypatch.setattr("edgesmith.exporter.trace.trace.trace", trace)


def test_the_bundle_is_whole_and_says_what_was_done(exported: Result):
    bundle = open_bundle(exported.path)
    assert {"model.onnx", "labels.json", "golden.npz", "report.html"} <= set(bundle.manifest["files"])
    assert bundle.manifest["model"] == "van_b0" and bundle.manifest["num_classes"] == 5
    assert bundle.manifest["weights"]["source"].startswith("random")
    assert bundle.manifest["licence"]["code"] and bundle.manifest["licence"]["weights"]
    assert sum(bundle.manifest["rewrite"]["nodes_before"].values()) > 0
    assert len(bundle.labels) == 5
    assert bundle.contract.size == (64, 96)


def test_every_stage_is_judged_on_numbers_and_on_pictures(exported: Result):
    rows = {(row.stage, row.inputs): row for row in exported.parity}
    assert {("rewritten", "seeded"), ("rewritten", "pictures"), ("bundle", "seeded"), ("bundle", "pictures")} <= set(
        rows
    )
    assert all(row.passed and row.top1 == 1.0 for row in rows.values())
    assert rows["rewritten", "pictures"].count >= 6, "scikit-image and scikit-learn bring at least six photographs"
    written = open_bundle(exported.path).manifest["parity"]
    assert [row["max_abs"] for row in written] == [row.max_abs for row in exported.parity]


def test_the_stages_come_in_the_order_of_the_story(exported: Result):
    assert [stage.name for stage in exported.stages] == [
        "create", "trace", "rewrite", "precision", "build", "verify", "bundle"
    ]  # fmt: skip
    assert all(stage.seconds >= 0 and stage.detail for stage in exported.stages)


def test_the_numbered_artefacts_are_kept_when_asked(exported: Result):
    assert exported.artefacts is not None and exported.artefacts.name == "van.run"
    assert {"10-exported.onnx", "20-rewritten.onnx"} <= {path.name for path in exported.artefacts.iterdir()}


def test_nothing_hidden_is_left_beside_the_bundle(exported: Result):
    assert {path.name for path in exported.path.parent.iterdir()} == {"van.edge", "van.run"}


def test_the_bundle_runs_and_tests_itself(exported: Result):
    picture = np.random.default_rng(0).integers(0, 255, (80, 120, 3), dtype=np.uint8)
    with edgesmith.load(exported.path) as session:
        assert all(row.passed for row in session.self_test())
        answer = session(picture)
    assert len(answer.top(5)) == 5 and sum(guess.probability for guess in answer.top(5)) == pytest.approx(1.0)


def test_json_is_one_document_and_the_stages_go_to_stderr(traced_once: None, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = command(*WORDS, "--out", "van.edge", "--json")
    assert answer.code == 0, answer.err
    document = json.loads(answer.out)
    assert document["bundle"] == "van.edge" and document["plan"]["model"] == "van_b0"
    assert all(row["passed"] for row in document["parity"])
    assert [line.split()[0] for line in answer.err.splitlines()][:2] == ["create", "trace"]


def test_the_last_lines_say_what_to_do_next(traced_once: None, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = command(*WORDS, "--out", "van.edge")
    assert answer.code == 0, answer.err
    assert "edgesmith run van.edge" in answer.out and "van.edge/report.html" in answer.out
    assert not answer.err


def broken_rewrite(exported: ExportedGraph, *_: object, **__: object) -> RewrittenGraph:
    """A rewrite with a bug: the first convolution's bias is off by one percent of a unit."""
    model = clone(exported.model)
    conv = next(node for node in model.graph if node.op_type == "Conv" and len(node.inputs) > 2)
    bias = conv.inputs[2]
    assert bias is not None and bias.const_value is not None
    bias.const_value = ir.tensor(bias.const_value.numpy() + np.float32(0.01), name=bias.name)
    return RewrittenGraph(model, exported.name, exported.shapes, "cpu", ())


@pytest.mark.may_leave_out
def test_a_graph_that_computes_something_else_fails_at_the_first_node(traced_once: None, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgesmith.exporter.patterns.rewrite.rewrite", broken_rewrite)
    answer = command(*WORDS, "--out", "van.edge")
    assert answer.code == 1, answer.err
    assert "does not compute what PyTorch computes" in answer.err and "Traceback" not in answer.err
    assert "rewriting changes the numbers, first at Conv" in answer.err
    assert "van.run" in answer.err and (tmp_path / "van.run" / "20-rewritten.onnx").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"van.run"}, "no bundle, no temporary folder"


@pytest.mark.may_leave_out
def test_no_check_writes_the_bundle_and_the_bundle_says_so(traced_once: None, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("edgesmith.exporter.patterns.rewrite.rewrite", broken_rewrite)
    result = edgesmith.export("van_b0", out=tmp_path / "van.edge", check=False, **SMALL)
    assert not all(row.passed for row in result.parity)
    assert any("does NOT hold" in note for note in open_bundle(result.path).manifest["notes"])


def test_verify_each_names_the_pass(traced_once: None, tmp_path: Path, monkeypatch):
    def rewrite(exported: ExportedGraph, *_: object, verify_each, **__: object) -> RewrittenGraph:
        verify_each(clone(exported.model), "FuseNothing")
        broken = broken_rewrite(exported)
        verify_each(broken.model, "FuseTooMuch")
        return broken

    monkeypatch.setattr("edgesmith.exporter.patterns.rewrite.rewrite", rewrite)
    with pytest.raises(ParityFailed, match="the pass FuseTooMuch changes the numbers") as failure:
        edgesmith.export("van_b0", out=tmp_path / "van.edge", verify_each=True, **SMALL)
    assert "Conv" in str(failure.value) and "--skip FuseTooMuch" in str(failure.value)


@pytest.mark.parametrize(
    "stage",
    [
        "patterns.rewrite.rewrite",
        "precision.typed.to_precision",
        "bundle.parity.check",
        "bundle.pack.write_report",
    ],
)
def test_an_interrupt_leaves_nothing(stage: str, traced_once: None, tmp_path: Path, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(f"edgesmith.exporter.{stage}", interrupted)
    answer = command(*WORDS, "--out", "van.edge", "--keep")
    assert answer.code == 130 and "interrupted" in answer.err and "Traceback" not in answer.err
    assert list(tmp_path.iterdir()) == []


def test_force_replaces_a_bundle(traced_once: None, tmp_path: Path):
    first = edgesmith.export("van_b0", out=tmp_path / "van.edge", **SMALL)
    assert first.bundle and first.bundle.precision == "fp32"
    edgesmith.export("van_b0", out=tmp_path / "van.edge", overwrite=True, precision="fp16", **SMALL)
    assert open_bundle(tmp_path / "van.edge").precision == "fp16"


def test_a_plan_is_frozen(exported: Result):
    with pytest.raises(dataclasses.FrozenInstanceError):
        exported.plan.precision = "fp16"  # type: ignore[misc]
