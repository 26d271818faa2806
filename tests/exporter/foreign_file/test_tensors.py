"""A file with several inputs is the task tensors: arrays by name in .npz files, from export to bench."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from command_line import edgesmith
from onnx_files import arrays, two_inputs
from openvino_here import openvino_or_skip

import edgesmith as product
from edgesmith.exporter.patterns import rewrite as passes
from edgesmith.exporter.run.nouns import ExportedGraph, PassRecord, RewrittenGraph
from edgesmith.runtime.bundle.bundle import open_bundle
from edgesmith.runtime.errors import UserMistake

OUTPUTS = ["tokens/out:0", "pooled", "best"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_inputs(tmp_path_factory.mktemp("two") / "two.onnx")


@pytest.fixture(scope="module")
def bundle(file: Path) -> Path:
    out = file.with_name("two.edge")
    answer = edgesmith("export", "--model", str(file), "--out", str(out))
    assert answer.code == 0, answer.err
    return out


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    np.savez(tmp_path / "inputs.npz", **arrays())
    return tmp_path / "inputs.npz"


def test_names_types_and_open_axes_are_those_of_the_file(bundle: Path):
    opened = open_bundle(bundle)
    assert [(one.name, one.dtype, one.shape) for one in opened.inputs] == [
        ("ids", "int64", ("n", 16)),
        ("weights", "float32", ("n", 16)),
    ]
    assert [one.name for one in opened.outputs] == OUTPUTS
    assert any("the size t of ids is open: 16 was assumed" in note for note in opened.manifest["notes"])


def test_run_gives_what_the_file_gives(bundle: Path, file: Path, inputs: Path, tmp_path: Path):
    answer = edgesmith("run", str(bundle), str(inputs), "--save", str(tmp_path / "outputs.npz"))
    assert answer.code == 0 and "tokens/out:0  float32 3 x 16 x 8" in answer.out
    expected = onnxruntime.InferenceSession(str(file)).run(OUTPUTS, arrays())
    with np.load(tmp_path / "outputs.npz") as found:
        for name, array in zip(OUTPUTS, expected, strict=True):
            np.testing.assert_allclose(found[name], array, atol=1e-5)


def test_json_describes_the_outputs(bundle: Path, inputs: Path):
    (row,) = json.loads(edgesmith("run", str(bundle), str(inputs), "--json").out)
    assert [one["name"] for one in row["outputs"]] == OUTPUTS and row["outputs"][2]["dtype"] == "int64"


def test_the_self_test_has_a_row_for_each_output(bundle: Path):
    answer = edgesmith("test", str(bundle), "--json")
    rows = json.loads(answer.out)
    assert answer.code == 0 and [row["output"] for row in rows] == OUTPUTS
    assert rows[2]["limit"] == "the same numbers" and all(row["cases"] == 2 for row in rows)


def test_bench_is_beside_the_file(bundle: Path):
    answer = edgesmith(
        "bench", str(bundle), "--rounds", "2", "--against", "plain", "--no-memory", "--batch", "2", "--json"
    )
    assert answer.code == 0, answer.err
    assert [row["max_abs"] < 1e-4 for row in json.loads(answer.out)["rows"]] == [True, True]


def test_sizes_that_are_asked_for_are_promised(file: Path, tmp_path: Path):
    flags = [
        f"--{key}-shapes=ids:{n}x{t},weights:{n}x{t}" for key, n, t in (("min", 1, 4), ("opt", 2, 8), ("max", 3, 12))
    ]
    answer = edgesmith("export", "--model", str(file), "--out", str(tmp_path / "t.edge"), *flags)
    assert answer.code == 0, answer.err
    opened = open_bundle(tmp_path / "t.edge")
    assert opened.inputs[1].shape == ("n", "t")
    assert [opened.inputs[1].limits(axis) for axis in (0, 1)] == [(1, 3), (4, 12)]
    assert {tuple(row["shape"]) for row in opened.manifest["parity"]} == {(1, 4), (2, 8), (3, 12)}


def test_arrays_of_ones_own_judge_too(file: Path, inputs: Path, tmp_path: Path):
    answer = edgesmith("export", "--model", str(file), "--data", str(inputs), "--out", str(tmp_path / "t.edge"))
    assert answer.code == 0, answer.err
    kinds = {row["inputs"].partition(",")[0] for row in open_bundle(tmp_path / "t.edge").manifest["parity"]}
    assert kinds == {"seeded", "given"}


def test_fp16_is_held_to_its_limit(file: Path, tmp_path: Path):
    openvino_or_skip()
    out = str(tmp_path / "t.edge")
    answer = edgesmith("export", "--model", str(file), "--precision", "fp16", "--target", "openvino", "--out", out)
    assert answer.code == 0, answer.err
    assert edgesmith("test", out).code == 0


def test_a_picture_is_refused_in_words(bundle: Path):
    with product.load(bundle) as session, pytest.raises(UserMistake, match="takes arrays, not pictures") as caught:
        session(np.zeros((8, 8, 3), np.uint8))
    assert "ids int64 n x 16" in str(caught.value)


def test_an_input_that_nothing_reads_stays_and_sizes_of_an_example_do_not(file: Path, tmp_path: Path):
    """Other tools leave unused inputs in, and the sizes of the example at the outputs of an open graph."""
    model = onnx.load(file)
    model.graph.input.append(onnx.helper.make_tensor_value_info("kinds", onnx.TensorProto.INT64, ["n", "t"]))
    for value, sizes in zip(model.graph.output, ((1, 4, 8), (1, 8), (1,)), strict=True):
        for dim, size in zip(value.type.tensor_type.shape.dim, sizes, strict=True):
            dim.dim_value = size
    onnx.save(model, tmp_path / "odd.onnx")
    answer = edgesmith("export", "--model", str(tmp_path / "odd.onnx"), "--out", str(tmp_path / "odd.edge"))
    assert answer.code == 0, answer.err
    opened = open_bundle(tmp_path / "odd.edge")
    assert [one.name for one in opened.inputs] == ["ids", "weights", "kinds"]
    assert [len(one.shape) for one in opened.outputs] == [3, 2, 1] and opened.outputs[1].shape[1] == 8
    with product.load(opened) as session:
        found = session.run({**arrays(), "kinds": arrays()["ids"]})
    assert found["pooled"].shape == (3, 8)


def test_a_dry_run_says_the_plan(file: Path, tmp_path: Path):
    out = str(tmp_path / "t.edge")
    answer = edgesmith("export", "--model", str(file), "--dry-run", "--json", "--out", out)
    assert answer.code == 0 and json.loads(answer.out)["plan"]["opt_shape"] == [1, 16]
    assert edgesmith("export", "--model", str(file), "--dry-run", "--out", out).code == 0


def doubled(graph: RewrittenGraph) -> RewrittenGraph:
    """What a pass leaves that loses its way: the table of words twice as large."""
    value = next(one for one in graph.model.graph.initializers.values() if one.const_value.dtype == ir.DataType.FLOAT)
    value.const_value = ir.tensor(2 * value.const_value.numpy(), name=value.name)
    return replace(graph, passes=(*graph.passes, PassRecord("Broken", 1)))


@pytest.mark.may_leave_out
def test_a_pass_that_changes_the_numbers_is_left_out(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = passes.rewrite

    def rewrite(exported: ExportedGraph, order: str, *, skip: Sequence[str] = (), **_: object) -> RewrittenGraph:
        made = real(exported, order, skip=[name for name in skip if name != "Broken"])
        return made if "Broken" in skip else doubled(made)

    monkeypatch.setattr(passes, "rewrite", rewrite)
    answer = edgesmith("export", "--model", str(file), "--out", str(tmp_path / "t.edge"))
    assert answer.code == 0, answer.err
    assert any(note.startswith("left out: Broken") for note in open_bundle(tmp_path / "t.edge").manifest["notes"])


@pytest.mark.may_leave_out
def test_a_graph_that_computes_something_else_ends_with_1(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = passes.rewrite
    monkeypatch.setattr(passes, "rewrite", lambda exported, order, **_: doubled(real(exported, order)))
    monkeypatch.chdir(tmp_path)
    answer = edgesmith("export", "--model", str(file), "--out", "t.edge")
    assert answer.code == 1 and "does not compute what the file itself computes" in answer.err
    assert not (tmp_path / "t.edge").exists() and (tmp_path / "t.run").is_dir()
