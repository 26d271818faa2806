"""The mutation run (make mutants): which bugs it plants, which words it leaves alone, and that it tells killed from survived."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "mutants"
SOURCE = '''"""A docstring with 1 and min."""
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from x import Y
LIMIT: int = 3


def f(x: "Y", *, low=0.5):
    """Another 2."""
    if x is None or x < LIMIT:
        raise ValueError(f"{x} is below {LIMIT + 1}")
    if not x.ready:
        self.decline(x, "min 4 == 5")
        return 0
    return min(x.size(axis=-1, name="a"), low * 2) if x.kind == "conv" else None


def __repr__(self):
    return "1" * 2
'''


@pytest.fixture
def plant(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOL))
    import plant  # type: ignore[import-not-found]

    return plant


def test_what_is_planted(plant):
    found = plant.mutants("a.py", SOURCE)
    told = [(one.line, one.kind, one.after) for one in found]
    assert told == [
        (5, "constant", "4"), (5, "constant", "2"),
        (8, "constant", "1.0"),
        (10, "refusal off", "False"), (10, "and/or", "x is None and x < LIMIT"), (10, "comparison", "x is not None"),
        (10, "comparison", "x <= LIMIT"),
        (12, "refusal off", "False"), (12, "not removed", "x.ready"),
        (13, "decline removed", "(nothing)"),
        (14, "constant", "1"), (14, "constant", "-1"),
        (15, "returns nothing", "return None"), (15, "comparison", "x.kind != 'conv'"), (15, "string", "x.kind == 'conv_'"),
        (15, "function", "max(x.size(axis=-1, name='a'), low * 2)"), (15, "argument missing", "without axis="),
        (15, "constant", "2"), (15, "constant", "0"), (15, "arithmetic", "low / 2"), (15, "constant", "3"), (15, "constant", "1"),
    ]  # fmt: skip
    plain = ast.unparse(ast.parse(SOURCE))
    sources = {ast.unparse(plant.planted(SOURCE, one.place)) for one in found}
    assert len(sources) == len(found) and plain not in sources, "each is one change, and none is another one's"
    off = next(one for one in found if (one.line, one.kind) == (12, "refusal off"))
    assert "if False:\n        self.decline" in ast.unparse(plant.planted(SOURCE, off.place))
    assert off.scope == (9, 15) and (off.first, off.last) == (12, 12)


def test_one_of_letters_is_left_out_and_messages_are_not_touched(plant):
    assert [one.after for one in plant.mutants("a.py", "ok = kind in 'biuf'\n")] == [
        "kind not in 'biuf'",
        "kind in 'iuf'",
    ]
    assert (
        plant.mutants(
            "a.py", "log.warn(1 + 2)\nassert 1 < 2\nraise UserMistake('a', found=3 + 4)\nf(found=5, timeout=6)\n"
        )
        == []
    )


CHECKED = '''"""Is killed and survives."""


def covered(x: int) -> int:
    return x + 1


def half(x: int) -> int:
    return x // 2 * 2 + x % 2


def unread(x: int) -> int:
    return x - 1
'''
TESTS = """
from edgesmith.runtime.numbers import covered, half


def test_covered():
    assert covered(1) == 2


def test_half():
    half(3)
"""


def test_a_run_tells_killed_survived_and_not_reached(tmp_path):
    """A small checkout with one module: exit status, table and JSON are those of its three functions."""
    package, tests = tmp_path / "runtime", tmp_path / "tests" / "runtime"
    tests.mkdir(parents=True)
    package.mkdir()
    for folder in (tmp_path, package):
        (folder / "__init__.py").write_text("")
    (package / "numbers.py").write_text(CHECKED)
    (tests / "test_numbers.py").write_text(TESTS)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "edgesmith").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "tools").symlink_to(TOOL.parent, target_is_directory=True)
    (tmp_path / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\naddopts = "--import-mode=importlib"\nmarkers = ["slow", "gpu"]\n'
    )
    (tmp_path / "conftest.py").write_text(
        "import pytest\nfrom pathlib import Path\n\n\ndef pytest_collect_directory(path, parent):\n"
        "    return pytest.Dir.from_parent(parent, path=path) if path == Path(__file__).parent else None\n"
    )
    code = (
        "import runpy, sys; from pathlib import Path; sys.path[:0] = [sys.argv[1] + '/here', sys.argv[2]]; import forks;"
        "forks.LARGE = ('pytest',); sys.argv = ['mutants', '--count', '0', '--json', 'found.json', '--root', sys.argv[1], 'runtime'];"
        "runpy.run_path(str(Path(sys.path[1], '__main__.py')), run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(TOOL)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr[-2000:]  # below 90 percent
    rows = json.loads((tmp_path / "found.json").read_text())["runtime"]
    ends = {
        name: {row["end"] for row in rows if row["line"] == line}
        for name, line in (("covered", 5), ("half", 9), ("unread", 13))
    }
    assert ends == {"covered": {"killed"}, "half": {"survived"}, "unread": {"unreached"}}
    assert {row["by"] for row in rows if row["end"] == "killed"} == {"tests/runtime/test_numbers.py::test_covered"}
    assert f"killed: {sum(row['end'] == 'killed' for row in rows)} of {len(rows)}" in done.stdout
