"""The folder of a sweep: a file a finished row, so that what was stopped goes on; and whether it may be used at all.

sweep/rows/NAME.json    sweep/bundles/NAME.edge    sweep/logs/NAME.txt    sweep/sweep.json    sweep/sweep.html
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .....runtime.bundle.manifest import plain
from .....runtime.errors import UserMistake
from .....runtime.ground.files import replace_file
from .cell import BUNDLES, LOGS
from .cells import Cell
from .limits import Limits

LOST = "worker"  # in the place of a limit: a machine or process of the cluster ended
ROWS, TABLE, PAGE = "rows", "sweep.json", "sweep.html"
OURS = {ROWS, BUNDLES, LOGS, TABLE, PAGE}


def check_folder(out: Path) -> Path:
    """The absolute path of a folder that is one of a sweep, or may become it. UserMistake where it holds something else."""
    place = out.absolute()
    others = (
        sorted({path.name for path in place.iterdir() if not path.name.startswith(".")} - OURS)
        if place.is_dir()
        else []
    )
    if others or (place.exists() and not place.is_dir()):
        raise UserMistake(
            f"--out {out} is no folder of a sweep",
            found=f"it holds {', '.join(others[:3])}{' ...' if len(others) > 3 else ''}" if others else "a file",
            expected="a new folder, an empty one, or that of an earlier sweep",
            attempt="--out with another name",
        )
    return place


def make_folders(out: Path) -> None:
    for name in (ROWS, BUNDLES, LOGS):
        (out / name).mkdir(parents=True, exist_ok=True)


def kept_row(out: Path, cell: Cell, limits: Limits, rounds: int) -> dict[str, Any] | None:
    """The row of a cell that ran to its end in an earlier sweep; None where it has to run (again).

    It has to where its worker was lost, where it was ended by a limit that is higher now, and where times are asked for that
    it does not have.
    """
    try:
        row = json.loads((out / ROWS / f"{cell.name}.json").read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(row, dict) or not {"model", "target", "precision", "exit_code", "timing", "asked"} <= row.keys():
        return None
    asked = row["asked"]
    if row.get("limit") == LOST:
        return None
    if row.get("limit") == "time" and limits.seconds > asked["limit_s"]:
        return None
    if row.get("limit") == "memory" and limits.memory_mb > asked["limit_mb"]:
        return None
    if not row["exit_code"] and rounds and not asked["rounds"]:
        return None
    return row


def keep_row(out: Path, cell: Cell, row: dict[str, Any], limits: Limits, rounds: int) -> dict[str, Any]:
    """The row as it is kept, with what it was run with."""
    asked = {"limit_s": limits.seconds, "limit_mb": limits.memory_mb, "rounds": rounds}
    kept: dict[str, Any] = plain({**row, "asked": asked})
    replace_file(out / ROWS / f"{cell.name}.json", json.dumps(kept, indent=1).encode())
    return kept
