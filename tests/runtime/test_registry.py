"""Tables that others can add to: by a call, or by an entry point of an installed package."""

from __future__ import annotations

import importlib.metadata
from types import SimpleNamespace

import pytest

from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.ground import registry
from edgesmith.runtime.ground.registry import Registry


@pytest.fixture
def installed(monkeypatch):
    """Entry points as an installed package would have them; the table has not been asked for anything yet."""
    monkeypatch.setattr(registry, "_called", [])
    found: list = []
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: found if group == "edgesmith" else [])
    return found


def test_things_keep_their_order_and_the_same_thing_twice_changes_nothing(installed):
    table = Registry("target", {"cpu": 1})
    table.add("mine", 2)
    table.add("mine", 2)
    assert dict(table) == {"cpu": 1, "mine": 2}


def test_a_taken_name_is_refused_and_the_first_thing_stays(installed):
    table = Registry("target", {"cpu": 1})
    with pytest.raises(UserMistake, match="There is a target cpu already"):
        table.add("cpu", 2)
    assert table["cpu"] == 1


def test_an_installed_package_registers_when_a_table_is_first_asked(installed):
    table: Registry[int] = Registry("target")
    calls = []
    installed.append(
        SimpleNamespace(name="mine", value="mine:add", load=lambda: lambda: calls.append(table.add("x", 1)))
    )
    assert not calls
    assert table["x"] == 1 and "x" in table and len(table) == 1
    assert len(calls) == 1, "called once for all tables"


def test_a_name_that_is_there_needs_no_search_for_extensions(installed, monkeypatch):
    """Looking for them takes longer than to open a bundle, and they could not replace it."""
    table = Registry("task", {"ours": 1})
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: pytest.fail("searched"))
    assert table["ours"] == 1 and "ours" in table and table.get("ours") == 1


def test_a_broken_extension_is_told_and_the_others_go_on(installed):
    table: Registry[int] = Registry("target")

    def broken():
        raise ImportError("no module named nets")

    installed += [
        SimpleNamespace(name="old", value="old:add", load=broken),
        SimpleNamespace(name="mine", value="mine:add", load=lambda: lambda: table.add("x", 1)),
    ]
    with pytest.warns(RuntimeWarning, match="the extension old .* no module named nets"):
        assert list(table) == ["x"]


def test_what_is_made_late_is_made_once_and_when_it_is_asked_for():
    made = []

    def heavy():
        made.append("heavy")
        return 7

    table: Registry[int] = Registry("task", {"light": 1}, made={"heavy": heavy})
    assert list(table) == ["heavy", "light"] and len(table) == 2 and "heavy" in table and "other" not in table
    assert made == []
    assert table["heavy"] == 7 and dict(table) == {"heavy": 7, "light": 1}
    assert made == ["heavy"]
    with pytest.raises(UserMistake, match="heavy already"):
        table.add("heavy", 8)
    assert table.add("heavy", 7) == 7
