"""How the grounding benchmark is carried out: flows in processes that wait, bundles made once for a state of the code, rows kept.

Kept      work/SIZE/rows-DIGEST.json   finished rows; a run that breaks, or is asked for more flows, goes on from there
bundles   work/SIZE/bundles-DIGEST/    what `edgesmith export` wrote; other code of the package makes others
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OFFICIAL, OFFICIAL_BF16 = "official, maps, fp32", "official, maps, bf16"
AGAIN = "official, rows again, fp32"
PEERS = {  # how, dtype
    OFFICIAL: ("maps", "float32"),
    OFFICIAL_BF16: ("maps", "bfloat16"),
    AGAIN: ("again", "float32"),
    "plain sdpa, no method, fp32": ("none", "float32"),
}
ORT_FP32, OPENVINO_BF16 = "ours, ONNX Runtime fp32", "ours, OpenVINO bf16"
OURS = {  # precision, target
    ORT_FP32: ("fp32", "cpu"),
    "ours, OpenVINO fp32": ("fp32", "openvino"),
    OPENVINO_BF16: ("bf16", "openvino"),
    "ours, ONNX Runtime int4": ("int4", "cpu"),
    "ours, OpenVINO int4": ("int4", "openvino"),
}
PEER_GRAPHS = {"optimum-intel, no method, fp32": "f32", "optimum-intel, no method, bf16": "bf16"}
PEER_PYTHON = HERE.parent / ".venv-grounding" / "bin" / "python"  # made as grounding_peer.py says
SIZED = (OFFICIAL, AGAIN, ORT_FP32, OPENVINO_BF16)  # measured against the size of the screen
BACKENDS = {"cpu": "onnxruntime", "openvino": "openvino"}
MOST_OF_MEMORY = 0.8  # of what is available: an official flow that needs more is not begun


class FlowFailed(RuntimeError):
    """A flow's process ended, or could not be made: its row says so, and the others go on."""


class Worker:
    """A flow that waits in another process (grounding_worker.py)."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        command = [settings.get("python", sys.executable), str(HERE / "grounding_worker.py"), json.dumps(settings)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(settings["threads"])}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        try:
            self.loaded_bytes = self._read()["loaded_bytes"]
        except FlowFailed:
            self.close()
            raise

    def ask(self, **order: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            print(json.dumps(order), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            raise FlowFailed("the flow's process has ended") from None
        return self._read()

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        self.process.wait()
        self.process.stdout.close()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise FlowFailed(f"its process ended with {self.process.wait()}; what it said stands in the terminal")
        found: dict[str, Any] = json.loads(line)
        return found


class Workers:
    """Flows by name; one that fails is told, left out, and named in ``failed``."""

    def __init__(self, flows: Mapping[str, Mapping[str, Any]], threads: int) -> None:
        self.open: dict[str, Worker] = {}
        self.failed: dict[str, str] = {}
        for name, settings in flows.items():
            try:
                self.open[name] = Worker({**settings, "threads": threads})
            except FlowFailed as error:
                self.failed[name] = str(error)

    def ask(self, name: str, **order: Any) -> dict[str, Any] | None:
        if name not in self.open:
            return None
        try:
            return self.open[name].ask(**order)
        except FlowFailed as error:
            self.drop(name, str(error))
            return None

    def drop(self, name: str, why: str) -> None:
        self.failed[name] = why
        self.open.pop(name).close()

    def close(self) -> None:
        for worker in self.open.values():
            worker.close()


class Kept:
    """Rows of parts by flow, on the disk after each change."""

    def __init__(self, path: Path, again: bool) -> None:
        self.path = path
        self.parts: dict[str, dict[str, Any]] = {}
        if path.exists() and not again:
            self.parts = json.loads(path.read_text(encoding="utf-8"))

    def missing(self, part: str, flows: Iterable[str]) -> list[str]:
        return [name for name in flows if name not in self.parts.get(part, {})]

    def put(self, part: str, rows: Mapping[str, Any]) -> None:
        self.parts[part] = {**self.parts.get(part, {}), **rows}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.parts, indent=1), encoding="utf-8")


def available_bytes() -> int:
    """What programs may still take on this machine (Linux)."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
