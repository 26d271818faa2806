"""Killed at any moment, work is the old one or the new one; the full number of kills is among the slow tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "helpers" / "kills.py"


def kill(kind: str, count: int) -> dict[str, int]:
    done = subprocess.run([sys.executable, PROGRAM, kind, str(count)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", ["publish", "calibration", "engines"])
def test_after_some_kills_the_old_or_the_new_one_is_there_and_no_orphan(kind):
    result = kill(kind, 8)
    assert result["orphans"] == 0 and result["killed"] + result["done before"] == 8


@pytest.mark.slow
@pytest.mark.parametrize("third", range(3))
@pytest.mark.parametrize("kind", ["publish", "export", "calibration", "engines"])
def test_after_150_kills_the_old_or_the_new_one_is_there_and_no_orphan(kind, third):
    """In three parts: on a busy machine 150 exports take longer than a test may before it counts as hung."""
    result = kill(kind, 50)
    assert result["orphans"] == 0 and result["killed"] > 25
