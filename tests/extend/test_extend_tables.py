"""A precision and a target from outside the package, each in one file: asked for by name, exported to bundles that run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import edgesmith as command
from extend import precision_toy, target_toy

import edgesmith
from edgesmith.calibration.precisions import PRECISIONS
from edgesmith.exporter.plan.targets import TARGETS
from edgesmith.models.fixtures.fixtures import TRAINED
from edgesmith.runtime.errors import UserMistake

DIGIT = np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8)
FIXTURE = ("vit_ggem_mnist", TRAINED / "vit_ggem_mnist.safetensors")


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    for table in (PRECISIONS, TARGETS):
        monkeypatch.setattr(table, "_things", dict(table._things))
    precision_toy.add()
    target_toy.add()


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch):
    """What a device has that knows nothing of the extension."""

    def forget() -> None:
        for table, name in ((PRECISIONS, "int6"), (TARGETS, "appliance")):
            table._things.pop(name)

    return forget


def test_a_precision_is_exported_with_its_own_codes_to_a_bundle_that_runs(tmp_path: Path, forgotten):
    result = edgesmith.export(*FIXTURE, precision="6", out=tmp_path / "six.edge")
    assert result.plan.precision == "int6" and result.quantisation["form"] == "dynamic"
    assert all(row.passed for row in result.parity) and result.bundle.precision == "int6"
    graph = onnx.load(result.bundle.graph)
    codes = [
        onnx.numpy_helper.to_array(each) for each in graph.graph.initializer if each.data_type == onnx.TensorProto.INT8
    ]
    assert codes and max(int(np.abs(each.astype(int)).max()) for each in codes) == precision_toy.LEVELS
    forgotten()
    with edgesmith.load(result.path) as session:
        assert session(DIGIT).top() and all(row.passed for row in session.self_test())


def test_a_precision_goes_where_engines_have_what_it_is_like():
    assert "int6" in TARGETS["cpu"].offered and "int6" not in target_toy.APPLIANCE.offered
    assert TARGETS["jetpack7"].refuses("int6") == "" and TARGETS["jetpack5"].refuses("int6")
    with pytest.raises(UserMistake, match="int8 form dynamic"):  # its one form is a form of ONNX Runtime
        edgesmith.export(*FIXTURE, precision="int6", target="openvino", data="random", dry_run=True)


def test_a_target_is_exported_for_its_engine_and_its_opset(tmp_path: Path, forgotten):
    result = edgesmith.export(*FIXTURE, target="appliance", out=tmp_path / "box.edge")
    assert result.bundle.manifest["engine"] == "onnxruntime" and result.bundle.manifest["opset"] == 19
    assert {entry.domain for entry in onnx.load(result.bundle.graph).opset_import} == {""}
    forgotten()
    with edgesmith.load(result.path) as session:
        assert session.backend == "onnxruntime" and session(DIGIT).top()
    assert command("test", str(result.path)).code == 0


def test_a_target_says_why_it_refuses():
    with pytest.raises(UserMistake, match="appliance has no precision int8") as caught:
        edgesmith.export(*FIXTURE, target="appliance", precision="int8")
    assert caught.value.because == "our appliance has no integer instructions"


def test_the_same_thing_twice_changes_nothing_and_another_of_that_name_is_refused():
    precision_toy.add()
    target_toy.add()
    with pytest.raises(UserMistake, match="a precision int6 already"):
        edgesmith.register_precision(replace(precision_toy.INT6, bits=7))
    with pytest.raises(UserMistake, match="a target appliance already"):
        edgesmith.register_target(replace(target_toy.APPLIANCE, note="another"))
