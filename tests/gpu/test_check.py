"""The command: what it writes, what it returns, what it says; with the interpreter where the GPU would be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from gpu.supervise import supervise
from gpu.tables import markdown

from edgesmith.exporter.plugins import OPS

ROOT = Path(__file__).parents[2]
CHECK = ROOT / "tests" / "gpu" / "check.py"


def check(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CHECK), *arguments], check=False, capture_output=True, text=True, **options
    )


def interpreter(out: Path, *arguments: str) -> list[str]:
    return ["--driver", "interpreter", "--quick", "--out", str(out), "--only", *arguments]


def test_the_whole_check_runs_and_writes_both_files(tmp_path):
    out = tmp_path / "here.json"
    done = check(*interpreter(out, "GGeMPool", "DequantizeV"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here.json", "here.md"]
    found = json.loads(out.read_text())
    assert (found["finished"], found["ok"], found["failures"]) == (True, True, [])
    assert {row["op"] for row in found["correctness"]} == {"GGeMPool", "DequantizeV"}
    assert all(row["ok"] and row["outputs"][0]["error"] <= 8e-3 for row in found["correctness"])
    assert "| GGeMPool | float32 | 2 of 2 |" in (tmp_path / "here.md").read_text()
    assert "all within limits" in done.stdout


def test_without_a_gpu_the_exit_code_is_2_and_says_what_to_run(tmp_path):
    try:
        import ctypes

        ctypes.CDLL("libcuda.so.1")
    except OSError:
        done = check("--out", str(tmp_path / "x.json"))
        assert done.returncode == 2
        assert "no NVIDIA driver, libcuda.so.1 is not on this machine" in done.stderr
        assert "make gpu-check" in done.stderr
        assert not list(tmp_path.iterdir())
    else:
        pytest.skip("this machine has an NVIDIA driver")


def test_an_unknown_op_is_refused_before_the_work(tmp_path):
    done = check(*interpreter(tmp_path / "x.json", "Pool"))
    assert done.returncode == 2
    assert "GGeMPool" in done.stderr


def test_the_script_needs_neither_onnx_nor_torch_nor_an_installed_edgesmith():
    code = (
        f"import sys; sys.path.insert(0, {str(CHECK.parent)!r})\n"
        "for name in ('onnx', 'onnxruntime', 'torch', 'tensorrt', 'triton', 'pytest', 'cv2'): sys.modules[name] = None\n"
        "import check; check.importable()\n"
        "import edgesmith, gpu.cases, gpu.correctness, gpu.driver, gpu.races, gpu.report, gpu.sanitizer, gpu.supervise\n"
        "from edgesmith.exporter.plugins import OPS\n"
        "print(len(OPS), edgesmith.__path__[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    assert "edgesmith-gpu-" in done.stdout


def test_interrupted_work_leaves_a_partial_file_and_no_other(tmp_path):
    out = tmp_path / "x.json"
    before = '{"finished": true}'
    out.write_text(before)
    command = [sys.executable, str(CHECK), *interpreter(out, *OPS)]  # all of them: minutes, and it is stopped at once
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if "correctness" in line)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "stopped" in said
    assert out.read_text() == before
    assert {path.name for path in tmp_path.iterdir()} == {"x.json", "x.partial.json"}
    assert json.loads((tmp_path / "x.partial.json").read_text())["finished"] is False


WORKER = """
import json, os, signal, sys, time
for op in sys.argv[sys.argv.index("--only") + 1:]:
    print(json.dumps({"begin": op}), flush=True)
    if op == "crash": os.kill(os.getpid(), signal.SIGSEGV)
    if op == "hang":
        print(json.dumps({"op": "on the way", "ok": True}), flush=True)
        time.sleep(60)
    if op == "chat": print("warning: not json")
    print(json.dumps({"op": op, "ok": True}), flush=True)
    print(json.dumps({"end": op}), flush=True)
