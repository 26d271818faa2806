"""SIGKILL before every single step of a kind of work: what is there afterwards, and what lies about after the next run.

    python tests/helpers/kill_steps.py KIND [EVERY]

Steps are what Python's audit hooks hear of the file system: every file that is opened, renamed, linked, removed, locked, every
folder that is made or removed; EVERY 3 takes each third. Prints one JSON object: how many steps there are, how often the old and the new one was
found, and what was left lying, by the step.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from kills import KINDS, at_work, in_a_child, litter

STEPS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.chmod", "fcntl.flock"}
MOST = 2_000


def die_before(step: int, folder: Path) -> None:
    """From now on this process counts what it does to files under ``folder``."""
    done, within = 0, os.fsencode(folder)

    def heard(event: str, words: tuple[Any, ...]) -> None:
        nonlocal done
        if event not in STEPS:
            return
        place = words[0] if words else None
        if event != "fcntl.flock" and not (
            isinstance(place, (str, bytes, os.PathLike)) and os.fsencode(place).startswith(within)
        ):
            return  # modules, the system's own files
        done += 1
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(heard)


def steps(kind: str, folder: Path, every: int = 1) -> dict[str, Any]:
    """AssertionError where what is found is neither the old one nor the new one."""
    work, place, temporary = at_work(kind, folder)
    prepare = getattr(work, "prepare", lambda number: None)
    prepare(1)
    assert in_a_child(lambda: work.run(1)) == 0
    last, seen, left = work.found(), Counter[str](), {}

    def dying(step: int) -> None:
        die_before(step, folder)
        work.run(step + 1)

    for step in range(1, MOST, every):
        prepare(step + 1)
        code = in_a_child(lambda step=step: dying(step))  # type: ignore[misc]
        assert code in (0, -signal.SIGKILL), code
        found = work.found()
        assert found in (last, str(step + 1)), f"step {step}: {found} after {last} and {step + 1}"
        seen["old" if found == last else "new"] += 1
        work.next_run()
        last = work.found()
        if names := litter(folder, place, temporary, work.expected):
            left[step] = names
        if code == 0:
            return {"kind": kind, "steps": sum(seen.values()) - 1, **seen, "left": left}
    raise AssertionError(f"more than {MOST} steps")


if __name__ == "__main__":
    assert sys.argv[1] in KINDS
    with tempfile.TemporaryDirectory() as own:
        print(json.dumps(steps(sys.argv[1], Path(own), *map(int, sys.argv[2:]))))
