"""Expressions of the fused ops: text, postfix and value agree with Python's own arithmetic; everything else is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesmith.runtime.plugins.expressions import parse

NAMES = {"B": 3, "N": 197, "D": 48, "bits": 4}


def cdiv(a: int, b: int) -> int:
    return math.ceil(a / b)


PYTHON = {"__builtins__": {}, "cdiv": cdiv, "min": min, "max": max, **NAMES}


def texts() -> st.SearchStrategy[str]:
    """Nested expressions over NAMES whose divisors are never 0."""
    leaves = st.one_of(st.sampled_from(sorted(NAMES)), st.integers(0, 99).map(str))
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
            st.tuples(inner, st.integers(1, 9)).map(lambda p: f"({p[0]} // {p[1]})"),
            st.tuples(inner, st.integers(1, 9)).map(lambda p: f"cdiv({p[0]}, {p[1]})"),
            st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(lambda p: f"{p[0]}({p[1]}, {p[2]})"),
            st.tuples(inner, st.sampled_from(["==", "<"]), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        ),
        max_leaves=8,
    )


@settings(max_examples=200, derandomize=True)
@given(texts())
def test_the_value_is_what_python_says(text):
    assert parse(text).value(NAMES) == eval(text, dict(PYTHON))


def test_an_expression_is_kept_in_postfix_with_its_names():
    expression = parse("cdiv(N, 64) * B")
    assert expression.postfix == ("N", 64, "cdiv", "B", "*")
    assert expression.names == ("N", "B")


def test_and_is_a_product_of_zero_and_one():
    both = parse("D == 48 and bits == 4")
    assert both.value(NAMES) == 1
    assert both.value({**NAMES, "bits": 2}) == 0


def test_another_algebra_decides_what_operands_are():
    words = {sign: lambda a, b, sign=sign: f"({a} {sign} {b})" for sign in ("+", "cdiv")}
    assert parse("cdiv(N, 64) + 1").value({"N": "n"}, words, str) == "((n cdiv 64) + 1)"


@pytest.mark.parametrize(
    "text", ["", "N +", "N / 2", "2.5", "True", "f(N)", "N if B else D", "N[0]", "N.size", "N < B < D", "min(N)", "N or B", "-N"]
)  # fmt: skip
def test_what_is_no_arithmetic_is_refused(text):
    with pytest.raises(ValueError, match="expression|only"):
        parse(text)


def test_an_unknown_name_is_a_key_error():
    with pytest.raises(KeyError, match="M"):
        parse("M + 1").value(NAMES)
