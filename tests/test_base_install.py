"""A device's environment, made as a user makes it: the wheel with ``cpu`` and ``serve``, and nothing that the exporter needs."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "tests" / "data" / "bundles" / "classifier_fp32"
PICTURE = BUNDLE.parent / "digit.png"
ABSENT = ("torch", "onnx", "onnxscript", "timm", "typer", "rich")

pytestmark = pytest.mark.slow  # a minute of downloads


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of that environment; the packages come from the index that pip is told."""
    folder = tmp_path_factory.mktemp("device")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True)
    found = folder / "env" / "bin" / "python"
    source = folder / "source"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(source)], check=True)
    pip = [str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{source}[cpu,serve]"]
    done = subprocess.run(pip, check=False, capture_output=True, text=True)
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip("no package index is reachable")
    assert done.returncode == 0, done.stderr
    return found


def told(python: Path, folder: Path, *words: str) -> str:
    """Standard output of a command that has to succeed, away from the checkout."""
    command = [str(python), "-I", "-m", "edgesmith", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_of_the_exporter_is_there(python: Path, tmp_path: Path):
    code = f"import importlib.util as u; print([name for name in {ABSENT!r} if u.find_spec(name)])"
    done = subprocess.run([str(python), "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_run_test_and_bench(python: Path, tmp_path: Path):
    (answer,) = json.loads(told(python, tmp_path, "run", str(BUNDLE), str(PICTURE), "--json"))
    assert answer["top"][0]["label"] == "digit 3"
    assert all(row["passed"] for row in json.loads(told(python, tmp_path, "test", str(BUNDLE), "--json")))
    assert json.loads(told(python, tmp_path, "bench", str(BUNDLE), "--json", "--rounds", "3"))


def test_serve_answers_a_picture_as_run_does(python: Path, tmp_path: Path):
    command = [str(python), "-I", "-m", "edgesmith", "serve", str(BUNDLE), "--port", "0", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            ready = json.loads(running.stdout.readline())
            with closing(http.client.HTTPConnection("127.0.0.1", ready["port"], timeout=60)) as line:
                line.request("POST", f"/v1/models/{ready['models'][0]}/answers", PICTURE.read_bytes())
                reply = line.getresponse()
                assert reply.status == 200
                assert json.loads(reply.read())["top"][0]["label"] == "digit 3"
        finally:
            running.terminate()
            assert running.wait(30) in (0, 143, -15)
