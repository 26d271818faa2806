"""Which test reaches which line of the product, and how long it takes: one run of every test file, kept on the disk.

A test that does not pass here, or is slower than ``SLOWEST``, judges no mutant.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from forks import Job, answers

FORMAT = b"2"  # of what is kept
SLOWEST = 4.0  # seconds of one test
BUDGET = 4.0  # seconds that the tests of one mutant take together
FILE_SECONDS = 400.0
PYTEST = [
    "-q",
    "--no-header",
    "--tb=no",
    "-m",
    "not slow and not gpu",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
]
PYTEST += [
    word for name in ("cacheprovider", "unraisableexception", "threadexception") for word in ("-p", f"no:{name}")
]


@dataclass
class Reached:
    """One test: the lines it runs, fixtures of its file included, and its seconds."""

    seconds: float
    lines: Mapping[str, frozenset[int]] = field(default_factory=dict)
    imports: frozenset[str] = frozenset()  # modules of ours that its file names


def options(folder: Path) -> list[str]:
    return [*PYTEST, f"--basetemp={folder / 'tests'}"]


class Recorder:
    """Lines of our files that run during each test; those of a shared fixture count for every test of the file."""

    def __init__(self, package: str, areas: Sequence[str]) -> None:
        self.package = package.rstrip("/") + "/"
        self.wanted = tuple(self.package + area + "/" for area in areas)
        self.own: dict[str, set[int]] = {}
        self.shared: dict[str, set[int]] = {}
        self.tests: dict[str, dict[str, Any]] = {}
        self.now = self.own

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(self.wanted):
            return None
        short = name[len(self.package) :]

        def line(frame: FrameType, event: str, argument: object) -> Any:
            if event == "line":
                self.now.setdefault(short, set()).add(frame.f_lineno)
            return line

        return line

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.now = self.own = {}
        self.tests[item.nodeid] = {"seconds": -_spent(), "passed": True}
        threading.settrace(self.trace)
        sys.settrace(self.trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
            self.tests[item.nodeid]["seconds"] += _spent()
            self.tests[item.nodeid]["lines"] = {name: sorted(lines) for name, lines in self.own.items()}

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        if fixturedef.scope != "function":
            self.now = self.shared
        try:
            return (yield)
        finally:
            self.now = self.own

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.tests[report.nodeid]["passed"] &= report.outcome == "passed"


def reached(root: Path, package: Path, areas: Sequence[str], files: Sequence[Path], kept: Path, workers: int, log: Any) -> dict[str, Reached]:  # fmt: skip
    """Node id -> what it reaches, for all ``files``; only those that changed are run."""
    kept.mkdir(parents=True, exist_ok=True)

    def place(path: Path) -> Path:
        key = hashlib.sha256(FORMAT + path.read_bytes()).hexdigest()[:16]
        return kept / f"{'.'.join(path.relative_to(root).with_suffix('').parts)}-{key}.json"

    def fresh(path: Path) -> bool:
        """Whether what is kept is of the files as they are."""
        if not place(path).exists():
            return False
        sources = json.loads(place(path).read_text())["sources"]
        return all((root / name).exists() and _digest(root / name) == digest for name, digest in sources.items())

    def record(path: Path) -> Any:
        def work(folder: Path) -> Any:
            recorder = Recorder(str(package), areas)
            pytest.main([str(path.relative_to(root)), *options(folder)], plugins=[recorder])
            shared = {name: sorted(lines) for name, lines in recorder.shared.items()}
            names = set(shared).union(*(test["lines"] for test in recorder.tests.values()))
            sources = {name: _digest(root / name) for name in sorted(names)}
            return {"tests": recorder.tests, "shared": shared, "sources": sources}

        return work

    jobs = [Job(path, record(path), FILE_SECONDS) for path in files if not fresh(path)]
    for number, (job, answer, seconds) in enumerate(answers(jobs, workers), start=1):
        if isinstance(answer, str):
            answer = {"tests": {}, "shared": {}, "sources": {}, "failed": answer}
        place(job.name).write_text(json.dumps(answer))
        log(
            f"[{number}/{len(jobs)}] {job.name.name}: {len(answer['tests'])} tests, {seconds:.1f} s {answer.get('failed', '')}"
        )
    found: dict[str, Reached] = {}
    for path in files:
        kept_now = json.loads(place(path).read_text())
        imports = frozenset(re.findall(r"from (edgesmith[\w.]*) import", path.read_text(encoding="utf-8")))
        for name, test in kept_now["tests"].items():
            if test["passed"] and test["seconds"] < SLOWEST:
                lines = {file: frozenset(some) for file, some in test["lines"].items()}
                for file, some in kept_now["shared"].items():
                    lines[file] = lines.get(file, frozenset()) | frozenset(some)
                found[name] = Reached(test["seconds"], lines, imports)
    return found


def _spent() -> float:
    """Seconds of the processor so far, those of children included: the clock tells how busy the machine is."""
    return sum(os.times()[:4])


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def nearest(tests: Mapping[str, Reached], path: str, lines: range, scope: range | None) -> list[str]:
    """The tests that run one of ``lines``, those of the file's own name first and short ones before long ones.

    For a statement that runs at import, all that run its function or, outside of any, the file.
    """
    stem = Path(path).stem
    if scope is None:
        module = ".".join(("edgesmith", *Path(path).with_suffix("").parts))
        chosen = {name for name, test in tests.items() if test.lines.get(path) or module in test.imports}
    else:
        chosen = {name for name, test in tests.items() if not test.lines.get(path, frozenset()).isdisjoint(lines)}
    own = re.compile(rf"/test_{re.escape(stem)}(_\w+)?\.py::")
    rows = sorted(chosen, key=lambda name: (own.search(name) is None, tests[name].seconds))
    spent, taken = 0.0, []
    for name in rows:
        spent += tests[name].seconds
        if spent > BUDGET and taken:
            break
        taken.append(name)
    return taken
