"""The servers of benchmarks/serve.py: started, answering, ended; what one request of each is, and the CPU time they have used."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
PEER_PYTHON = HERE.parent / ".venv-serve-peers" / "bin" / "python"
START_S = 240  # a busy machine imports slowly
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Request:
    path: str
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True)
class Started:
    """A server that answers."""

    name: str
    pid: int
    port: int
    request: Request

    def cpu_s(self) -> float:
        """Of the process and all that it started."""
        parents: dict[int, list[int]] = {}
        used: dict[int, float] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, ValueError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(folder.name))
                used[int(folder.name)] = (int(fields[11]) + int(fields[12])) * TICK_S
        family, total = [self.pid], 0.0
        while family:
            one = family.pop()
            total += used.get(one, 0.0)
            family += parents.get(one, [])
        return total

    def once(self) -> bytes:
        """The answer to one request; OSError where there is none, or one that is no answer."""
        asked = self.request
        url = f"http://127.0.0.1:{self.port}{asked.path}"
        with urllib.request.urlopen(urllib.request.Request(url, asked.body, asked.headers), timeout=10) as reply:
            return bytes(reply.read())

    def numbers(self) -> np.ndarray:
        """float32 of the answer, which all servers give as bytes, at its end."""
        body = self.once()
        return np.frombuffer(body[-4 * (len(body) // 4) :], np.float32)


def of_the_protocol(array: np.ndarray, name: str, path: str) -> Request:
    """A request of the Open Inference Protocol with binary tensors, in and out."""
    row: dict[str, Any] = {"name": name, "datatype": "FP32", "shape": list(array.shape)}
    row["parameters"] = {"binary_data_size": array.nbytes}
    head = json.dumps({"inputs": [row], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    return Request(path, head + array.tobytes(), headers)


def of_bytes(array: np.ndarray) -> Request:
    """The numbers and nothing else."""
    return Request("/predict", array.tobytes(), {"Content-Type": "application/octet-stream"})


@contextmanager
def running(command: list[str], **more: Any) -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own, ended with all that it started."""
    with subprocess.Popen(command, text=True, start_new_session=True, stderr=subprocess.DEVNULL, **more) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                pass
            with suppress(ProcessLookupError):  # what it started and left behind
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def ours(name: str, bundle: Path, request: Request, batch: int, queue: int) -> Iterator[Started]:
    words = [
        "serve",
        str(bundle),
        "--port",
        "0",
        "--threads",
        "1",
        "--queue",
        str(queue),
        "--batch",
        str(batch),
        "--json",
    ]
    with running([sys.executable, "-m", "edgesmith", *words], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield Started(name, process.pid, told["port"], request)


@contextmanager
def peer(name: str, kind: str, graph: Path, request: Request, batch: int) -> Iterator[Started]:
    if not PEER_PYTHON.is_file():
        raise RuntimeError("no environment .venv-serve-peers (serve_peers.txt says how)")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [str(PEER_PYTHON), str(HERE / "serve_peers.py"), kind, str(graph), str(port), str(batch)]
    # the python backend of PyTriton takes the Python that is first on PATH
    path = f"{PEER_PYTHON.parent}{os.pathsep}{os.environ['PATH']}"
    with running(words, stdout=subprocess.DEVNULL, env=os.environ | {"PATH": path}) as process:
        found = Started(name, process.pid, port, request)
        until = time.monotonic() + START_S
        while True:
            try:
                found.once()
                break
            except (OSError, urllib.error.URLError) as error:
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"it did not answer within {START_S} s: {error}") from None
            time.sleep(0.5)
        yield found
