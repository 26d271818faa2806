"""The programs in examples/ run as they are, offline, and print what they promise; each can be read at one go."""

from __future__ import annotations

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from clips import write_clip
from detection_bundle import write_detection_bundle

EXAMPLES = Path(__file__).parents[1] / "examples"
PROGRAMS = sorted(EXAMPLES.glob("*.py"))


def test_there_are_five_that_are_short_and_say_what_their_reader_learns():
    assert len(PROGRAMS) == 5
    for path in PROGRAMS:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) < 60, path.name
        told = ast.get_docstring(ast.parse(text)) or ""
        assert "You learn:" in told and f"python examples/{path.name}" in told, path.name


def _run(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """In this process, which has torch already; what it printed."""
    runpy.run_path(str(EXAMPLES / name))["main"](folder)
    return capsys.readouterr().out


def test_the_example_exports_and_runs_a_digit(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    told = _run("export_and_run.py", tmp_path, capsys)
    assert told.count("holds") == 4 and "FAILS" not in told
    digit = re.search(r"it is a (\d)", told)
    assert digit and re.search(rf"9\d\.\d\d%  digit {digit[1]}\n", told)
    assert "99 of the first 100 are right" in told


def test_the_example_keeps_a_finetune_accurate_in_int8(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    told = _run("finetune_to_int8.py", tmp_path, capsys)
    figures = re.search(r"top-1 (\S+) % in float32, (\S+) % in int8, of 100 pictures", told)
    assert figures and float(figures[1]) > 90 and float(figures[1]) - float(figures[2]) <= 2
    assert "two to nine" in told


def test_the_example_compares_two_bundles_that_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    told = _run("compare_bundles.py", tmp_path, capsys)
    assert "they agree" in told
    assert re.search(r"fp32.edge +top-1 9\d\.\d % of 200 pictures, 1\.\d\d MB", told)
    assert re.search(r"fp16.edge +top-1 9\d\.\d % of 200 pictures, 0\.\d\d MB", told)


def test_the_example_registers_and_runs_a_model_of_ones_own():
    """In a process of its own: what it registers would stay in this one."""
    done = subprocess.run([sys.executable, EXAMPLES / "own_model.py"], capture_output=True, text=True, check=True)
    assert "known now: stripes_tiny" in done.stdout
    assert "upright" in done.stdout and "lying" in done.stdout


def test_video_loop_needs_the_runtime_only(tmp_path: Path):
    write_detection_bundle(tmp_path / "colours.edge")
    write_clip(tmp_path / "clip.avi", frames=5)  # a red square on black
    code = (
        "import runpy, sys; sys.argv = ['video_loop.py', 'colours.edge', 'clip.avi']\n"
        f"runpy.run_path({str(EXAMPLES / 'video_loop.py')!r}, run_name='__main__')\n"
        "print(sorted({'torch', 'onnx', 'typer', 'rich', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    seen, times, heavy = done.stdout.splitlines()
    label, count = seen.split(" ")
    assert label == "red" and int(count) >= 5
    assert times.startswith("5 frames, ") and (tmp_path / "last_frame.png").is_file()
    assert heavy == "[]"
