"""Whole exports whose weights are too many for one file: the limit is lowered, so that a small network stands for one of gigabytes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from command_line import edgesmith
from digit_pictures import export, write_npz

from edgesmith import load
from edgesmith.exporter.plan.plan import make_plan
from edgesmith.graph import beside
from edgesmith.runtime.bundle.bundle import open_bundle
from edgesmith.runtime.errors import BundleRefused

DATA = "model.onnx.data"
LIMIT = 100_000  # bytes; the network has two million


@pytest.fixture(autouse=True)
def lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "ONE_FILE_BYTES", LIMIT)


def test_a_network_of_gigabytes_is_planned(tmp_path, monkeypatch):
    monkeypatch.setattr("edgesmith.exporter.plan.plan.GRAPHS_AT_ONCE", 0)  # whatever room this disk has
    assert make_plan("davit_giant", "random", out=tmp_path / "giant.edge").spec.parameters == 1_406_470_120


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
def test_the_bundle_has_its_weights_in_one_file_and_every_command_takes_it(tmp_path, precision):
    choices = {"data": write_npz(tmp_path / "digits.npz", 16, 32)} if precision.startswith("int") else {}
    made = export("davit_mnist", tmp_path / "a.edge", precision=precision, keep=True, **choices)
    folder = made.path
    assert made.bundle is not None and all(row.passed for row in made.parity)
    listed = made.bundle.manifest["files"]
    assert {"model.onnx", DATA} <= set(listed) and (folder / "model.onnx").stat().st_size < LIMIT * 4
    assert (folder / DATA).stat().st_nlink == 1, "onnx refuses weights that have a second name"
    most = {"fp32": 1.1, "fp16": 0.6, "int8": 0.45, "int4": 0.6}[precision]
    assert listed[DATA]["bytes"] <= most * 4 * made.plan.spec.parameters
    with load(folder) as session:
        assert all(row.passed for row in session.self_test())
    for words in (["inspect"], ["test"], ["compare", str(folder)]):
        answer = edgesmith(words[0], str(folder), *words[1:], "--json")
        assert answer.code == 0, answer.err
        json.loads(answer.out)
    assert made.artefacts is not None
    for path in made.artefacts.glob("*.onnx"):
        model = ir.load(path)
        large = [
            one.const_value
            for one in model.graph.initializers.values()
            if isinstance(one.const_value, ir.ExternalTensor)
        ]
        assert large and {str(one.location) for one in large} == {beside.NAME}
        assert all(np.isfinite(np.asarray(one.numpy(), np.float32)).all() for one in large[:3])
    assert {path.name for path in tmp_path.iterdir()} <= {"a.edge", "a.fp32.edge", "a.run", "digits.npz"}
    damaged(folder)


def damaged(folder: Path) -> None:
    """Cut off, or exchanged for another of the same size, it is no bundle any more."""
    data = (folder / DATA).read_bytes()
    for other in (data[:-8], data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]):
        (folder / DATA).write_bytes(other)
        with pytest.raises(BundleRefused, match="damaged"):
            open_bundle(folder)
    (folder / DATA).unlink()
    with pytest.raises(BundleRefused, match="not complete"):
        open_bundle(folder)
