"""An operator is its name and its domain: nobody asks for the name alone."""

from __future__ import annotations

import ast
from pathlib import Path

import onnx_ir as ir
import pytest

from edgesmith.graph.read import called, is_op

ROOT = Path(__file__).parents[2]
ASKED_ELSEWHERE = ROOT / "exporter" / "patterns"  # patterns match by their own rules
HERE = ROOT / "graph" / "read.py"


def test_the_domain_is_asked():
    own, other = ir.node("Attention", []), ir.node("Attention", [], domain="com.microsoft")
    assert is_op(own, "Attention") and not is_op(other, "Attention")
    assert is_op(other, ("Attention", "Conv"), "com.microsoft") and not is_op(own, ("Attention",), "com.microsoft")
    assert not is_op(None, "Attention")
    assert (called(own), called(other)) == ("Attention", "com.microsoft.Attention")


def test_the_long_name_of_the_domain_is_the_same():
    assert is_op(ir.node("Conv", [], domain="ai.onnx"), "Conv")


def questions(path: Path) -> list[int]:
    """Lines that compare an ``op_type`` with something."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            found += [one.lineno for one in sides if isinstance(one, ast.Attribute) and one.attr == "op_type"]
    return found


@pytest.mark.parametrize("chapter", ["calibration", "exporter", "graph"])
def test_nobody_compares_a_name_alone(chapter: str):
    files = [one for one in (ROOT / chapter).rglob("*.py") if ASKED_ELSEWHERE not in one.parents and one != HERE]
    assert files
    assert {str(one.relative_to(ROOT)): lines for one in files if (lines := questions(one))} == {}


def test_a_comparison_would_be_seen(tmp_path: Path):
    (tmp_path / "one.py").write_text('a = node.op_type == "Conv"\nb = x or node.op_type not in OPS\nc = node.op_type\n')
    assert questions(tmp_path / "one.py") == [1, 2]
