"""Nothing is sent: OpenVINO is imported without its telemetry, by everybody here, and what the user has set stays as it is."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from openvino_here import openvino_or_skip
from test_import_direction import ROOT, TOP, imports

# names looked up are written down, by this process and by those it starts, before anything of ours is imported
LISTENER = """
import os, socket
def told(name):
    real = getattr(socket, name)
    def call(*arguments, **options):
        with open(os.environ["LOOKED_UP"], "a") as file:
            file.write(f"{name} {arguments[0]}\\n")
        raise socket.gaierror(f"{name}: this test has no network")
    setattr(socket, name, call)
for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "create_connection"):
    told(name)
"""


def run(tmp_path: Path, code: str, *arguments: str, **variables: str) -> tuple[str, list[str], list[str]]:
    """(stdout, files under HOME, names looked up) of Python code in a process with a home of its own, and no CI."""
    home, listener, looked_up = tmp_path / "home", tmp_path / "listener", tmp_path / "looked_up"
    for folder in (home, listener):
        folder.mkdir(exist_ok=True)
    (listener / "sitecustomize.py").write_text(LISTENER)
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    paths = os.pathsep.join(filter(None, [str(listener), os.environ.get("PYTHONPATH", "")]))
    environment = {**kept, "HOME": str(home), "PYTHONPATH": paths, "LOOKED_UP": str(looked_up), **variables}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    written = sorted(path.relative_to(home).as_posix() for path in home.rglob("*"))
    return done.stdout, written, looked_up.read_text().splitlines() if looked_up.exists() else []


SESSION = """
import sys, edgesmith, numpy
with edgesmith.load(sys.argv[1], backend="openvino", threads=1) as session:
    print(session(numpy.full((9, 9, 3), (0, 255, 0), numpy.uint8)).best.label)
"""


@pytest.mark.parametrize("variables", [{}, {"CI": "false"}])
def test_a_session_writes_nothing_home_and_looks_up_nobody(make_tiny, tmp_path, variables):
    openvino_or_skip()
    assert run(tmp_path, SESSION, str(make_tiny(target="openvino").path), **variables) == ("green\n", [], [])


def test_the_listener_hears_a_process_that_looks_up_a_name(tmp_path):
    """So that the test above can fail."""
    code = "import socket, contextlib\nwith contextlib.suppress(OSError): socket.create_connection(('a.invalid', 80))"
    assert run(tmp_path, code)[2] == ["create_connection ('a.invalid', 80)"]


@pytest.mark.parametrize("consent", ["0", "1"])
def test_what_the_user_agreed_to_is_neither_asked_nor_changed(make_tiny, tmp_path, consent):
    openvino_or_skip()
    file = tmp_path / "home" / "intel" / "openvino_telemetry"
    file.parent.mkdir(parents=True)
    file.write_text(consent)
    _, written, looked_up = run(tmp_path, SESSION, str(make_tiny(target="openvino").path))
    assert written == ["intel", "intel/openvino_telemetry"] and not looked_up and file.read_text() == consent


@pytest.mark.parametrize("before", [None, "1", "true"])
def test_the_environment_is_as_it_was(monkeypatch, before):
    monkeypatch.delenv("CI", raising=False)
    if before is not None:
        monkeypatch.setenv("CI", before)
    openvino_or_skip()
    assert os.environ.get("CI") == before


def test_nobody_else_imports_it():
    """An import anywhere else would be the first one of some process."""
    own = ROOT / "runtime" / "backends" / "openvino_library.py"
    folders = (*TOP, "benchmarks", "examples", "tests", "tools")
    found = []
    for path in sorted({path for folder in folders for path in (ROOT / folder).rglob("*.py")} - {own, Path(__file__)}):
        text = path.read_text(encoding="utf-8")
        lines = [line for line, name in imports(path, ast.parse(text)) if name.split(".")[0] == "openvino"]
        lines += [number for number, line in enumerate(text.splitlines(), 1) if 'importorskip("openvino' in line]
        found += [f"{path.relative_to(ROOT)}:{line}" for line in lines]
    assert not found, "use runtime/backends/openvino_library.py"
