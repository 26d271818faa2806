"""Every network of timm through the product: the smallest variant of each of its modules, parity, time, engines.

    python benchmarks/zoo [--work FOLDER] [NAME ...] [--steps cpu time rtx] [--again]
    python benchmarks/zoo --report        the page from the rows that are there
    python benchmarks/zoo --choose        write models.txt anew by the rule

A row is a step of a model, one line of rows.jsonl in the work folder as soon as it is there; a run that breaks goes on behind
it, ``--again`` makes the rows asked for anew. At the end zoo.md and zoo.json are written beside this file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from apart import Limits, Notes, Row, run_apart

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ORDER = ("cpu", "time", "rtx")
ASKED = "guilty"  # a step for whoever looks into a slow row
CARRIED = ("size", "num_classes")  # of the first step's row, that the others need
FROM_TRACE = ("own_size", "parameters", "attentions", "stages")  # and what stays as it is with the trace
Rows = dict[tuple[str, str], Row]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names of timm; all of models.txt unless told")
    parser.add_argument("--work", type=Path, default=Path("build") / "zoo", help="rows and graphs")
    parser.add_argument("--steps", nargs="+", default=list(ORDER), choices=[*ORDER, ASKED])
    parser.add_argument("--again", action="store_true", help="make rows anew that are there")
    parser.add_argument(
        "--kept-trace", action="store_true", help="start from traces that are kept: passes have changed"
    )
    parser.add_argument("--report", action="store_true", help="only write the page")
    parser.add_argument("--choose", action="store_true", help="only write models.txt")
    parser.add_argument("--cpu-s", type=float, default=Limits.cpu_s, help="CPU seconds a step may take")
    parser.add_argument("--memory-gb", type=float, default=Limits.memory_gb)
    asked = parser.parse_args()
    if asked.choose:
        from choose import choose

        choose(HERE / "models.txt")
        return 0
    names = asked.models or listed()
    if not asked.report:
        from clocks import with_large_pages

        with_large_pages()
        work(names, asked.steps, asked.work, asked.again, Limits(asked.cpu_s, asked.memory_gb), asked.kept_trace)
    from zoo_page import write

    write(listed(), read(asked.work / "rows.jsonl"), HERE, machine())
    return 0


def listed() -> list[str]:
    """The models of models.txt, in its order."""
    lines = (HERE / "models.txt").read_text().splitlines()
    return [line.split()[0] for line in lines if line and not line.startswith("#")]


def work(
    names: Sequence[str], steps: Sequence[str], folder: Path, again: bool, limits: Limits, kept_trace: bool
) -> None:
    """Make the rows that are missing; the graphs of a model stay in ``folder`` for the steps behind the first."""
    import clocks
    import steps as own
    import warm  # noqa: F401  torch and all that a child needs, once

    works = {"cpu": own.cpu, "time": clocks.time, "rtx": own.rtx, ASKED: clocks.guilty}
    folder.mkdir(parents=True, exist_ok=True)
    code = state_of_the_code()
    for number, name in enumerate(names, 1):
        for step in (one for one in (*ORDER, ASKED) if one in steps):
            made = read(folder / "rows.jsonl")  # another run may have made it meanwhile
            first = made.get((name, "cpu"), {})
            if ((name, step) in made and not again) or (step != "cpu" and "nodes_after" not in first):
                continue
            place, run, known = folder / name, works[step], {}
            if step != "cpu":
                known = {key: first[key] for key in CARRIED}
            elif kept_trace and (place / own.PLAIN).is_file():
                run, known = own.cpu_again, {key: first[key] for key in (*CARRIED, *FROM_TRACE) if key in first}
            row = run_apart(partial(_step, run, name, place, known), place, step, limits)
            row = {"model": name, "step": step, "code": code, **row}
            with (folder / "rows.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(f"{number}/{len(names)} {told(row)}", flush=True)


def _step(run: Any, name: str, folder: Path, known: Row, notes: Notes) -> None:
    notes.put(**known)
    run(name, folder, notes)


def state_of_the_code() -> str:
    """A short hash of everything between the trace and the bundle: rows of another state are to be told from these."""
    found = hashlib.sha256()
    for path in sorted(path for folder in ("exporter", "graph", "models") for path in (ROOT / folder).rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()[:8]


def read(path: Path) -> Rows:
    """The last row of each model and step."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return {(row["model"], row["step"]): row for row in map(json.loads, lines)}


def told(row: Row) -> str:
    """A row for the terminal."""
    kept = ("failed", "ended", "left_out", "parity", "nodes_before", "nodes_after", "ratio", "ours", "plain", "without")
    found = {key: row[key] for key in kept if row.get(key)}
    return f"{row['model']} {row['step']} {row['cpu_s']} s {row['peak_gb']} GB {found}"


def machine() -> dict[str, Any]:
    from edgesmith.runtime.session.benchmark import machine as here

    packages = {name: version(name) for name in ("torch", "timm", "onnxruntime", "tensorrt-rtx")}
    return {"date": date.today().isoformat(), "machine": here(), **packages}


if __name__ == "__main__":
    sys.exit(main())
