"""One flow of the grounding benchmark in a process of its own: opened once, then asked line by line.

    python benchmarks/grounding_worker.py '{"kind": "ours", ...}'     stdin: a JSON line an order; stdout: a JSON line an answer

    {"do": "first", "screen": [w, h], "seed": 0, "text": ...}   a screenshot and an instruction to a point
    {"do": "further", "text": ...}                              another instruction on the same screen
    {"do": "keep", "screen": [w, h], "seed": n}                 open one more screen beside those that are open (ours)
    {"do": "any", "at": n, "text": ...}                         an instruction on one of them
    {"do": "all", "text": ...}                                  the same on all of them, one batch

So that no flow's libraries, threads or memory are another's. ``growth_bytes`` is how far the memory rises above what was resident
before an order, ``life_bytes`` the most that the process has had since it began.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from grounding_flows import Answer, Eager
from grounding_models import screenshot
from grounding_ours import Judge, Ours
from grounding_peer import Optimum

KINDS: dict[str, Any] = {"eager": Eager, "ours": Ours, "judge": Judge, "optimum": Optimum}
LIFE = 0  # bytes: the peak before it was reset


def memory(word: str) -> int:
    """VmRSS or VmHWM of this process in bytes (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{word}:"):
            return int(line.split()[1]) * 1024
    return 0


def answered(flow: Any, order: dict[str, Any]) -> dict[str, Any]:
    global LIFE
    picture = screenshot(tuple(order["screen"]), order.get("seed", 0)) if "screen" in order else None
    LIFE = max(LIFE, memory("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before, wall, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
    found = carried_out(flow, order, picture)
    told: dict[str, Any] = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    peak = memory("VmHWM")
    LIFE = max(LIFE, peak)
    told |= {"growth_bytes": max(peak - before, 0), "life_bytes": LIFE, "resident_bytes": memory("VmRSS")}
    told |= {"point": None, "scores": None}
    if found is not None and found.point is not None and found.scores is not None:
        told |= {"point": list(found.point), "scores": [float(score) for score in found.scores.ravel()]}
    return told | (flow.state() if hasattr(flow, "state") else {})


def carried_out(flow: Any, order: dict[str, Any], picture: Any) -> Answer | None:
    do, text = order["do"], order.get("text")
    if do == "first":
        found: Answer = flow.first(picture, text)
    elif do == "further":
        found = flow.further(text)
    elif do == "any":
        found = flow.any(order["at"], text)
    else:
        flow.keep(picture) if do == "keep" else flow.all(text)
        return None
    return found


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
