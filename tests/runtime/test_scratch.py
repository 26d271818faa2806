"""What a killed process leaves is told from what a living one works in, and from what is not ours."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.ground import scratch
from edgesmith.runtime.ground.files import replace_file, replacing
from edgesmith.runtime.ground.places import check_output
from edgesmith.runtime.ground.scratch import abandoned, alone, sweep, work_folder

# Killed with all of it open: a work folder with files, a file on its way, a lock; and a child that outlives it without them.
KILLED = """
import os, subprocess, sys
from pathlib import Path
from edgesmith.runtime.ground.files import replacing
from edgesmith.runtime.ground.scratch import alone, work_folder
folder = Path(sys.argv[1])
with alone(folder / "a.edge"), work_folder(folder / "a.edge") as work, replacing(folder / "table.json") as file:
    (work / "new" / "engines").mkdir(parents=True)
    (work / "new" / "model.onnx").write_bytes(bytes(1000))
    file.write(b"half")
    file.flush()
    child = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    if sys.argv[2] == "living":
        sys.stdin.read()
    os.kill(os.getpid(), 9)
"""


def started(folder: Path, how: str) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    return process, int(process.stdout.readline())


def test_the_leftovers_of_a_killed_process_go_and_those_of_a_living_one_stay(tmp_path):
    living, child = started(tmp_path, "living")
    its_own = sorted(path.name for path in tmp_path.iterdir())
    assert len(its_own) == 3
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == its_own and list(abandoned(tmp_path)) == []
    living.communicate()
    assert living.returncode == -9 and sorted(path.name for path in tmp_path.iterdir()) == its_own
    check_output(tmp_path / "table.json", "--save")
    assert list(tmp_path.iterdir()) == []
    os.kill(child, 9)


def test_what_is_not_ours_stays(tmp_path):
    for name in ("photos.abcdefgh.part", ".table.lock", "notes.edgesmith.part.txt", ".a.edge.abcdefgh.work.txt"):
        (tmp_path / name).write_text("mine")
    mine = tmp_path / ".mine.abcdefgh.work"
    mine.mkdir()
    (mine / "text.txt").write_text("mine")
    (tmp_path / ".link.abcdefgh.work").symlink_to(mine)
    young = tmp_path / ".a.edge.abcdefgh.partial"  # of a version that held no lock: it may still be at work
    young.mkdir()
    before = sorted(tmp_path.rglob("*"))
    sweep(tmp_path)
    sweep(tmp_path / "gone")
    assert sorted(tmp_path.rglob("*")) == before
    os.utime(young, (0, 0))
    sweep(tmp_path)
    assert not young.exists()


def test_killed_before_it_held_its_folder_or_after_it_let_go(tmp_path):
    (tmp_path / ".a.edge.abcdefgh.work").mkdir()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_a_sweep_took_before_it_was_held_is_made_again(tmp_path, monkeypatch):
    taken, make = [], tempfile.mkdtemp

    def swept(**words):
        folder = make(**words)
        if not taken:
            taken.append(folder)
            sweep(tmp_path)
        return folder

    monkeypatch.setattr(tempfile, "mkdtemp", swept)
    with work_folder(tmp_path / "a.edge") as work:
        assert work.is_dir() and str(work) != taken[0] and not Path(taken[0]).exists()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_a_sweep_took_before_it_was_held_is_made_again(tmp_path, monkeypatch):

    taken, make = [], tempfile.mkstemp

    def swept(**words):
        handle, name = make(**words)
        if not taken:
            taken.append(name)
            sweep(tmp_path)
        return handle, name

    monkeypatch.setattr(tempfile, "mkstemp", swept)
    with replacing(tmp_path / "table.json") as file:
        file.write(b"whole")
        assert not Path(taken[0]).exists()
    assert [path.name for path in tmp_path.iterdir()] == ["table.json"]
    assert (tmp_path / "table.json").read_bytes() == b"whole"


def test_a_lock_that_is_held_for_too_long_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "WAIT_S", 0.0)
    with (
        alone(tmp_path / "a.edge"),
        alone(tmp_path / "b.edge"),
        pytest.raises(UserMistake, match="another process"),
        alone(tmp_path / "a.edge"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_without_locks_nothing_young_is_removed_and_everything_works(tmp_path, monkeypatch):
    """As on a file system that has none."""

    def unknown(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(scratch.fcntl, "flock", unknown)
    with work_folder(tmp_path / "a.edge") as work, alone(tmp_path / "a.edge"):
        sweep(tmp_path)
        assert work.is_dir()
        with replacing(tmp_path / "table.json") as file:
            file.write(b"x")
        for path in (work / "lock", work):
            os.utime(path, (0, 0))
        sweep(tmp_path)
        assert not work.exists(), "a day without a sign of life"
    assert [path.name for path in tmp_path.iterdir()] == ["table.json"]


def test_where_files_do_not_keep_their_numbers_all_is_written_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "_is_at", lambda path, handle: False)  # some file systems in user space
    replace_file(tmp_path / "a.json", b"written")
    with alone(tmp_path / "a.edge"), work_folder(tmp_path / "a.edge") as work:
        assert work.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == b"written"
