"""Graphs of old opsets: run as they are where that gives the right numbers, else refused in words that name the opset."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
from command_line import edgesmith
from foreign_graphs import picture_file

from edgesmith.exporter.commands.inspect.compare import compare
from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.run.nouns import ExportedGraph, Shapes
from edgesmith.runtime.errors import UserMistake


def written_in(opset: int, path: Path) -> Path:
    """The file with another number: the operators in these are written alike in all opsets from 7 on."""
    model = onnx.load(path)
    model.opset_import[0].version = opset
    model.ir_version = 7
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("opset", [7, 9, 11, 12])
def test_pictures_of_floats_are_compared_from_opset_7_on(opset: int, tmp_path: Path):
    old = written_in(opset, picture_file(tmp_path / "old.onnx", batch=1))
    found = compare(str(picture_file(tmp_path / "new.onnx", batch=1)), str(old))
    assert found["agree"] and len(found["rows"]) > 0


@pytest.mark.parametrize("command", ["compare", "quant-report"])
def test_what_broadcasts_by_attributes_is_refused(command: str, tmp_path: Path):
    old = str(written_in(6, picture_file(tmp_path / "old.onnx", batch=1)))
    answer = edgesmith(*([command, old, old] if command == "compare" else [command, old]))
    assert answer.code == 2, answer.err
    assert "opset 6" in answer.err and "opset 7 or later" in answer.err and "convert_version" in answer.err


def test_whole_numbers_need_a_round_of_opset_11(tmp_path: Path):
    new = str(picture_file(tmp_path / "new.onnx", "uint8", batch=1))
    old = written_in(10, picture_file(tmp_path / "old.onnx", "uint8", batch=1))
    with pytest.raises(UserMistake, match="too old for this") as caught:
        compare(new, str(old))
    assert "opset 10" in caught.value.found and "opset 11 or later" in caught.value.expected
    assert compare(new, str(written_in(11, old)))["agree"]


def test_a_file_of_an_old_opset_is_still_inspected(tmp_path: Path):
    answer = edgesmith("inspect", str(written_in(6, picture_file(tmp_path / "old.onnx"))))
    assert answer.code == 0 and "opset ai.onnx 6" in answer.out


SOFTMAX = """
<ir_version: 7, opset_import: ["" : OPSET]>
g (float[1, 2, 3, 3] x) => (float[1, 2, 3, 3] y) { y = Softmax(x) }
"""


def test_passes_take_no_softmax_over_all_axes_for_one_over_the_last():
    old = ir.from_proto(onnx.parser.parse_model(SOFTMAX.replace("OPSET", "12")))
    with pytest.raises(UserMistake, match="passes do not read") as caught:
        rewrite(ExportedGraph(old, "old", Shapes.fixed(1, 2, 3, 3)), "cpu")
    assert "opset 12" in caught.value.found and "convert_version" in caught.value.attempt
    new = ir.from_proto(onnx.parser.parse_model(SOFTMAX.replace("OPSET", "13")))
    assert len(rewrite(ExportedGraph(new, "new", Shapes.fixed(1, 2, 3, 3)), "cpu").model.graph) == 1
