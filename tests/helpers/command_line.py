"""The command as a user types it, run in this process: exit code and what went to both streams."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass

# a process with the base install only: what a device has
BASE_ONLY = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"typer", "rich", "torch", "onnx", "onnx_ir", "onnxscript", "timm"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in ("typer", "rich") else real(name, *rest)
import edgesmith.__main__ as command
sys.argv = ["edgesmith", *sys.argv[1:]]
command.main()
"""


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


def edgesmith(*words: str) -> Answer:
    """``edgesmith WORDS``; the exit code stands in the answer."""
    from edgesmith.exporter.commands.cli import main

    return _answer(main, words)


def on_device(*words: str) -> Answer:
    """The same with the command that a device has."""
    from edgesmith.runtime.commands.cli import main

    return _answer(main, words)


def _answer(main: Callable[[list[str]], None], words: tuple[str, ...]) -> Answer:
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(words))
        except SystemExit as leave:
            code = leave.code if isinstance(leave.code, int) else 1
    return Answer(code, out.getvalue(), err.getvalue())
