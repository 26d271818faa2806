"""The command as a process: the line that tells the address, what runs is finished at a signal, exit codes as the commands have them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")
pytest.importorskip("prometheus_client", reason="the extra serve is not installed")
from command_line import BASE_ONLY
from served import tensor
from small_bundle import write_small_bundle

# an engine that says when it is asked, and answers when a file is there
SLOW = """
import os, time
from edgesmith.runtime.backends.onnxruntime import OnnxRuntimeSession
infer, runs = OnnxRuntimeSession.infer, []
def slow(session, feeds):
    runs.append(1)
    if len(runs) > 1:
        print("asked", flush=True)
        while not os.path.exists(os.environ["GO"]):
            time.sleep(0.01)
    return infer(session, feeds)
OnnxRuntimeSession.infer = slow
"""
ASKED = json.dumps({"inputs": [tensor("images", np.zeros((1, 3, 8, 8), np.float32))]}).encode()


@contextmanager
def process(folder: Path, code: str = BASE_ONLY, *words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """(the process, its port); its standard output goes on behind the line that tells the address."""
    bundle = write_small_bundle(folder / "small.edge")
    command = [sys.executable, "-c", code, "serve", str(bundle), "--port", "0", "--json", *words]
    environment = {**os.environ, "GO": str(folder / "go")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as running:
        try:
            assert running.stdout is not None
            told = json.loads(running.stdout.readline())
            assert told["models"] == ["small"] and told["pid"] == running.pid
            assert told["url"] == f"http://127.0.0.1:{told['port']}"
            yield running, told["port"]
        finally:
            running.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.usefixtures("interrupts_heard")
def test_what_runs_is_finished_at_a_signal(tmp_path: Path, number: signal.Signals, code: int):
    with process(tmp_path, SLOW + BASE_ONLY) as (running, port):
        replies: list[int] = []

        def ask() -> None:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as line:
                line.request("POST", "/v2/models/small/infer", ASKED)
                replies.append(line.getresponse().status)

        asking = threading.Thread(target=ask)
        asking.start()
        assert running.stdout is not None and running.stdout.readline() == "asked\n"
        running.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(0.5)  # it waits for what runs
        (tmp_path / "go").touch()
        asking.join(120)
        out, err = running.communicate(timeout=120)
        assert (replies, running.returncode) == ([200], code), err
        assert "1 answered, 0 mistaken, 0 refused, 0 failed" in err
        assert "Traceback" not in err and out == ""


def test_the_token_is_in_no_process_list_and_no_line(tmp_path: Path):
    secret = "a-word-that-nobody-guesses"
    (tmp_path / "token").write_text(secret)
    with process(tmp_path, BASE_ONLY, "--token-file", str(tmp_path / "token")) as (running, port):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as line:
            line.request("GET", "/v2", headers={"Authorization": f"Bearer {secret}"})
            assert line.getresponse().status == 200
        assert secret not in Path(f"/proc/{running.pid}/cmdline").read_text()
        running.terminate()
        out, err = running.communicate(timeout=120)
        assert secret not in out + err
