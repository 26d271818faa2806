"""The committed GUI-AIMA clicks as often on the right thing as is written beside it, through the path a user takes."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgesmith.models.fixtures.fixtures import TRAINED
from edgesmith.models.folders.folder import open_folder

SCREENS = Path(__file__).parents[2] / "tools" / "screens"
FOLDER = TRAINED / "gui_aima_screens"
RECORD = json.loads((TRAINED / "accuracy.json").read_text())["gui_aima_screens"]


@pytest.fixture(scope="module")
def tool() -> Iterator[Any]:
    sys.path.insert(0, str(SCREENS))
    import accuracy
    from learn import cases
    from screen import screen

    yield SimpleNamespace(accuracy=accuracy, cases=cases, screen=screen)
    sys.path.remove(str(SCREENS))


def test_the_folder_is_the_recorded_one_and_small():
    assert hashlib.sha256((FOLDER / "model.safetensors").read_bytes()).hexdigest() == RECORD["sha256"]
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 8e6
    assert open_folder(FOLDER).parameters == RECORD["parameters"]


def test_the_screens_are_the_ones_it_was_judged_on(tool: Any):
    asked = [case.instruction for case in tool.cases.held_out(20, 2)]
    assert hashlib.sha256("\n".join(asked).encode()).hexdigest() == RECORD["instructions_sha256"]


def test_it_clicks_as_often_on_the_right_thing_as_recorded(tool: Any):
    cases = tool.cases.held_out(40, 1)
    tally = tool.cases.Tally.of(cases, tool.accuracy.torch_found(FOLDER, cases).points)
    # of 40 clicks with the recorded share right, 4 fewer than expected is beyond three standard deviations
    assert tally.share >= RECORD["right"] / RECORD["clicks"] - 4 / 40


def test_another_colour_is_another_place(tool: Any):
    """Pointing comes from the sentence: on one screen, two instructions click at two things."""
    cases = tool.cases.held_out(12, 2)
    points = tool.accuracy.torch_found(FOLDER, cases).points
    apart = [
        np.hypot(*np.subtract(first, second))
        for (one, first), (other, second) in zip(
            zip(cases[::2], points[::2], strict=True), zip(cases[1::2], points[1::2], strict=True), strict=True
        )
        if one.picture is other.picture
    ]
    assert len(apart) == 12 and min(apart) > 0.02
