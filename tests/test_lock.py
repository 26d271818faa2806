"""The lock names every package by version and hash, names no place to load from, and is held against what is installed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
TOOL = ROOT / "tools" / "beside_lock.py"


def test_every_line_is_one_version_with_hashes_and_nothing_else():
    entries = re.sub(r"\\\n", "", re.sub(r"^#.*\n", "", LOCK, flags=re.MULTILINE)).splitlines()
    assert len(entries) > 50
    pinned = re.compile(r"[a-z0-9-]+==[\w.]+( ; [^\\#]+?)?(\s+--hash=sha256:[0-9a-f]{64})+")
    assert [entry for entry in entries if not pinned.fullmatch(entry)] == []


def test_what_pyproject_asks_for_is_locked():
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = re.findall(r"^EXTRAS := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[0].split(
        ","
    )
    wanted = sum((project["optional-dependencies"][extra] for extra in extras), project["dependencies"])
    names = {re.split(r"[ ;<>=!~]", line)[0].replace("_", "-") for line in wanted}
    assert names - set(re.findall(r"^([a-z0-9-]+)==", LOCK, re.MULTILINE)) == set()


def beside(tmp_path: Path, lock: str, test: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "some.lock").write_text(lock)
    (tmp_path / "test_it.py").write_text(f"def test_it():\n    {test}\n")
    command = [sys.executable, str(TOOL), "some.lock", "-q", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)


def test_what_breaks_is_told_beside_the_versions_that_differ(tmp_path):
    import numpy

    told = beside(tmp_path, LOCK.replace(f"numpy=={numpy.__version__}", "numpy==0.1"), "assert False")
    assert told.returncode == 1
    assert "FAILED test_it.py::test_it" in told.stdout
    assert "broken, see the summary above, with" in told.stdout
    assert re.search(rf"^  numpy +{re.escape(numpy.__version__)} +lock: .*\b0\.1\b", told.stdout, re.MULTILINE)


def test_what_passes_says_so(tmp_path):
    assert "passed with" in beside(tmp_path, LOCK, "pass").stdout


def test_the_floors_that_are_tested_are_those_that_pyproject_states():
    """tests/runtime/floor.txt pins the oldest version of each for this Python; make test-floor installs just these."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stated = dict(line.split(">=") for line in [*project["dependencies"], *project["optional-dependencies"]["cpu"]])
    assert set(stated) == {"numpy", "opencv-python-headless", "onnxruntime"}
    pins = re.findall(
        r'^(\S+)==(\S+?);? python_version < "3.13"', (ROOT / "tests/runtime/floor.txt").read_text(), re.MULTILINE
    )
    tested = {name: version for name, version in pins if name in stated}
    assert {name: version.startswith(f"{stated[name]}.") for name, version in tested.items()} == dict.fromkeys(
        stated, True
    )


def test_arm_is_compared_with_the_versions_of_the_lock():
    """tests/arm/pins.txt, whose numbers make test-arm holds against those of the locked environment."""
    pins = re.findall(r"^([a-z0-9-]+==[\w.]+)$", (ROOT / "tests" / "arm" / "pins.txt").read_text("utf-8"), re.MULTILINE)
    locked = set(re.findall(r"^([a-z0-9-]+==[\w.]+)", LOCK, re.MULTILINE))
    assert len(pins) > 10 and [pin for pin in pins if pin not in locked] == []
