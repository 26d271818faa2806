"""The tables of the detection benchmarks say what was measured, and a row that failed says so."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"


def script(name, monkeypatch):
    """One of benchmarks/*.py as a module; they find each other beside themselves."""
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_latencies_are_told_with_their_ratios(monkeypatch: pytest.MonkeyPatch):
    module = script("detection", monkeypatch)
    rows = [{"row": "PyTorch eager, deploy form", "cpu_ms": 80.0, "wall_ms": 81.0, "ratio": 1.0, "low": 1.0, "high": 1.0, "max_abs": 0.0, "matched": 1.0},
            {"row": "ours, cpu int8", "cpu_ms": 20.0, "wall_ms": 21.0, "ratio": 0.25, "low": 0.24, "high": 0.26, "max_abs": 0.3, "matched": 0.97, "share": 0.8,
             "end_to_end": {"total_ms": 23.0, "preprocess_ms": 1.0, "infer_ms": 20.5, "postprocess_ms": 1.5, "boxes": 7}}]  # fmt: skip
    model = {"model": "d@640", "rows": rows, "pairs": [{"ratio": 0.5}], "skipped": {"torch.compile, deploy form": "no compiler"},
             "keep": {"cpu_ms": 0.8, "above": 426, "cells": 3549, "kept": 384}}  # fmt: skip
    page = module.written(
        {"date": "d", "command": "c", "rounds": 3, "machine": {}, "versions": {"torch": "2"}, "models": [model]}
    )
    assert "| ours, cpu int8 | 20.0 | 21.0 | 0.25 (0.24 to 0.26) | 3e-01 | 97.0% |" in page
    assert "torch.compile, deploy form | not measured: no compiler" in page
    assert "0.80 ms CPU for 426 candidates of 3549 cells, 384 kept" in page
    assert "picture to boxes: 23.0 ms wall (preprocess 1.0, infer 20.5, postprocess 1.5), 7 boxes; 80.0% of the MACs in int8" in page  # fmt: skip


def test_calibration_crops_are_the_same_every_time_and_of_many_sizes(monkeypatch: pytest.MonkeyPatch):
    module = script("detection", monkeypatch)
    first, second = module.crops(), module.crops()
    assert len(first) == module.CROPS and all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({image.shape for image in first}) > 4 and all(image.dtype == np.uint8 for image in first)


def test_accuracies_are_told_with_what_was_lost_and_why(monkeypatch: pytest.MonkeyPatch):
    module = script("detection_accuracy", monkeypatch)
    nodes = [{"node": "/head/reg", "kind": "conv", "share": 0.02, "quantised": False, "why": "the last layer", "reasons": []},
             *({"node": f"/body/{n}", "kind": "conv", "share": 0.1, "quantised": True, "output_sqnr_db": 30.0 - n, "why": "Conv with a weight", "reasons": ["one-sided"]}
               for n in range(15))]  # fmt: skip
    told = module.sensitivities({"nodes": nodes})
    assert [one["node"] for one in told[:2]] == ["/head/reg", "/body/14"] and len(told) == 1 + module.WORST
    good = {"map": 41.2, "low": 38.0, "high": 44.0, "map50": 60.0, "points": 0.3, "points_low": -0.1, "points_high": 0.7,
            "share": 0.81, "agreement": 99.0, "sqnr_db": 30.1, "sensitivity": told}  # fmt: skip
    result = {"metric": "mAP", "pictures": 500, "boxes": 2400, "rows": {"ours, rtx int8": good, "ORT static, u8": {"failed": "no"}}}  # fmt: skip
    page = module.written({"date": "d", "command": "c", "weights": "w", "versions": {}, "result": result})
    assert "| ours, rtx int8 | 41.20 (38.0 to 44.0) | 60.00 | +0.30 (-0.10 to +0.70) | 81.0% | 99.0 % | 30.1 |" in page
    assert "| ORT static, u8 | failed: no |" in page
    assert "| `/head/reg` | conv | 2.00% | - | float | the last layer |" in page
    assert "1 layers stay in floating point; below them the 10 quantised ones that cost most" in page


def test_the_tail_that_stays_in_floating_point_by_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The last convolution before each output and what decodes behind it; nothing before those."""
    module = script("detection_peers", monkeypatch)
    text = """<ir_version: 10, opset_import: ["" : 20]>
    net (float[1, 4, 8, 8] x, float[4, 4, 1, 1] w) => (float[1, 4, 8, 8] boxes, float[1, 4, 8, 8] scores)
    { [body] a = Conv(x, w) [act] b = Sigmoid(a) [reg] c = Conv(b, w) [decode] boxes = Mul(c, c) [cls] d = Conv(b, w) [score] scores = Sigmoid(d) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "net.onnx")
    assert sorted(module.tail(tmp_path / "net.onnx")) == ["cls", "decode", "reg", "score"]


def test_a_peer_without_its_environment_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    module = script("detection_peers", monkeypatch)
    monkeypatch.setattr(module, "PEERS_PYTHON", tmp_path / "python")
    with pytest.raises(RuntimeError, match="make peers"):
        module.make("NNCF, by hand", tmp_path / "a.onnx", np.zeros((1, 3, 8, 8), np.float32), tmp_path / "b.onnx")
