"""One cell -> its row, whatever becomes of its process. Runs here, or as a task of Ray on some other machine."""

from __future__ import annotations

import json
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .....runtime.errors import UserMistake
from .....runtime.ground.scratch import temporary_folder
from .cells import Cell
from .child import STAGE
from .limits import Limits, run_limited

BUNDLES, LOGS = "bundles", "logs"


@dataclass(frozen=True)
class Place:
    """Where and how the cells of a sweep run; every path is the same on all machines."""

    out: Path  # absolute
    folder: str  # that relative paths in settings start from
    limits: Limits
    rounds: int
    threads: int


def run_cell(cell: Cell, place: Place) -> dict[str, Any]:
    """The row: what the process told before it ended, how it ended, and what it took.

    UserMistake where this machine does not see the folders of the sweep.
    """
    _check_shared(place)
    log = place.out / LOGS / f"{cell.name}.txt"
    log.write_text(f"{cell.line.asked} for {cell.target} in {cell.precision}, on {socket.gethostname()}\n")
    with temporary_folder() as scratch:
        row_file = scratch / "row.json"
        asked = {
            "model": cell.line.model,
            "choices": cell.choices,
            "bundle": str(place.out / BUNDLES / f"{cell.name}.edge"),
            "rounds": place.rounds,
            "row": str(row_file),
        }
        command = [sys.executable, "-m", f"{__package__}.child"]
        ended = run_limited(command, json.dumps(asked), log, place.limits, _environment(place.threads), place.folder)
        told = json.loads(row_file.read_text()) if row_file.is_file() else {}
    timing = {"seconds": round(ended.seconds, 1), "peak_mb": round(ended.peak_mb), **told.pop("timing", {})}
    if ended.passed:
        told = {"exit_code": ended.code, "why": _passed(ended.passed, place.limits, log), "limit": ended.passed}
    elif not told:
        code = ended.code if ended.code >= 0 else 128 - ended.code
        told = {"exit_code": code or 1, "why": f"its process ended with code {code}, {_stage(log)}"}
    return {**cell.to_json(), "name": cell.name, **told, "timing": timing}


def _passed(which: str, limits: Limits, log: Path) -> str:
    said = f"{limits.seconds:g} s" if which == "time" else f"{limits.memory_mb:g} MB"
    return f"more than {said}, {_stage(log)}"


def _stage(log: Path) -> str:
    """The last stage that began."""
    begun = [line for line in log.read_text(errors="replace").splitlines() if line.startswith(STAGE)]
    return f"in stage {begun[-1].removeprefix(STAGE).partition(':')[0]}" if begun else "before its first stage"


def _environment(threads: int) -> dict[str, str]:
    """The package is found where it is found here, from any folder."""
    paths = [os.environ.get("PYTHONPATH", ""), *map(os.path.abspath, filter(None, sys.path))]
    own = {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": str(threads)}
    return {**os.environ, **own}


def _check_shared(place: Place) -> None:
    for folder, flag in ((place.out / LOGS, f"--out {place.out}"), (Path(place.folder), "the folder you are in")):
        if not folder.is_dir():
            raise UserMistake(
                "A machine of the cluster does not see the folders of this sweep",
                found=f"no folder {folder} on {socket.gethostname()}",
                expected=f"{flag} at the same path on every machine",
                because="bundles and logs are written there, and paths in settings start there",
                attempt="a folder that all machines share, such as one on NFS",
            )
