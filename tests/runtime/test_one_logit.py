"""A classifier with one logit is one of two classes: its sigmoid is the probability, its sign the answer."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from command_line import edgesmith as command
from one_logit_bundle import one_logit, picture
from small_bundle import GRAPH

import edgesmith
from edgesmith.runtime.ground.numbers import smallest_cosine
from edgesmith.runtime.tasks.classification import top_k
from edgesmith.runtime.tasks.selftest import agreement


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["cat", "dog"], ["cat", "dog"]),
        (["dog"], ["not dog", "dog"]),
        (["class 0"], ["class 0", "class 1"]),
    ],
)
def test_the_probability_is_that_of_the_sigmoid(tmp_path: Path, labels: list[str], names: list[str]):
    with edgesmith.load(one_logit(tmp_path / "one.edge", labels)) as session:
        for red, blue in ((0.2, 0.0), (0.0, 0.2), (0.6, 0.4)):
            answer = session(picture(red, blue))
            positive = 1 / (1 + math.exp(-8 * (red - blue)))
            found = {guess.label: guess.probability for guess in answer.top()}
            assert found == pytest.approx({names[1]: positive, names[0]: 1 - positive}, abs=1e-5)
            assert (answer.best.label, answer.best.index) == ((names[1], 1) if red > blue else (names[0], 0))
            assert answer.logits.shape == (1,) and len(answer.top(1)) == 1


def test_the_command_prints_both_classes_and_json_has_both(tmp_path: Path):
    import cv2

    bundle = one_logit(tmp_path / "one.edge", ["cat", "dog"])
    cv2.imwrite(str(tmp_path / "blue.png"), picture(0.0, 0.2)[..., ::-1])
    text = command("run", str(bundle), str(tmp_path / "blue.png"))
    assert text.code == 0 and "83.20%  cat" in text.out and "16.80%  dog" in text.out
    told = command("run", str(bundle), str(tmp_path / "blue.png"), "--json", "--top", "1")
    assert '"label": "cat"' in told.out and '"index": 0' in told.out and "dog" not in told.out


def test_logits_with_axes_of_one_entry_are_logits(tmp_path: Path):
    graph = GRAPH.replace("logits = Flatten<axis = 1>(mean)", "logits = Identity(mean)")
    graph = graph.replace("float[1, 3] logits", "float[1, 3, 1, 1] logits")
    bundle = one_logit(tmp_path / "wide.edge", ["red", "green", "blue"], graph, (1, 3, 1, 1))
    with edgesmith.load(bundle) as session:
        assert session(picture(0.1, 0.9)).best.label == "blue" and session(picture(0.9, 0.1)).best.label == "red"


def test_a_logit_of_zero_is_the_first_class_with_a_half():
    (row,) = top_k(np.zeros((1, 1), np.float32), ["cat", "dog"])
    assert [(guess.label, guess.probability) for guess in row] == [("cat", 0.5), ("dog", 0.5)]


def test_a_cosine_of_one_number_says_how_far_it_is_off():
    """Vectors of length 5 that lie 1 apart have the cosine 1 - 1 / (2 x 25) = 0.98; of numbers the plain cosine is 1."""
    expected = np.array([[3.0], [-4.0], [5 * math.sqrt(2)]])  # root mean square 5
    assert smallest_cosine(expected, expected + [[0.0], [1.0], [0.0]]) == pytest.approx(0.98)
    assert smallest_cosine(expected, 0.2 * expected) == pytest.approx(1 - (0.8 * 5 * math.sqrt(2)) ** 2 / 50)
    assert smallest_cosine(expected, expected) == 1.0 and smallest_cosine(expected, expected * np.nan) == -1.0
    near = np.array([[1e-4]])
    assert smallest_cosine(near, -near) > 0.9999, "a picture on the border may fall on either side"


@pytest.mark.parametrize(("precision", "off", "holds"), [
    ("int8", 0.2, True), ("int8", 0.5, False), ("fp16", 0.005, True), ("fp16", 0.05, False),
])  # fmt: skip
def test_a_self_test_of_one_logit_can_fail(precision: str, off: float, holds: bool):
    """Half of every logit has a cosine of 1 with it: for one number that held whatever the device computed."""
    logits = np.array([[2.0], [-1.0], [-3.0], [1.5]], np.float32)
    row = agreement("logits", logits, logits * np.float32(1 - off), precision)
    assert row.passed is holds and row.top1 == 1.0
    turned = agreement("logits", logits, logits * np.float32([[1], [1], [1], [-1]]), precision)
    assert not turned.passed and turned.top1 == 0.75