"""


def supervised(ops, seconds=30.0, on_the_way=lambda: None) -> dict[str, str]:
    rows = []

    def take(row):
        on_the_way() if row["op"] == "on the way" else rows.append(row)

    supervise([sys.executable, "-c", WORKER], ops, seconds, take)
    assert [row["op"] for row in rows] == list(ops)
    return {row["op"]: row.get("why", "") for row in rows}


def test_a_worker_that_dies_costs_its_own_op_alone():
    assert supervised(["a", "crash", "chat", "b"]) == {
        "a": "", "crash": "its process ended early: signal SIGSEGV", "chat": "", "b": "",
    }  # fmt: skip


def test_a_worker_that_hangs_is_ended_and_what_is_left_is_told(monkeypatch):
    begun = []

    class AfterTheStart(threading.Timer):
        """Python itself may take a second to start: the limit counts from where the worker hangs."""

        def start(self):
            begun.append(super().start)

    monkeypatch.setattr("gpu.supervise.threading.Timer", AfterTheStart)
    monkeypatch.setattr("gpu.supervise.GRACE_S", 0.2)
    begin = time.monotonic()
    found = supervised(["a", "hang", "b"], 1.0, lambda: begun[-1]())
    assert found["hang"] == "its process ended early: signal SIGKILL"
    assert found["b"] == "not run: no time left"
    assert time.monotonic() - begin < 20


def result(**changes) -> dict:
    found = {
        "device": {"name": "A GPU", "arch": "sm_90", "multiprocessors": 132, "driver": "580"},
        "versions": {"torch": "2.11", "triton": "3.6"},
        "pack": {"sha256": "abc", "kernels": 3, "in_step_with_sources": True},
        "ok": True,
        "failures": [],
        "correctness": [],
        "sanitizer": {"ran": False, "why": "not found"},
        "times": [],
    }
    return found | changes


def test_the_table_shows_ratios_failures_and_who_computes_something_else():
    contestants = {
        "ours": {"median_us": 10.0, "agrees": True},
        "eager": {"median_us": 20.0, "ratio": 2.0, "agrees": False},
        "compiled": {"why": "RuntimeError: a | b"},
    }
    row = {"op": "X", "race": "small", "type": "float16", "ours_gb_s": 12.3, "contestants": contestants}
    text = markdown(result(times=[row, {"op": "X", "race": "big", "why": "not run: no time left"}]))
    assert "| small | float16 | 12 | 10.0 | 20.0 (2.00) differs | RuntimeError: a / b |" in text
    assert "- big : not run: no time left" in text


def test_the_table_says_what_failed():
    text = markdown(result(ok=False, failures=["X small float32: y: 2, limit 1"]))
    assert "Not within limits" in text
    assert "- X small float32: y: 2, limit 1" in text
    assert "All within limits" not in text


def test_the_pack_that_is_shipped_has_what_the_check_needs(tmp_path):
    from gpu.fake_cuda import FakeCuda

    from edgesmith.exporter.plugins.pack.compile import entry_parameters
    from edgesmith.exporter.plugins.pack.pack import PACKED, source_hash
    from edgesmith.runtime.plugins.pack import read_pack

    pack = read_pack(PACKED)
    if pack.about["source_sha256"] != source_hash():
        pytest.skip("kernels.zip is of other sources: make kernels")
    FakeCuda(pack, dict(OPS))
    for ours in pack.ops.values():
        for launch in ours.launches:
            kinds = [kind for kind, _ in entry_parameters(pack.ptx[launch.entry], launch.entry)]
            wanted = (
                ["u64"] * len(ours.schema.inputs) + ["u32"] * len(launch.scalars) + ["u64"] * len(ours.schema.outputs)
            )
            assert kinds == wanted, launch.entry
    done = check(*interpreter(tmp_path / "x.json", "GGeMPool"), "--pack", str(PACKED), env={**os.environ})
    assert done.returncode == 0, done.stdout + done.stderr
