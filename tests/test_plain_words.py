"""Lines that are read without a parser (`list`, a plain `run`) mean what the parser makes of them, and import little."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from command_line import edgesmith as parsed
from small_bundle import write_small_bundle

import edgesmith.__main__ as command
from edgesmith.exporter.commands import cli
from edgesmith.runtime.commands import run
from edgesmith.runtime.commands.cli import RUN_OPTIONS
from edgesmith.runtime.commands.words import plain_run

VALUES = {str: "photos/a b.jpg", int: "3", float: "0.25", list: "the save button"}


@pytest.mark.parametrize(
    "line",
    [
        ["a.edge", "b.jpg"],
        ["a.edge", "b.jpg", "c.png", "--json"],
        ["a.edge", "--source", "0", "--max-frames", "4", "--json-lines"],
        ["--top", "2", "a.edge", "--threads", "1", "b.jpg", "--backend", "onnxruntime"],
        ["a.edge", "--save", "out", "--force", "--score", "1", "b.jpg"],
        ["a.edge", "--instruction", "open it", "b.jpg", "--instruction", "close it"],
        *(["a.edge", flag, *([] if kind is bool else [VALUES[kind]])] for flag, (kind, _) in RUN_OPTIONS.items()),
    ],
    ids=" ".join,
)
def test_a_plain_run_is_read_as_the_parser_reads_it(line, monkeypatch):
    seen: list[run.Asked] = []
    monkeypatch.setattr(run, "run", lambda asked: seen.append(asked))
    assert parsed("run", *line).code == 0
    assert [plain_run(line)] == seen


@pytest.mark.parametrize(
    "line",
    [
        [],
        ["--help"],
        ["--json"],
        ["a.edge", "--jsn"],
        ["a.edge", "--top"],
        ["a.edge", "--top", "many"],
        ["a.edge", "--top", "-1"],
        ["a.edge", "--score", "1e-3"],
        ["a.edge", "--score", "nan"],
        ["a.edge", "--score=0.3"],
        ["a.edge", "score=0.3"],
        ["a.edge", "--source", "rtsp://camera?channel=1"],
        ["a.edge", "--overwrite", "b.jpg"],
        ["a.edge", "--top", "1", "--top", "2"],
        ["a.edge", "--", "-b.jpg"],
        ["a.edge", "-b.jpg"],
        ["a.edge", ""],
    ],
    ids=" ".join,
)
def test_anything_else_is_left_to_the_parser(line):
    assert plain_run(line) is None


def _typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[object, str, str]:
    monkeypatch.setattr(sys, "argv", ["edgesmith", *words])
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as left:
        command.main()
    return left.value.code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize(
    "words",
    [
        ("list",),
        ("list", "--json"),
        ("run", "no.edge", "no.jpg"),
        ("run", "no.edge", "no.jpg", "--json"),
        ("run", "no.edge"),
    ],
    ids=" ".join,
)
def test_the_answer_is_the_parsers_answer(words, monkeypatch):
    by_parser = parsed(*words)
    assert _typed(monkeypatch, *words) == (by_parser.code, by_parser.out, by_parser.err)


def test_the_help_of_all_commands_needs_none_of_their_settings():
    few, all_ = cli._command(["--help"]), typer.main.get_command(cli.app)
    assert few.get_help(typer.Context(few)) == all_.get_help(typer.Context(all_))
    assert all(len(one.params) == 0 for one in few.commands.values())
    assert len(cli._command(["bench"]).commands["bench"].params) > 5


@pytest.mark.parametrize(
    ("words", "absent"),
    [
        (["list"], {"typer", "rich", "numpy", "cv2", "torch", "onnx", "pydantic"}),
        (["--help"], {"rich", "numpy", "cv2", "torch", "onnx", "pydantic"}),
        (["run", "small.edge", "picture.png"], {"typer", "rich", "torch", "onnx", "pydantic"}),
    ],
    ids=["list", "help", "run"],
)
def test_what_is_not_needed_is_not_imported(words, absent, tmp_path: Path):
    import cv2
    import numpy as np

    write_small_bundle(tmp_path / "small.edge")
    cv2.imwrite(str(tmp_path / "picture.png"), np.zeros((8, 8, 3), np.uint8))
    code = (
        f"import sys; sys.argv = ['edgesmith', *{words!r}]\nimport edgesmith.__main__ as command\n"
        f"try: command.main()\nexcept SystemExit as left: print(left.code, sorted({absent!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
