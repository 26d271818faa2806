"""Words behind --model-arg become numbers, words and tuples."""

from __future__ import annotations

import pytest

from edgesmith.exporter.plan.model_args import model_args_of
from edgesmith.runtime.errors import UserMistake


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("a=1", 1), ("a=1,1,3,1", (1, 1, 3, 1)), ("a=0.5", 0.5), ("a=(1, 2)", (1, 2)), ("a=[1, 2]", (1, 2)), ("a=gelu", "gelu"),
        ("a=true", True), ("a=False", False), ("a=none", None), ("a=gelu,relu", ("gelu", "relu")), ("a='1'", "1"), ("a=x=y", "x=y"),
    ],
)  # fmt: skip
def test_a_word_is_read(word: str, value: object):
    assert model_args_of([word]) == {"a": value}


def test_a_call_gives_a_mapping():
    assert model_args_of({"depths": [1, (2, 3)], "act": "gelu"}) == {"depths": (1, (2, 3)), "act": "gelu"}


@pytest.mark.parametrize(
    "asked", [["depths"], ["=3"], ["a="], ["a b=3"], ["a=1", "a=2"], ["a={1: 2}"], {"a": object()}]
)
def test_what_is_no_argument_is_told(asked):
    with pytest.raises(UserMistake, match="--model-arg cannot be read"):
        model_args_of(asked)
