"""The comparison of int8 files: what of it decides something, without any peer installed."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
PRODUCT = """
<ir_version: 10, opset_import: ["" : 20]>
net (float[1, 4] images) => (float[1, 4] y)
<float step = {0.02}, int8 zero = {0}, float[4, 4] w = {1,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,0,1}>
{
  q = QuantizeLinear(images, step, zero)
  x = DequantizeLinear(q, step, zero)
  c = QuantizeLinear(w, step, zero)
  v = DequantizeLinear(c, step, zero)
  z = MatMul(x, v)
  y = MatMul(z, w)
}
"""


@pytest.fixture
def module(monkeypatch):
    """A script of benchmarks/, which is no package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def row(name: str, db: float | None, ratio: float | None, **more) -> dict:
    timing = {} if ratio is None else {"ratio": ratio, "low": ratio, "high": ratio}
    return {"row": name, "size_ratio": 0.3, "sqnr_db": db, "top1": 96.0, **timing, **more}


def test_the_fastest_peer_is_one_that_keeps_the_answers(module):
    table = module("int8_table")
    rows = [row("quick and wrong", 16.0, 0.2), row("slow", 45.0, 0.9), row("fair", 31.0, 0.6), row("fp8", 40.0, None)]
    assert table.fastest(rows)["row"] == "fair"
    assert table.most_accurate(rows)["row"] == "slow"
    assert table.fastest(rows[:1]) is None


def test_a_peer_that_fails_says_how_in_its_row(module):
    table = module("int8_table")
    rows = [row("ours, cpu", 45.0, 0.5, share=0.9), {"row": "Peer", "failed": "ValueError: too many bins"}]
    text = "\n".join(table.fixture({"rows": rows}))
    assert "| Peer | failed: ValueError: too many bins |" in text
    cells = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert len(set(cells)) == 1  # a row that failed is as wide as the others


def test_a_refusal_stands_below_the_table(module):
    refused = row("Peer", 40.0, 0.5, parses=False, refusal="Non-zero zero point is not supported")
    text = "\n".join(module("int8_table").fixture({"rows": [refused]}))
    assert "| no |" in text and "Peer: TensorRT-RTX says Non-zero zero point" in text


def test_the_share_counts_products_of_codes_only(module, tmp_path):
    onnx.save(onnx.parser.parse_model(PRODUCT), tmp_path / "net.onnx")
    np.savez(tmp_path / "pictures.npz", images=np.ones((2, 4), np.float32))
    assert module("int8_figures").int8_share(tmp_path / "net.onnx", tmp_path / "pictures.npz") == pytest.approx(0.5)


def test_a_float_rest_is_told_from_an_fp16_one(module):
    import onnx_ir as ir

    from edgesmith.exporter.precision.casts import to_precision

    figures = module("int8_figures")
    graph = ir.from_proto(onnx.parser.parse_model(PRODUCT))
    assert not figures.in_fp16(graph)
    assert figures.in_fp16(to_precision(graph, "fp16").model)


def test_a_job_that_throws_leaves_its_first_line(module, tmp_path, monkeypatch):
    peers = module("int8_peers")

    def throws(source, images, output):
        raise ValueError("too many bins\nsecond line")

    monkeypatch.setitem(peers.PEERS, "Peer", throws)
    np.savez(tmp_path / "pictures.npz", images=np.zeros((1, 3, 4, 4), np.float32))
    job = {"peer": "Peer", "source": "x.onnx", "output": str(tmp_path / "y.onnx"), "pictures": str(tmp_path / "pictures.npz")}  # fmt: skip
    assert peers.run(job)["failed"] == "ValueError: too many bins"


def test_a_peer_that_kills_the_process_costs_one_row(module, tmp_path, monkeypatch):
    """The process ends while it works on the second of three jobs: the first and the third are done all the same."""
    int8, models = module("int8"), module("int8_models")
    monkeypatch.setattr(int8, "RUN", tmp_path)
    peers = [peer for peer in int8.FULL_PEERS if peer.startswith("ORT")][:3]
    monkeypatch.setattr(int8, "FULL_PEERS", peers)
    (tmp_path / "van_b0").mkdir()

    class Done:
        returncode = -11

    def run(command, **_):
        for job in json.loads(Path(command[2]).read_text()):
            if job["peer"] == peers[1]:
                break
            Path(job["result"]).write_text("{}")
        return Done

    monkeypatch.setattr(int8.subprocess, "run", run)
    int8.run_jobs(Path(__file__), [models.Model("van_b0", "full")], ours=True)
    results = [json.loads(path.read_text()) for path in sorted((tmp_path / "van_b0").glob("*.made"))]
    assert [result.get("failed") for result in results].count("the process ended with exit code -11") == 1
    assert len(results) == 3


def test_other_code_or_a_finished_run_starts_afresh(module, tmp_path, monkeypatch):
    int8 = module("int8")
    monkeypatch.setattr(int8, "RUN", tmp_path / "run")
    int8.open_run(again=False)
    kept = tmp_path / "run" / "row.json"
    kept.touch()
    int8.open_run(again=False)
    assert kept.exists()  # a broken run goes on
    (tmp_path / "run" / "finished").touch()
    int8.open_run(again=True)
    assert kept.exists()
    (tmp_path / "run" / "code").write_text("another")
    int8.open_run(again=False)
    assert not kept.exists()


def test_a_file_with_nothing_quantised_is_no_peer_and_is_named(module):
    table = module("int8_table")
    assert not table.is_peer(row("ORT dynamic, MatMul", 54.0, 1.0, share=0.0002))
    assert table.is_peer(row("ORT dynamic, MatMul", 45.0, 0.8, share=0.92))
    rows = [row("ours, cpu", 40.0, 0.5, share=0.9), row("ours, portable", None, 1.0, share=0)]
    text = "\n".join(table.summary([{"name": "van_b0", "kind": "full", "rows": rows}]))
    assert "| van_b0 | 0.50 | nothing quantised | none |" in text
