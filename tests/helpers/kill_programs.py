"""What the programs that kill and fill disks say (kills.py, kill_steps.py, full_disk.py)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NEEDED = {"sign": "cryptography", "new key": "cryptography"}


def told(program: str, *words: object) -> dict[str, Any]:
    command = [sys.executable, Path(__file__).with_name(program), *map(str, words)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def needs(kind: str) -> None:
    """Skips where the kind's library is missing."""
    if kind in NEEDED:
        pytest.importorskip(NEEDED[kind])
