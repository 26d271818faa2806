"""One flow of the grounding benchmark in a process of its own: opened once, then asked line by line.

    python benchmarks/grounding_worker.py '{"kind": "ours", ...}'     stdin: a JSON line an order; stdout: a JSON line an answer

So that no flow's libraries, threads or memory are another's. ``peak_bytes`` is that of the process during one order.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from grounding_flows import KINDS, Flow
from grounding_models import screenshot


def memory(word: str) -> int:
    """VmRSS or VmHWM of this process in bytes (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{word}:"):
            return int(line.split()[1]) * 1024
    return 0


def answered(flow: Flow, order: dict[str, Any]) -> dict[str, Any]:
    picture = screenshot(tuple(order["screen"]), order.get("seed", 0))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before, wall, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
    found = flow.first(picture, order["text"]) if order["do"] == "first" else flow.further(order["text"])
    times = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    peak = memory("VmHWM")
    told: dict[str, Any] = {"point": None, "scores": None}
    if found.point is not None and found.scores is not None:
        told = {"point": list(found.point), "scores": [float(score) for score in found.scores.ravel()]}
    return {**times, "peak_bytes": peak, "growth_bytes": max(peak - before, 0), **told}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    settings = json.loads(sys.argv[1])
    flow = KINDS[settings["kind"]].open(settings)
    print(json.dumps({"loaded_bytes": memory("VmRSS")}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answered(flow, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
