"""The driver of ``make fuzz`` sees what it is there to see: a traceback, a hang, a gigabyte, a process that is gone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

DRIVER = Path(__file__).parents[1] / "tools" / "fuzz" / "driver.py"
KIND = """
import os, signal, time, warnings
from pathlib import Path

NAME = "toy"

def prepare(folder):
    (folder / "original").write_text("x")

def mutant(random, folder, target):
    assert (folder / "original").read_text() == "x"
    path = target / "mutant"
    path.write_text(str(random.random()))
    return path

warm = False

def use(path):
    global warm
    from edgesmith.runtime.errors import UserMistake
    end = _next() if warm else "accepted"  # the first of a process is counted with nobody
    warm = True
    if end == "refused":
        raise UserMistake("in words")
    if end == "traceback":
        {}["no such key"]
    if end == "warning":
        warnings.warn_explicit("overflow", RuntimeWarning, "numbers.py", 1, module="edgesmith.runtime.numbers")
    if end == "hang":
        time.sleep(60)
    if end == "over":
        held = bytearray(1_200_000_000)
        held[::4096] = b"x" * len(held[::4096])
    if end == "crash":
        os.kill(os.getpid(), signal.SIGKILL)

def _next():
    done = int(Path(FOLDER, "done").read_text())
    Path(FOLDER, "done").write_text(str(done + 1))
    return ENDS[done]
"""


def told_of(folder: Path, *ends: str, limit_s: int = 60) -> dict[str, Any]:
    """What the driver counts where mutants end so, one after another."""
    kind = folder / "toy.py"
    kind.write_text(KIND + f"\nFOLDER, ENDS = {str(folder)!r}, {ends!r}\n")
    (folder / "done").write_text("0")
    more = ("--count", str(len(ends)), "--limit-s", str(limit_s), "--json")
    answer = subprocess.run(
        [sys.executable, str(DRIVER), "--kinds", str(kind), *more], capture_output=True, text=True, check=False
    )
    (told,) = json.loads(answer.stdout)["kinds"]
    assert answer.returncode == int(any(told[end] for end in ("traceback", "hang", "over"))), answer.stderr
    return told


def test_what_a_process_can_say_of_itself(tmp_path: Path):
    told = told_of(tmp_path, "accepted", "refused", "traceback", "warning", "over", "crash", "accepted")
    counts = {key: told[key] for key in ("mutants", "accepted", "refused", "traceback", "hang", "over", "crash")}
    assert counts == {"mutants": 7, "accepted": 2, "refused": 1, "traceback": 2, "hang": 0, "over": 1, "crash": 1}
    (missing,) = [one for one in told["found"] if one["what"].startswith("KeyError")]
    assert missing["indices"] == [2] and "'no such key'" in missing["what"]


def test_one_that_hangs_is_ended_and_the_next_has_its_turn(tmp_path: Path):
    told = told_of(tmp_path, "hang", "refused", limit_s=2)
    assert (told["mutants"], told["hang"], told["refused"]) == (2, 1, 1)


def test_a_kind_that_is_none_is_named():
    answer = subprocess.run(
        [sys.executable, str(DRIVER), "--kinds", "nothing"], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 2 and "no kind nothing: there are" in answer.stderr
