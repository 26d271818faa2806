"""A rewrite from outside the package, in one file (pattern_toy.py): it runs in an export, is told in the bundle, can be skipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from extend import model_toy, pattern_toy

import edgesmith
from edgesmith.exporter.patterns.order import passes_for

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


@pytest.fixture(autouse=True)
def toys(own_tables: None) -> None:
    model_toy.add()  # its head is such a mean
    pattern_toy.add()
    pattern_toy.add()  # a second time changes nothing


def _ops(bundle: Path) -> list[str]:
    return [node.op_type for node in ir.load(bundle / "model.onnx").graph]


def test_it_changes_the_graph_of_an_export_whose_bundle_holds_and_runs(tmp_path: Path):
    result = edgesmith.export("toy", out=tmp_path / "toy.edge")
    assert "GlobalAveragePool" in _ops(result.path) and "ReduceMean" not in _ops(result.path)
    assert all(row.passed for row in result.parity)
    assert result.bundle is not None
    (told,) = (one for one in result.bundle.manifest["rewrite"]["passes"] if one["name"] == "PoolMeans")
    assert told["count"] == 1
    with edgesmith.load(result.path) as session:
        assert session(PICTURE).best.label in model_toy.TOY_SMALL.label_names


def test_it_is_skipped_by_its_name(tmp_path: Path):
    result = edgesmith.export("toy", out=tmp_path / "toy.edge", skip=["PoolMeans", "PoolMaps"])  # ours does the same
    assert "ReduceMean" in _ops(result.path)


def test_it_runs_in_the_orders_that_it_names():
    assert pattern_toy.PoolMeans in passes_for("cpu") and pattern_toy.PoolMeans not in passes_for("rtx")
