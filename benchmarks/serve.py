"""What stands around the engine: requests a second, p99 and CPU time a request, of edgesmith serve, LitServe and PyTriton.

    python benchmarks/serve.py [--rounds 5] [--seconds 3]     CPU, minutes; writes benchmarks/serve.{json,md}

One bundle of tests/data/bundles, one engine thread, the same ONNX Runtime session in each server, the same numbers in and out (as bytes, LitServe as
JSON), at 1, 8 and 64 clients. Servers are started once and take turns: each round runs every server at every number of clients for some seconds. The clients
are threads of this process with connections that stay open; they share the machine with the server, whose CPU time is its own.

Peers are run from .venv-serve-peers (serve_peers.txt); without it, or where one does not start, their rows say so. Loopback only.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from edgesmith.runtime.bundle.bundle import open_bundle
from edgesmith.runtime.session.benchmark import machine

HERE = Path(__file__).parent
BUNDLE = HERE.parent / "tests" / "data" / "bundles" / "classifier_fp32"
PEER_PYTHON = HERE.parent / ".venv-serve-peers" / "bin" / "python"
CLIENTS = (1, 8, 64)
START_S = 90
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Started:
    """A server that answers: where, and what one request of it is."""

    def __init__(self, name: str, pid: int, port: int, path: str, body: bytes, headers: dict[str, str]) -> None:
        self.name, self.pid, self.port, self.path, self.body, self.headers = name, pid, port, path, body, headers

    def once(self, line: http.client.HTTPConnection) -> int:
        line.request("POST", self.path, self.body, self.headers)
        reply = line.getresponse()
        reply.read()
        return reply.status

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


def request_of(array: np.ndarray, name: str) -> tuple[bytes, dict[str, str]]:
    """A request of the Open Inference Protocol with binary tensors."""
    row = {"name": name, "datatype": "FP32", "shape": list(array.shape)}
    row["parameters"] = {"binary_data_size": array.nbytes}  # type: ignore[assignment]
    head = json.dumps({"inputs": [row], "parameters": {"binary_data_output": True}}).encode()
    return head + array.tobytes(), {"Inference-Header-Content-Length": str(len(head))}


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
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def ours(body: bytes, headers: dict[str, str], name: str) -> Iterator[Started]:
    words = ["serve", str(BUNDLE), "--port", "0", "--threads", "1", "--queue", "256", "--json"]
    with running([sys.executable, "-m", "edgesmith", *words], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield Started("edgesmith serve", process.pid, told["port"], f"/v2/models/{name}/infer", body, headers)


@contextmanager
def peer(kind: str, name: str, path: str, body: bytes, headers: dict[str, str]) -> Iterator[Started]:
    if not PEER_PYTHON.is_file():
        raise RuntimeError("no environment .venv-serve-peers (serve_peers.txt says how)")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    graph = str(open_bundle(BUNDLE).graph)
    with running(
        [str(PEER_PYTHON), str(HERE / "serve_peers.py"), kind, graph, str(port)], stdout=subprocess.DEVNULL
    ) as process:
        found = Started(name, process.pid, port, path, body, headers)
        until = time.monotonic() + START_S
        while True:
            with (
                suppress(OSError, http.client.HTTPException),
                closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as line,
            ):
                if found.once(line) == 200:
                    break
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{name} did not answer within {START_S} s")
            time.sleep(0.5)
        yield found


def load(server: Started, clients: int, seconds: float) -> dict[str, Any]:
    """So many clients that ask one request after the other, for some seconds."""
    took: list[list[float]] = [[] for _ in range(clients)]
    bad = [0] * clients
    begin = threading.Barrier(clients + 1)
    ends: list[float] = []

    def client(number: int) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as line:
            server.once(line)
            begin.wait()
            while time.perf_counter() < ends[0] if ends else True:
                started = time.perf_counter()
                if server.once(line) == 200:
                    took[number].append(time.perf_counter() - started)
                else:
                    bad[number] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    begin.wait()
    cpu, started = server.cpu_s(), time.perf_counter()
    ends.append(started + seconds)
    for thread in threads:
        thread.join()
    wall, used = time.perf_counter() - started, server.cpu_s() - cpu
    every = [one for row in took for one in row]
    p50, p99 = np.percentile(every, [50, 99]) * 1e3
    return {
        "per_s": len(every) / wall, "p50_ms": float(p50), "p99_ms": float(p99), "not_200": sum(bad),
        "cpu_ms": used * 1e3 / max(len(every) + sum(bad), 1),
    }  # fmt: skip


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    bundle = open_bundle(BUNDLE)
    spec = bundle.picture_input
    shape = [size if isinstance(size, int) else 1 for size in spec.shape]
    array = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    body, headers = request_of(array, spec.name)
    as_json = json.dumps({"data": array.ravel().tolist()}).encode()
    starts = {
        "edgesmith serve": lambda: ours(body, headers, bundle.name),
        "LitServe": lambda: peer("litserve", "LitServe", "/predict", as_json, {"Content-Type": "application/json"}),
        "PyTriton": lambda: peer("pytriton", "PyTriton", "/v2/models/model/infer", body, headers),
    }
    why_not: dict[str, str] = {}
    samples: dict[tuple[str, int], list[dict[str, Any]]] = {}
    with ExitStack() as stack:
        servers = []
        for name, start in starts.items():
            try:
                servers.append(stack.enter_context(start()))
            except (OSError, RuntimeError) as error:
                why_not[name] = str(error)[:200]
        for turn in range(rounds):
            for clients in CLIENTS:
                for step in range(len(servers)):
                    server = servers[(turn + step) % len(servers)]
                    samples.setdefault((server.name, clients), []).append(load(server, clients, seconds))
                    print(server.name, clients, samples[server.name, clients][-1], file=sys.stderr)
    rows = [
        {"server": name, "clients": clients, **{key: float(np.median([one[key] for one in found])) for key in found[0]}}
        for (name, clients), found in samples.items()
    ]
    head = {"date": date.today().isoformat(), "rounds": rounds, "seconds": seconds, "bundle": BUNDLE.name}
    return {**head, "request_bytes": len(body), "machine": machine(), "rows": rows, "not_measured": why_not}


def page(result: dict[str, Any]) -> str:
    chip = result["machine"]
    told = (
        f"`python benchmarks/serve.py`, {result['date']}, {chip['cpu']}, {chip['cores']} cores, load {chip['load']} at the end. "
        f"{result['bundle']}, {result['request_bytes']:,} bytes a request, one engine thread; medians of {result['rounds']} "
        f"rounds of {result['seconds']:g} s that took turns."
    )
    head = "| server | clients | requests a second | p50 ms | p99 ms | CPU ms a request | not answered |"
    lines = ["# Servers around one session", "", told, "", head, "|---|---|---|---|---|---|---|"]
    for row in result["rows"]:
        times = f"{row['p50_ms']:.1f} | {row['p99_ms']:.1f} | {row['cpu_ms']:.2f}"
        lines.append(f"| {row['server']} | {row['clients']} | {row['per_s']:.0f} | {times} | {row['not_200']:.0f} |")
    lines += [f"\nNot measured: {name}: {why}" for name, why in result["not_measured"].items()]
    lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    asked = parser.parse_args()
    result = measure(asked.rounds, asked.seconds)
    (HERE / "serve.json").write_text(json.dumps(result, indent=1) + "\n")
    (HERE / "serve.md").write_text(page(result))
    print(page(result))


if __name__ == "__main__":
    main()
