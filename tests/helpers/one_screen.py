"""A mistake as data, and the shared assertion: one screen that says what to try, exit code 2, no traceback, no debris."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from command_line import edgesmith

SCREEN_LINES = 24


@dataclass(frozen=True)
class Case:
    """A command, run in a folder with the files it names, and the words that its answer must contain."""

    name: str
    command: str
    says: tuple[str, ...]


def listing(folder: Path) -> set[tuple[str, int]]:
    return {(str(path.relative_to(folder)), path.lstat().st_mtime_ns) for path in folder.rglob("*")}


def assert_told(case: Case, folder: Path) -> None:
    """Run the case in ``folder``, which is the current one."""
    before = listing(folder)
    answer = edgesmith(*case.command.split())
    assert answer.code == 2, answer.err
    assert "Traceback" not in answer.err and answer.out == ""
    lines = answer.err.splitlines()
    assert len(lines) <= SCREEN_LINES, answer.err
    assert any(line.startswith("  try ") for line in lines), answer.err
    assert any(line.startswith(("  found ", "  expected ")) for line in lines), answer.err
    for words in case.says:
        assert words in answer.err, f"{words!r} is not in:\n{answer.err}"
    assert listing(folder) == before, "something was left behind or changed"
