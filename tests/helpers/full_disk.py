"""A disk that is full, that may not be written, or whose files may not grow, from any step of a kind of work on: what is there afterwards.

    python tests/helpers/full_disk.py KIND full|readonly|small [EVERY]

``full``: from that step on nothing new gets a name (ENOSPC); ``readonly``: nothing at all is changed (EROFS), from the first step on;
``small``: no file may grow beyond some bytes, which is the system's own limit. A child does the work, and must end well or with one
of our errors. Prints one JSON object: how often the old and the new one was found, and what was left lying, by the step.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from kills import at_work, in_a_child, litter

NAMED = {"os.rename", "os.mkdir", "os.link"}
CHANGED = {*NAMED, "os.remove", "os.rmdir", "os.chmod"}
SIZES = (0, 1, 30, 200, 1_000, 20_000, 500_000)
MOST = 2_000


def refuse(code: int, step: int, folder: Path) -> None:
    """From its ``step``-th change of files under ``folder`` on, this process gets the error ``code``."""
    done, within, events = 0, os.fsencode(folder), NAMED if code == errno.ENOSPC else CHANGED

    def heard(event: str, words: tuple[Any, ...]) -> None:
        nonlocal done
        place = words[0] if words else None
        if not isinstance(place, (str, bytes, os.PathLike)) or not os.fsencode(place).startswith(within):
            return
        made = event == "open" and words[2] & os.O_CREAT and not os.path.lexists(place)
        written = event == "open" and code == errno.EROFS and words[2] & (os.O_WRONLY | os.O_RDWR)
        if event in events or made or written:
            done += 1
            if done >= step:
                raise OSError(code, os.strerror(code), os.fsdecode(place))

    sys.addaudithook(heard)


def no_more_than(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def trouble(kind: str, how: str, folder: Path, every: int = 1) -> dict[str, Any]:
    """AssertionError where what is found is neither the old one nor the new one, or the work ended with another error than ours."""
    work, place, temporary = at_work(kind, folder)
    prepare = getattr(work, "prepare", lambda number: None)
    prepare(1)
    assert in_a_child(lambda: work.run(1)) == 0
    last, seen, left, ends = work.found(), Counter[str](), {}, Counter[str]()
    steps = range(1, MOST, every) if how == "full" else [1] if how == "readonly" else SIZES

    def hindered(step: int, number: int) -> None:
        from edgesmith.runtime.errors import EdgesmithError

        if how == "small":
            no_more_than(step)
        else:
            refuse(errno.ENOSPC if how == "full" else errno.EROFS, step, folder)
        try:
            work.run(number)
        except EdgesmithError as error:
            assert any(said in str(error) for said in ("No space", "Read-only", "too large", "File too")), error
            os._exit(3)

    for index, step in enumerate(steps):
        prepare(index + 2)
        code = in_a_child(lambda step=step, number=index + 2: hindered(step, number))  # type: ignore[misc]
        assert code in (0, 3), f"step {step}: exit {code}"
        ends["in words" if code else "well"] += 1
        found = work.found()
        if names := litter(folder, place, temporary, work.expected):
            left[step] = names
        assert found in (last, str(index + 2)), f"step {step}: {found} after {last} and {index + 2}"
        seen["old" if found == last else "new"] += 1
        work.next_run()
        last = work.found()
        if how == "full" and found == str(index + 2) and not code:
            break
    return {"kind": kind, "steps": sum(seen.values()), **seen, **ends, "left": left}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as own:
        print(json.dumps(trouble(sys.argv[1], sys.argv[2], Path(own), *map(int, sys.argv[3:]))))
