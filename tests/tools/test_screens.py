"""The synthetic screens: the same from the same seed, boxes on the picture, and sentences that mean one thing."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

SCREENS = Path(__file__).parents[2] / "tools" / "screens"


@pytest.fixture(scope="module")
def tool() -> Iterator[Any]:
    sys.path.insert(0, str(SCREENS))
    import instructions
    import layout
    import screen
    import widgets
    import words

    yield SimpleNamespace(instructions=instructions, layout=layout, screen=screen, widgets=widgets, words=words)
    sys.path.remove(str(SCREENS))


def drawn(tool: Any, split: str = "held_out", count: int = 24) -> Iterator[Any]:
    sizes = tool.screen.SIZES
    return (tool.screen.screen(index, split, sizes[index % len(sizes)]) for index in range(count))


def test_the_same_seed_draws_the_same_screen_and_another_seed_another(tool: Any):
    first, again, other = (tool.screen.screen(5, "train", (252, 336), seed) for seed in (3, 3, 4))
    assert np.array_equal(first.picture, again.picture) and first.asks == again.asks
    assert first.widgets == again.widgets
    assert not np.array_equal(first.picture, other.picture)


def test_the_splits_do_not_share_screens(tool: Any):
    train, held_out = (tool.screen.screen(5, split) for split in tool.screen.SPLITS)
    assert not np.array_equal(train.picture, held_out.picture)


def test_every_box_is_inside_its_picture_and_overlaps_no_other(tool: Any):
    for one in drawn(tool):
        height, width = one.picture.shape[:2]
        covered = np.zeros((height, width), np.int64)
        for x1, y1, x2, y2 in (widget.box for widget in one.widgets):
            assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
            covered[y1:y2, x1:x2] += 1
        assert covered.max() == 1


def test_something_of_a_thing_shows_in_its_box(tool: Any):
    for one in drawn(tool):
        for x1, y1, x2, y2 in (widget.box for widget in one.widgets):
            assert np.ptp(one.picture[y1:y2, x1:x2].astype(np.int64), axis=(0, 1)).max() > 60


def test_a_sentence_means_one_thing(tool: Any):
    """Judged from the sentence alone: the words of it that are facts of things, nouns of the kinds included."""
    nouns = {noun: kind for kind, noun in tool.instructions.NOUNS.items()}
    known = {*tool.words.COLOURS, *tool.words.LABELS, *tool.words.ICONS}
    for one in drawn(tool):
        assert one.asks
        for sentence, which in one.asks:
            said = {nouns.get(word, word) for word in sentence.split() if word in known or word in nouns}
            assert [i for i, widget in enumerate(one.widgets) if said <= widget.facts] == [which], sentence


def test_a_thing_that_is_there_twice_is_not_asked_for(tool: Any):
    button = tool.widgets.Widget("button", (0, 0, 60, 30), "save", "blue")
    asks = tool.instructions.instructions(np.random.default_rng(0), [button, button.at(0, 40)], "train")
    assert list(asks) == []


def test_of_two_buttons_with_one_word_the_colour_is_told(tool: Any):
    blue = tool.widgets.Widget("button", (0, 0, 60, 30), "save", "blue")
    red = tool.widgets.Widget("button", (0, 40, 60, 70), "save", "red")
    for seed in range(20):
        for sentence, which in tool.instructions.instructions(np.random.default_rng(seed), [blue, red], "held_out"):
            assert ("blue", "red")[which] in sentence.split()


def test_no_held_out_sentence_is_one_of_training(tool: Any):
    for by_split in tool.words.PHRASES.values():
        assert not set(by_split["train"]) & set(by_split["held_out"])
        words = {word for sentence in by_split["held_out"] for word in sentence.split()}
        train = {
            word for some in tool.words.PHRASES.values() for sentence in some["train"] for word in sentence.split()
        }
        assert words <= train


def test_pairs_of_colour_and_word_are_kept_for_the_held_out_screens(tool: Any):
    pairs = {
        split: {
            (widget.colour, widget.word)
            for one in drawn(tool, split, 150)
            for widget in one.widgets
            if widget.kind == "button" and widget.colour
        }
        for split in tool.screen.SPLITS
    }
    assert all(tool.layout.kept(colour, word, "train") for colour, word in pairs["train"])
    assert any(not tool.layout.kept(colour, word, "train") for colour, word in pairs["held_out"])


def test_rows_of_accuracy_that_are_measured_again_take_their_place(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(SCREENS))
    spec = importlib.util.spec_from_file_location(
        "accuracy_of_screens", SCREENS / "accuracy.py"
    )  # another has the name
    assert spec is not None and spec.loader is not None
    accuracy = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, accuracy)
    spec.loader.exec_module(accuracy)
    standing = {"command": "all", "rows": [{"row": "a", "right": 1}, {"row": "b", "right": 2}], "date": "then"}
    again = {"command": "b c", "rows": [{"row": "b", "right": 3}, {"row": "c", "right": 4}], "date": "now"}
    found = accuracy.among(standing, again)
    assert [(row["row"], row["right"]) for row in found["rows"]] == [("a", 1), ("b", 3), ("c", 4)]
    assert found["command"] == "all; then b c" and found["date"] == "now"
