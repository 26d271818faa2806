"""Requests of every kind to ``edgesmith serve``: pictures and tensors, some that are wrong, some whose sender leaves; what becomes of each."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from soak_watch import Watch, judged, thinned

from edgesmith.runtime.bundle.bundle import Bundle, open_bundle

CLIENTS, QUEUE = 24, 12  # a few more than there is room for
WAIT_S = 60
CUT = 0.04  # of the requests: the connection is closed in the middle, or before the answer
Kind = tuple[str, bytes]  # its name, the whole request


def kinds(bundles: Sequence[Bundle], port: int) -> tuple[list[Kind], list[int]]:
    """Requests, and how often each is sent beside the others."""
    rng = np.random.default_rng(0)
    found: list[Kind] = []
    often: list[int] = []

    def add(name: str, times: int, path: str, body: bytes, *headers: str) -> None:
        lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(body)}", *headers]
        found.append((name, "\r\n".join([*lines, "", ""]).encode() + body))
        often.append(times)

    for bundle, share in zip(bundles, (12, 1), strict=True):
        spec = bundle.picture_input
        array = rng.random([size if isinstance(size, int) else 1 for size in spec.shape], dtype=np.float32)
        infer, answers = f"/v2/models/{bundle.name}/infer", f"/v1/models/{bundle.name}/answers"
        row: dict[str, Any] = {"name": spec.name, "datatype": "FP32", "shape": list(array.shape)}
        plain = json.dumps({"inputs": [{**row, "data": array.ravel().round(4).tolist()}]}).encode()
        row["parameters"] = {"binary_data_size": array.nbytes}
        head = json.dumps({"inputs": [row], "parameters": {"binary_data_output": True}}).encode()
        length = f"Inference-Header-Content-Length: {len(head)}"
        picture = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
        jpeg, png = (cv2.imencode(kind, picture)[1].tobytes() for kind in (".jpg", ".png"))
        add("tensor, bytes", 10 * share, infer, head + array.tobytes(), length)
        add("tensor, JSON", 2 * share, infer, plain)
        add("JPEG", 5 * share, answers, jpeg)
        add("PNG", 3 * share, answers, png)
        add("picture for people", share, answers.replace("answers", "shown"), jpeg)
        add("wrong: bytes are missing", share, infer, head + array.tobytes()[:-4], length)
        add("wrong: no JSON", share, infer, plain[:-9])
        add("wrong: broken picture", share, answers, png[:200] + bytes(100))
    add("wrong: no such model", 1, "/v2/models/nobody/infer", b"{}")
    return found, often


class Crowd:
    """``CLIENTS`` connections that send what is drawn, until ``count`` requests have gone out."""

    def __init__(self, port: int, requests: tuple[list[Kind], list[int]], count: int) -> None:
        self.port, self.requests, self.count = port, requests, count
        self.sent = 0
        self.ends: dict[str, Counter[str]] = {name: Counter() for name, _ in requests[0]}
        self.random = random.Random(0)

    def enough(self) -> None:
        """No further request goes out."""
        self.count = 0

    async def run(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(CLIENTS)))

    async def _client(self) -> None:
        line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while self.sent < self.count:
            self.sent += 1
            (name, whole), cut = self.random.choices(*self.requests)[0], self.random.random() < CUT
            stays = False
            try:
                async with asyncio.timeout(WAIT_S):
                    line = line or await asyncio.open_connection("127.0.0.1", self.port)
                    if cut:
                        line[1].write(whole[: self.random.choice([20, len(whole) // 2, len(whole)])])
                        await line[1].drain()
                        end = "cut by us"
                    else:
                        line[1].write(whole)
                        end, stays = await self._answer(line[0])
            except (OSError, EOFError, TimeoutError) as error:
                end = f"lost: {type(error).__name__}"
            self.ends[name][end] += 1
            if not stays and line is not None:
                line[1].close()
                line = None
        if line is not None:
            line[1].close()

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[str, bool]:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        told = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        await reader.readexactly(int(told["content-length"]))
        status = int(lines[0].split()[1])
        end = "answered" if status == 200 else "refused" if status == 503 else f"{status}"
        return end, told.get("connection") != "close"


def soak(places: Sequence[Path], count: int, every_s: float) -> dict[str, Any]:
    """What became of every request, as the clients and as the server have it, and of the memory of the server."""
    words = [sys.executable, "-m", "edgesmith", "serve", *map(str, places), "--port", "0", "--threads", "1", "--json"]
    with subprocess.Popen(
        [*words, "--queue", str(QUEUE)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        port = json.loads(process.stdout.readline())["port"]
        crowd = Crowd(port, kinds([open_bundle(place) for place in places], port), count)
        signal.signal(signal.SIGINT, lambda *_: crowd.enough())  # what was done until then is told
        begun = time.monotonic()
        watch = Watch(process.pid, every_s, lambda: crowd.sent)
        with watch.watching():
            asyncio.run(crowd.run())
        took_s = time.monotonic() - begun
        process.send_signal(signal.SIGTERM)
        last = process.stderr.read().strip().splitlines()
        code = process.wait()
    totals: Counter[str] = Counter()
    for ends in crowd.ends.values():
        totals += ends
    counted = next(line for line in last if " answered, " in line)
    server = {word.split()[1]: int(word.split()[0].replace(",", "")) for word in counted.partition(": ")[2].split(", ")}
    return {
        "sent": crowd.sent, "took_s": round(took_s, 1), "ends": {name: dict(ends) for name, ends in crowd.ends.items()}, "totals": dict(totals),
        "unaccounted": crowd.sent - totals.total(), "server": server, "exit_code": code, "traces": sum("Traceback" in line for line in last),
        "judged": judged(watch.samples), "samples": thinned(watch.samples),
    }  # fmt: skip
