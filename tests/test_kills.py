"""Killed at any moment, work is the old one or the new one; the full number of kills is among the slow tests."""

from __future__ import annotations

import pytest
from kill_kinds import KINDS as OF_A_FLEET
from kill_programs import needs, told


@pytest.mark.parametrize("kind", ["publish", "calibration", "engines"])
def test_after_some_kills_the_old_or_the_new_one_is_there_and_no_orphan(kind):
    result = told("kills.py", kind, 8)
    assert result["left"] == {} and result["killed"] + result["done before"] == 8


@pytest.mark.parametrize(("kind", "every"), [(kind, 5 if kind in ("build", "triton") else 1) for kind in OF_A_FLEET])
def test_killed_before_any_step_the_old_or_the_new_one_is_there_and_nothing_else_after_the_next_run(kind, every):
    """Those that take long, before each fifth; all of their steps are among the slow tests."""
    needs(kind)
    result = told("kill_steps.py", kind, every)
    assert result["left"] == {} and result["steps"] >= 5 and result["old"] >= 4 and result["new"] >= 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["build", "triton"])
def test_killed_before_each_of_the_steps_of_what_takes_long(kind):
    result = told("kill_steps.py", kind)
    assert result["left"] == {} and result["steps"] > 30


@pytest.mark.slow
@pytest.mark.parametrize("third", range(3))
@pytest.mark.parametrize("kind", ["publish", "export", "calibration", "engines"])
def test_after_150_kills_the_old_or_the_new_one_is_there_and_no_orphan(kind, third):
    """In three parts: on a busy machine 150 exports take longer than a test may before it counts as hung."""
    result = told("kills.py", kind, 50, third)
    assert result["left"] == {} and result["killed"] > 25


@pytest.mark.slow
@pytest.mark.parametrize("fifth", range(5))
def test_after_50_kills_of_an_export_that_calibrates_the_old_or_the_new_one_is_there(fifth):
    result = told("kills.py", "int8", 10, fifth)
    assert result["left"] == {} and result["killed"] > 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", OF_A_FLEET)
def test_after_50_kills_at_random_moments_the_old_or_the_new_one_is_there(kind):
    """Some of them are so short that a busy machine may begin to kill late."""
    needs(kind)
    result = told("kills.py", kind, 50)
    assert result["left"] == {} and result["killed"] + result["done before"] == 50
