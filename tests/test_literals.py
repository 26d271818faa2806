"""Names that belong in one table stand nowhere else in the product's code: counted over its syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import edgesmith
from edgesmith.models.registry import FAMILIES

ROOT = Path(edgesmith.__file__).parent


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every string that is no docstring, and of every name that is defined, read or imported."""
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str) and id(node) not in docstrings:
                yield line, node.value
        elif isinstance(node, ast.Name):
            yield line, node.id
        elif isinstance(node, ast.Attribute):
            yield line, node.attr
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield line, node.name
        elif isinstance(node, ast.arg | ast.keyword):
            yield line, node.arg or ""
        elif isinstance(node, ast.alias):
            yield from ((line, name) for name in (node.name, node.asname) if name)
        elif isinstance(node, ast.ImportFrom):
            yield line, node.module or ""


def places(folder: str, names: frozenset[str]) -> list[str]:
    """Where a literal under ``folder`` has one of the names as a word of its own, ``file:line text``."""
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        for line, text in literals(path):
            if not names.isdisjoint(words(text)):
                found.append(f"{path.relative_to(ROOT)}:{line} {text}")
    return found


def words(text: str) -> set[str]:
    """The words of a name or a sentence in lower case, and pairs of neighbours: ``_DamoYolo`` -> damo, yolo, damo_yolo."""
    spaced = "".join(f" {letter}" if letter.isupper() else letter if letter.isalnum() else " " for letter in text)
    plain = "".join(letter if letter.isalnum() else " " for letter in text).lower().split()
    apart = spaced.lower().split()
    return {*plain, *apart, *("_".join(pair) for one in (plain, apart) for pair in pairwise(one))}


@pytest.mark.parametrize(
    ("text", "word"), [("davit", "davit"), ("fuse_smt", "smt"), ("DamoYolo", "damo_yolo"), ("of VAN's", "van")]
)
def test_a_name_is_found_however_it_is_written(text: str, word: str) -> None:
    assert word in words(text)


def test_no_pass_knows_a_family_of_models() -> None:
    """A pass looks for what is computed; which networks compute it is said in models/."""
    assert places("exporter/patterns", frozenset(FAMILIES)) == []
