"""Told to stop, a command cleans up as after Ctrl-C; killed, the next one does, and never what a living one works in."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# An export that has come as far as its engine: a graph lies in its folder, a builder (which sleeps) runs, then it stands still.
STUCK = """
import sys
from edgesmith.__main__ import main
from edgesmith.exporter import pipeline
from edgesmith.runtime.backends import engine_build

engine_build.COMMAND = [sys.executable, "-c", '''
import json, os, time
from edgesmith.runtime.backends.engine_child import end_with_parent
end_with_parent()
print(json.dumps({"event": "progress", "phase": str(os.getpid()), "step": 0, "steps": 1}), flush=True)
time.sleep(600)
''']

def stuck(plan, run):
    (run.folder / "10-exported.onnx").write_bytes(bytes(100_000))
    request = engine_build.Request("tensorrt", "model.onnx")
    engine_build.run_builder(request, str, progress=lambda pid, *_: print(pid, flush=True))

pipeline.run_plan = stuck
sys.argv = ["edgesmith", "export", "--model", "van_b0", "--num-classes", "2", "--out", sys.argv[1]]
main()
"""


@contextlib.contextmanager
def stuck_export(folder: Path, out: str = "van.edge", *before: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The process and the number of its builder's, once both work; temporary files lie in ``folder``/tmp."""
    (folder / "tmp").mkdir(exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
    with subprocess.Popen(
        [*before, sys.executable, "-c", STUCK, out], cwd=folder, env=environment, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            words = next((line for line in process.stdout if line.strip().isdigit()), "")
            assert words, process.communicate()[1]
            yield process, int(words)
        finally:
            process.kill()


def left(folder: Path) -> list[str]:
    """All that lies in a folder and among its temporary files."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name != "tmp")


def ended(number: int) -> bool:
    """Whether a process is gone; one that nobody has asked for its exit code is."""
    for _ in range(1000):
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            if Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX":
                time.sleep(0.01)
                continue
        return True
    return False


def plan_only(folder: Path, out: str) -> None:
    """The next run there, as far as its plan."""
    from edgesmith.exporter.plan.plan import make_plan

    make_plan("van_b0", num_classes=2, out=folder / out)


@pytest.mark.parametrize(
    "numbers", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGHUP], [signal.SIGHUP, signal.SIGTERM]]
)
def test_told_to_stop_it_leaves_nothing_and_no_builder(tmp_path, interrupts_heard, numbers):
    with stuck_export(tmp_path) as (process, builder):
        assert [name for name in left(tmp_path) if name.endswith("10-exported.onnx")]
        for number in numbers:
            process.send_signal(number)
        _, err = process.communicate()
    assert process.returncode in {128 + number for number in numbers} and "Traceback" not in err
    assert "nothing half-written is left" in err
    assert left(tmp_path) == [] and ended(builder)


def test_started_with_nohup_a_closed_terminal_does_not_end_it(tmp_path):
    with stuck_export(tmp_path, "van.edge", "nohup") as (process, builder):
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, "it was the second that ended it"
    assert left(tmp_path) == [] and ended(builder)


def test_a_terminal_that_is_gone_takes_no_words_and_changes_no_code(tmp_path, interrupts_heard):
    ours, its = pty.openpty()
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    command = [sys.executable, "-c", STUCK, "van.edge"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        shown = ""
        while not (builder := re.search(r"^(\d+)\s*$", shown, re.MULTILINE)):
            shown += os.read(ours, 4096).decode()  # OSError where it ended early
        assert len(left(tmp_path)) > 3
        os.close(ours)
        process.send_signal(signal.SIGHUP)
    assert process.returncode == 128 + signal.SIGHUP
    assert left(tmp_path) == [] and ended(int(builder[1]))


def test_what_a_killed_export_leaves_goes_with_the_next_run_and_a_living_one_keeps_its_folder(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    with stuck_export(tmp_path, "other.edge") as (living, _):
        its_own = left(tmp_path)
        assert len(its_own) > 3
        with stuck_export(tmp_path) as (process, builder):
            process.kill()
        assert process.returncode == -signal.SIGKILL and len(left(tmp_path)) > len(its_own)
        assert ended(builder), "a builder does not outlive its export"
        plan_only(tmp_path, "third.edge")  # of another name
        from edgesmith.runtime.ground.scratch import temporary_folder

        with temporary_folder():
            pass
        assert left(tmp_path) == its_own and living.poll() is None
    plan_only(tmp_path, "van.edge")
    with temporary_folder():
        pass
    assert left(tmp_path) == []
