"""A transformers that gives other positions is refused, told by what it does; and by its number where it is too old."""

import numpy as np
import pytest

from edgesmith.models.families.gui_aima import network, versions
from edgesmith.models.families.gui_aima.prompt import positions
from edgesmith.models.families.gui_aima.versions import check_positions, check_transformers, positions_seen
from edgesmith.runtime.errors import UserMistake


def right(ids, types, grid):
    return positions(versions.BEFORE, grid, versions.BEHIND)[:, None]


def test_the_transformers_here_is_right():
    check_transformers()


def test_the_right_positions_pass():
    check_positions(right, "a stand-in")


def test_without_token_types_transformers_falls_back_to_one_axis_and_that_is_refused():
    """It raises no error then: that is why what reaches the rotary table is looked at."""
    with pytest.raises(UserMistake, match="positions of one axis"):
        check_positions(lambda ids, types, grid: positions_seen(ids, None, grid), "a stand-in")


def transposed(ids, types, grid):
    return right(ids, types, grid[::-1])


def with_time(ids, types, grid):
    found = right(ids, types, grid).copy()
    found[0, 0, versions.BEFORE :] += 1
    return found


def swapped_axes(ids, types, grid):
    return right(ids, types, grid)[[0, 2, 1]]


def flat(ids, types, grid):
    return np.arange(ids.shape[1])


@pytest.mark.parametrize("wrong", [transposed, with_time, swapped_axes])
def test_other_positions_are_refused(wrong):
    with pytest.raises(UserMistake, match="that are others"):
        check_positions(wrong, "a stand-in")


def test_positions_of_one_axis_are_refused():
    with pytest.raises(UserMistake, match="positions of one axis"):
        check_positions(flat, "a stand-in")


def test_a_module_that_takes_no_token_types_is_refused():
    def older(ids, grid):
        raise AssertionError("never called")

    with pytest.raises(UserMistake, match="TypeError"):
        check_positions(older, "a stand-in")


@pytest.mark.parametrize("number", ["4.51.3", "5.0.0", "5.19.4"])
def test_an_older_transformers_is_refused(monkeypatch, number):
    monkeypatch.setattr(network, "installed", lambda: number)
    with pytest.raises(UserMistake, match="newer transformers"):
        network.check_version()


def test_no_transformers_is_told(monkeypatch):
    monkeypatch.setattr(network, "installed", lambda: "")
    with pytest.raises(UserMistake, match="no transformers"):
        network.check_version()


@pytest.mark.parametrize("number", ["5.20.0", "5.24.0", "5.24.0.dev0", "6.0"])
def test_a_newer_one_is_asked(monkeypatch, number):
    monkeypatch.setattr(network, "installed", lambda: number)
    network.check_version()
