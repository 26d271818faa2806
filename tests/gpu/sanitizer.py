"""compute-sanitizer over every launch of the pack, each on its smallest case, without fences: the tool sees the true ends.

memcheck finds accesses outside allocations, racecheck races in shared memory, initcheck reads of what nobody wrote.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from edgesmith.exporter.plugins.declaration import FusedOp
from edgesmith.runtime.plugins.pack import KernelPack

from .correctness import smallest_cases
from .driver import Driver
from .formats import for_device
from .launching import launch_rule
from .supervise import CHECK, supervise

TOOLS = ("memcheck", "racecheck", "initcheck")
PLACES = ("/usr/local/cuda/bin", "/opt/nvidia/compute-sanitizer", "/usr/local/cuda/compute-sanitizer")
SUMMARY = re.compile(r"(ERROR|RACECHECK) SUMMARY: (\d+) (?:errors?|hazards?)")
KEPT_LINES = 40


def find_tool() -> str | None:
    """Where compute-sanitizer is: in PATH, else with the CUDA toolkit."""
    return shutil.which("compute-sanitizer", path=os.pathsep.join([os.environ.get("PATH", ""), *PLACES]))


def sanitize(ops: Sequence[str], seconds: float, say: Callable[[str], None], options: Sequence[str]) -> dict[str, Any]:
    """All tools side by side; what each said."""
    tool = find_tool()
    if tool is None:
        return {"ran": False, "why": f"compute-sanitizer is neither in PATH nor in {', '.join(PLACES)}"}
    with ThreadPoolExecutor(len(TOOLS)) as threads:
        found = threads.map(lambda name: _one(tool, name, ops, seconds, say, options), TOOLS)
        return {"ran": True, "tools": dict(zip(TOOLS, found, strict=True))}


def _one(
    tool: str, name: str, ops: Sequence[str], seconds: float, say: Callable[[str], None], options: Sequence[str]
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.%p.txt"
        prefix = [tool, "--tool", name, "--log-file", str(log), "--print-limit", "20"]
        command = [*prefix, sys.executable, str(CHECK), "--worker", "sanitize", *options]
        rows: list[dict[str, Any]] = []
        supervise(command, ops, seconds, rows.append)
        text = "\n".join(path.read_text(errors="replace") for path in sorted(Path(folder).glob("log.*")))
    return judge(name, rows, text, say)


def judge(name: str, rows: Sequence[dict[str, Any]], text: str, say: Callable[[str], None]) -> dict[str, Any]:
    """The verdict from the worker's rows and the tool's log; no summary in the log is not a pass."""
    summaries = [int(count) for _, count in SUMMARY.findall(text)]
    failed = [f"{row.get('op')}: {row.get('why')}" for row in rows if not row["ok"]]
    launches = sum(row["ok"] for row in rows)
    ok = bool(summaries) and not sum(summaries) and not failed
    say(f"  {name}: {launches} launches, {sum(summaries) if summaries else 'no summary, so unknown'} errors")
    found = {"ok": ok, "launches": launches, "errors": sum(summaries) if summaries else None, "failed": failed}
    return found | ({} if ok else {"log": text.splitlines()[:KEPT_LINES]})


def launch_all(
    driver: Driver, pack: KernelPack, op: FusedOp, go_on: Callable[[], bool], tell: Callable[[dict[str, Any]], None]
) -> None:
    """The worker's part: every launch of an op once; outputs are not filled, so that unwritten ones are noticed."""
    for launch, asked in smallest_cases(op, pack.ops[op.name]):
        if not go_on():
            tell({"op": op.name, "entry": launch.entry, "ok": False, "why": "not run: no time left"})
            continue
        function = driver.load(pack.ptx[launch.entry], launch.entry)
        held: list[int] = []
        try:
            inputs = []
            for array, tensor in zip(asked.arrays, asked.schema.inputs, strict=True):
                data = for_device(array, tensor.type_for(asked.t))
                held.append(driver.allocate(data.nbytes))
                inputs.append(held[-1])
                driver.upload(held[-1], data)
            outputs = asked.empty_outputs()
            held += [driver.allocate(array.nbytes) for array in outputs]
            grid, scalars = launch_rule(launch, asked.names)
            written = held[len(inputs) :]
            driver.launch(function, grid, launch.threads, launch.shared_bytes, inputs, scalars, written)
            driver.wait()
            for array, address in zip(outputs, written, strict=True):
                driver.download(array, address)
        finally:
            for address in held:
                driver.free(address)
        tell({"op": op.name, "entry": launch.entry, "ok": True})
