"""A server of ``edgesmith serve`` in this process, on a free port of the loopback, and requests to it with nothing but http.client.

with served(folder, queue=2) as server:
    server.get("/health").json()
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

WAIT_S = 120  # for what comes in a moment, unless the machine is busy


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json()["error"]


class Server:
    """One that runs in a thread."""

    def __init__(self, run: Any, port: int) -> None:
        self.run, self.port, self.house = run, port, run.house

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        try:
            connection.request(method, path, body, dict(headers or {}))
            got = connection.getresponse()
            return Reply(got.status, {name.lower(): value for name, value in got.getheaders()}, got.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> Reply:
        return self.ask("POST", path, body, headers)

    def infer(self, model: str, told: Any) -> Reply:
        return self.post(f"/v2/models/{model}/infer", json.dumps(told).encode())


def wait_until(holds: Any) -> None:
    """Until ``holds()``, or an AssertionError."""
    until = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.01)


@contextmanager
def served(*bundles: Path, ready: bool = True, token: bytes | None = None, **words: Any) -> Iterator[Server]:
    """Within the block the bundles are served; afterwards the server has ended, and what it raised is raised."""
    from edgesmith.runtime.commands.serve.command import _Run, opened
    from edgesmith.runtime.commands.serve.words import Asked, listen_at

    asked = Asked(tuple(map(str, bundles)), port=0, **words)
    raised: list[BaseException] = []
    with listen_at(asked) as bound:
        run = _Run(asked, opened(asked.bundles), token, bound)

        def to_the_end() -> None:
            try:
                run.to_the_end()
            except BaseException as error:  # noqa: BLE001 raised below
                raised.append(error)

        thread = threading.Thread(target=to_the_end)
        thread.start()
        try:
            wait_until(lambda: run.server.started or raised)
            if ready:
                wait_until(lambda: run.house.is_ready or run.error or raised)
            yield Server(run, bound.getsockname()[1])
        finally:
            run.server.should_exit = True
            thread.join(WAIT_S)
            assert not thread.is_alive(), "the server did not end"
    if raised:
        raise raised[0]


def tensor(name: str, array: np.ndarray, datatype: str = "FP32") -> dict[str, Any]:
    """An input in JSON."""
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": array.ravel().tolist()}


def binary_request(arrays: Mapping[str, tuple[np.ndarray, str]], **more: Any) -> tuple[bytes, dict[str, str]]:
    """(body, headers) of a request in the binary form; values are (array, datatype)."""
    rows = [
        {
            "name": name,
            "datatype": datatype,
            "shape": list(array.shape),
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, (array, datatype) in arrays.items()
    ]
    head = json.dumps({"inputs": rows, **more}).encode()
    body = head + b"".join(array.tobytes() for array, _ in arrays.values())
    return body, {"Inference-Header-Content-Length": str(len(head))}


def outputs_of(reply: Reply) -> dict[str, np.ndarray]:
    """The arrays of an answer, as JSON or as bytes."""
    from edgesmith.runtime.commands.serve.tensors import datatype

    kinds = (
        "float16",
        "float32",
        "float64",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "bool",
    )
    types = {datatype(dtype): np.dtype(dtype) for dtype in kinds}
    size = int(reply.headers.get("inference-header-content-length", len(reply.body)))
    told, tail = json.loads(reply.body[:size]), reply.body[size:]
    found = {}
    for row in told["outputs"]:
        dtype = types[row["datatype"]]
        if "data" in row:
            found[row["name"]] = np.array(row["data"], dtype).reshape(row["shape"])
        else:
            count = row["parameters"]["binary_data_size"]
            found[row["name"]] = np.frombuffer(tail[:count], dtype).reshape(row["shape"])
            tail = tail[count:]
    assert not tail
    return found
