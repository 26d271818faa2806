"""Bugs are planted in the product, one at a time, and the nearest tests must fail: what share does, and where not?

    python tools/mutants --count 200 --seed 0 exporter/patterns calibration runtime
    python tools/mutants --count 150 --only calibration/balance calibration     mutants of some files only

A mutant is killed by a failing test, or by a test that never ends. Each is judged by the tests that run the changed line,
at most 4 seconds of them, in a fork of a process that has imported the large libraries. Results are kept in
``build/mutants``: the same command goes on where it was stopped. ``--again`` judges the survivors once more, after tests
were written. Mutants are drawn evenly from all kinds. The exit status is 1 below ``--least`` percent in an area.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.machinery
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import pytest
from forks import CRASHED, TIMED_OUT, Job, answers, preload
from plant import Mutant, mutants, planted
from reach import Reached, nearest, options, reached

ROOT = Path(__file__).parents[2]
AREAS = {
    "exporter/patterns": ("tests/exporter/patterns",),
    "calibration": ("tests/calibration",),
    "runtime": ("tests/runtime",),
}
KILLED, SURVIVED, UNREACHED = "killed", "survived", "unreached"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("areas", nargs="*", metavar="AREA", help=f"of {', '.join(AREAS)}; all by default")
    parser.add_argument("--count", type=int, default=200, help="mutants an area; 0: all there are")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="files whose path begins so")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--least", type=float, default=90.0, help="percent killed, below which the exit status is 1")
    parser.add_argument("--again", action="store_true", help="judge survivors once more")
    parser.add_argument("--json", type=Path, help="write all results there")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout")
    asked = parser.parse_args()
    root, kept = asked.root, asked.root / "build" / "mutants"
    if unknown := set(asked.areas) - set(AREAS):
        parser.error(f"no area {unknown.pop()!r}, expected {', '.join(AREAS)}")
    os.chdir(root)
    (place,) = find_spec("edgesmith").submodule_search_locations  # type: ignore[union-attr]
    package = Path(place)
    preload()
    results: dict[str, Any] = {}
    for area in asked.areas or AREAS:
        files = sorted(path for folder in AREAS[area] for path in (root / folder).rglob("test_*.py"))
        tests = reached(root, package, list(AREAS), files, kept / "reach", asked.workers, _log)
        some = sample(root, area, asked.only, asked.count, asked.seed)
        results[area] = judge(some, tests, kept / "judged", asked.workers, again=asked.again)
    low = [area for area, rows in results.items() if _summary(area, rows) < asked.least]
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1))
    return 1 if low else 0


def sample(root: Path, area: str, only: str, count: int, seed: int) -> list[Mutant]:
    """``count`` mutants of the area, as many of each kind as there are."""
    kinds: dict[str, list[Mutant]] = defaultdict(list)
    for path in sorted((root / area).rglob("*.py")):
        short = path.relative_to(root).as_posix()
        if short.startswith(only):
            for mutant in mutants(short, path.read_text(encoding="utf-8")):
                kinds[mutant.kind].append(mutant)
    for some in kinds.values():  # by a hash, so that a mutant more or less elsewhere draws no other ones here
        some.sort(
            key=lambda one: hashlib.sha256(f"{seed} {one.path} {one.before} {one.after} {one.place}".encode()).digest()
        )
    mixed = [mutant for mutant in chain.from_iterable(zip_longest(*kinds.values())) if mutant is not None]
    return mixed[: count or None]


def judge(some: list[Mutant], tests: Mapping[str, Reached], kept: Path, workers: int, *, again: bool) -> list[dict[str, Any]]:  # fmt: skip
    """One row a mutant, in their order: name, place, end, the test that failed, seconds."""
    kept.mkdir(parents=True, exist_ok=True)
    places = {mutant: kept / f"{_key(mutant)}.json" for mutant in some}

    def open_ones() -> Iterator[Job]:
        for mutant, place in places.items():
            if place.exists() and not (
                again and json.loads(place.read_text())["end"] in (SURVIVED, UNREACHED, TIMED_OUT)
            ):
                continue
            scope = range(mutant.scope[0], mutant.scope[1] + 1) if mutant.scope else None
            names = nearest(tests, mutant.path, range(mutant.first, mutant.last + 1), scope)
            if names:
                yield Job(mutant, _trial(mutant, names), 10 + 3 * sum(tests[name].seconds for name in names))
            else:
                _keep(place, mutant, UNREACHED, "", 0.0)

    for job, answer, seconds in answers(open_ones(), workers):
        if isinstance(answer, str):
            end, by = {TIMED_OUT: (TIMED_OUT, ""), CRASHED: (KILLED, CRASHED)}[answer]
        else:
            end, by = (SURVIVED, "") if answer["code"] == 0 else (KILLED, answer["failed"])
        _keep(places[job.name], job.name, end, by, seconds)
        _log(f"{end:10} {seconds:5.1f} s  {job.name.name}  {by}")
    return [json.loads(place.read_text()) for place in places.values()]


def _trial(mutant: Mutant, names: list[str]) -> Any:
    """Run the tests against the product with the bug in it."""

    def work(folder: Path) -> dict[str, Any]:
        code = compile(planted(Path(mutant.path).read_text(encoding="utf-8"), mutant.place), mutant.path, "exec")
        module = ".".join(("edgesmith", *Path(mutant.path).with_suffix("").parts)).removesuffix(".__init__")
        loader: Any = importlib.machinery.SourceFileLoader
        right = loader.get_code
        loader.get_code = lambda self, name: code if name == module else right(self, name)
        failed: list[str] = []

        class First:
            def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
                if report.failed:
                    failed.append(report.nodeid)

        code_of_pytest = pytest.main(["-x", *options(folder), *names], plugins=[First()])
        return {"code": int(code_of_pytest), "failed": failed[0] if failed else "import"}

    return work


def _key(mutant: Mutant) -> str:
    source = Path(mutant.path).read_bytes()
    return hashlib.sha256(repr((mutant.name, mutant.place)).encode() + source).hexdigest()[:24]


def _keep(place: Path, mutant: Mutant, end: str, by: str, seconds: float) -> None:
    row = {"mutant": mutant.name, "path": mutant.path, "line": mutant.line, "kind": mutant.kind}
    row |= {"before": mutant.before, "after": mutant.after, "end": end, "by": by, "seconds": round(seconds, 2)}
    place.write_text(json.dumps(row))


def _summary(area: str, rows: list[dict[str, Any]]) -> float:
    """Print the area folder by folder and its survivors; percent killed."""
    folders: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        folders[str(Path(row["path"]).parent)][row["end"]] += 1
    print(f"\n{area}\n  {'folder':36} mutants  killed  timed out  survived  not reached")
    for folder, ends in sorted(folders.items()):
        counts = [ends[end] for end in (KILLED, TIMED_OUT, SURVIVED, UNREACHED)]
        print(f"  {folder:36} {sum(counts):7} {counts[0]:7} {counts[1]:10} {counts[2]:9} {counts[3]:12}")
    dead = sum(ends[KILLED] + ends[TIMED_OUT] for ends in folders.values())
    share = 100 * dead / max(len(rows), 1)
    print(f"  killed: {dead} of {len(rows)}, {share:.1f} %")
    for row in rows:
        if row["end"] in (SURVIVED, UNREACHED):
            print(f"    {row['end']:9} {row['mutant']}")
    return share


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
