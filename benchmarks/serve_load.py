"""The clients of benchmarks/serve.py, which are processes of their own: wrk, and a crowd that counts what becomes of every request.

python benchmarks/serve_load.py PORT CLIENTS EACH < request.json         the crowd: {"answered", "refused", ...} on standard output
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from serve_servers import Request, Started

WAIT_S = 120  # for an answer; longer is lost
SCRIPT = """
local file = io.open("%(body)s", "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
%(headers)s
done = function(summary, latency, requests)
  io.write(string.format('{"requests": %%d, "us": %%d, "p50_ms": %%f, "p99_ms": %%f, "not_200": %%d}\\n',
    summary.requests, summary.duration, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status + summary.errors.timeout))
end
"""


def wrk_there() -> bool:
    return shutil.which("wrk") is not None


def load(server: Started, clients: int, seconds: float) -> dict[str, Any]:
    """So many connections that stay open and ask one request after the other, for some seconds; one thread of wrk (C) has them all."""
    with tempfile.TemporaryDirectory() as name:
        body, script = Path(name, "body"), Path(name, "ask.lua")
        body.write_bytes(server.request.body)
        headers = "\n".join(f'wrk.headers["{key}"] = "{value}"' for key, value in server.request.headers.items())
        script.write_text(SCRIPT % {"body": body, "headers": headers})
        words = ["wrk", "-t1", f"-c{clients}", f"-d{seconds:g}s", "--timeout", "30s", "-s", str(script)]
        cpu = server.cpu_s()
        told = subprocess.run(
            [*words, f"http://127.0.0.1:{server.port}{server.request.path}"], check=True, capture_output=True, text=True
        )
        used = server.cpu_s() - cpu
    found = json.loads(told.stdout.splitlines()[-1])
    count = found.pop("requests")
    good = count - found["not_200"]
    return {"per_s": good / found.pop("us") * 1e6, **found, "cpu_ms": used * 1e3 / max(count, 1)}


def crowd(server: Started, clients: int, each: int) -> dict[str, Any]:
    """What became of ``clients * each`` requests, sent by so many connections at once."""
    asked = asdict(server.request) | {"body": base64.b64encode(server.request.body).decode()}
    words = [sys.executable, str(Path(__file__)), str(server.port), str(clients), str(each)]
    told = subprocess.run(words, input=json.dumps(asked), check=True, capture_output=True, text=True)
    return dict(json.loads(told.stdout))


async def _crowd(port: int, request: Request, clients: int, each: int) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    took: list[float] = []
    head = [f"POST {request.path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(request.body)}"]
    head += [f"{key}: {value}" for key, value in request.headers.items()]
    whole = "\r\n".join([*head, "", ""]).encode() + request.body

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection stays open."""
        writer.write(whole)
        await writer.drain()
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        told = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        await reader.readexactly(int(told["content-length"]))
        status = int(lines[0].split()[1])
        counts["answered" if status == 200 else "refused" if status in (429, 503) else "failed"] += 1
        return told.get("connection") != "close"

    async def client() -> None:
        line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for _ in range(each):
            counts["sent"] += 1
            begun = time.perf_counter()
            try:
                async with asyncio.timeout(WAIT_S):
                    line = line or await asyncio.open_connection("127.0.0.1", port)
                    stays = await ask(*line)
                took.append(time.perf_counter() - begun)
            except (OSError, EOFError, TimeoutError):
                counts["lost"] += 1
                stays = False
            if not stays and line is not None:
                line[1].close()
                line = None
        if line is not None:
            line[1].close()

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    names = ("sent", "answered", "refused", "failed", "lost")
    slowest = {"slowest_s": round(max(took, default=0.0), 3), "took_s": round(time.perf_counter() - begun, 3)}
    return {name: counts[name] for name in names} | slowest


if __name__ == "__main__":
    given = json.load(sys.stdin)
    wanted = Request(given["path"], base64.b64decode(given["body"]), given["headers"])
    print(json.dumps(asyncio.run(_crowd(int(sys.argv[1]), wanted, int(sys.argv[2]), int(sys.argv[3])))))
