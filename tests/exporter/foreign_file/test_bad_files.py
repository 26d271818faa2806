"""ONNX files that cannot be exported, and settings that contradict one: one screen each, exit code 2, nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from one_screen import Case, assert_told
from onnx import TensorProto, helper
from onnx_files import arrays, beside, classifier, two_inputs

EXPORT = "export --model net.onnx "
TWO = "export --model two.onnx "


def changed(path: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load(classifier(path))
    change(model)
    onnx.save(model, path)


def cut(folder: Path) -> None:
    path = classifier(folder / "net.onnx")
    path.write_bytes(path.read_bytes()[:900])


def future(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 99


def ancient(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 9


def unknown(model: onnx.ModelProto) -> None:
    model.graph.node[2].domain, model.graph.node[2].op_type = "their.ops", "Swoosh"
    model.opset_import.append(helper.make_opsetid("their.ops", 1))


def training(model: onnx.ModelProto) -> None:
    model.graph.node[1].attribute.append(helper.make_attribute("training_mode", 1))
    model.graph.node[1].output.extend(["mean_out", "var_out"])


def by_chance(model: onnx.ModelProto) -> None:
    model.graph.node[2].CopyFrom(helper.make_node("RandomNormalLike", ["normed"], ["bent"], name="noise"))


def nothing(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 0


def texts(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING


def sequence(model: onnx.ModelProto) -> None:
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, [1, 5])
    model.graph.output[0].CopyFrom(helper.make_value_info("scores", helper.make_sequence_type_proto(kind)))


def in_bfloat16(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.BFLOAT16


def branch(model: onnx.ModelProto) -> None:
    def one(op: str) -> onnx.GraphProto:
        return helper.make_graph(
            [helper.make_node(op, ["normed"], [f"{op}_out"])], op, [], [onnx.ValueInfoProto(name=f"{op}_out")]
        )

    model.graph.initializer.append(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    node = helper.make_node("If", ["yes"], ["bent"], name="if", then_branch=one("Relu"), else_branch=one("Sigmoid"))
    model.graph.node[2].CopyFrom(node)


def misfit(model: onnx.ModelProto) -> None:
    """Sizes that no engine can add: told by the engine, from a process of its own."""
    rows = next(one for one in model.graph.initializer if one.name == "rows")
    rows.CopyFrom(onnx.numpy_helper.from_array(np.zeros((5, 9), np.float32), "rows"))


def baked(model: onnx.ModelProto) -> None:
    """The batch of the example inside, as tracing tools leave it: open outside, and right for one picture only."""
    model.graph.initializer.append(helper.make_tensor("sizes", TensorProto.INT64, [2], [1, 8]))
    model.graph.node[6].CopyFrom(helper.make_node("Reshape", ["pooled", "sizes"], ["flat"], name="flat"))


def net(change: Callable[[onnx.ModelProto], None]) -> Callable[[Path], None]:
    return lambda folder: changed(folder / "net.onnx", change)


def plain(folder: Path) -> None:
    classifier(folder / "net.onnx")
    classifier(folder / "four.onnx", batch=4)
    two_inputs(folder / "two.onnx")
    np.savez(folder / "other.npz", pixels=np.zeros(3))
    np.savez(folder / "short.npz", **arrays(tokens=7) | {"ids": np.zeros((3, 5), np.int64)})


def no_weights(folder: Path) -> None:
    beside(classifier(folder / "whole.onnx"), folder / "net.onnx")
    (folder / "net.onnx.data").unlink()


CASES: list[tuple[Case, Callable[[Path], None]]] = [
    (Case("nothing there", "export --model nett.onnx", ("no ONNX file", "did you mean net.onnx")), plain),
    (Case("cut off", EXPORT, ("not an ONNX model", "cut off")), cut),
    (Case("future opset", EXPORT, ("opset 99", "11 to 26")), net(future)),
    (Case("opset before 11", EXPORT, ("opset 9", "opset 11 or later")), net(ancient)),
    (Case("unknown domain", EXPORT, ("their.ops.Swoosh", "model-local function")), net(unknown)),
    (Case("batch norm in training mode", EXPORT, ("BatchNormalization", "model.eval()")), net(training)),
    (Case("numbers by chance", EXPORT, ("RandomNormalLike 'noise'", "the same answer twice")), net(by_chance)),
    (Case("no numbers", EXPORT, ("pixels holds no numbers", "0x3x16x16")), net(nothing)),
    (Case("texts", EXPORT, ("pixels is no tensor of numbers", "texts")), net(texts)),
    (Case("a sequence", EXPORT, ("scores is no tensor of numbers", "sequence")), net(sequence)),
    (Case("a type without arrays", EXPORT, ("numpy has no arrays", "bfloat16")), net(in_bfloat16)),
    (Case("a branch in fp16", EXPORT + "--precision fp16 --target openvino", ("If 'if'", "--precision fp32")), net(branch)),
    (Case("a batch inside that is open outside", EXPORT, ("does not run at a size", "--max-shapes pixels:1x3x16x16")), net(baked)),
    (Case("weights missing", EXPORT, ("net.onnx.data", "copy the file of weights")), no_weights),
    (Case("sizes that do not fit", EXPORT, ("ONNX Runtime does not run",)), net(misfit)),
    (Case("weights for a file", EXPORT + "--weights net.onnx", ("takes no --weights", "leave --weights out")), plain),
    (Case("classes for a file", EXPORT + "--num-classes 7", ("takes no --num-classes", "counted in its output")), plain),
    (Case("ema for a file", EXPORT + "--no-ema", ("takes no --ema",)), plain),
    (Case("seed for a file", EXPORT + "--seed 3", ("takes no --seed",)), plain),
    (Case("another image size", EXPORT + "--image-size 224", ("224", "16: pixels float32 nx3x16x16")), plain),
    (Case("another batch", "export --model four.onnx --batch 8", ("8", "4: pixels", "leave --batch out")), plain),
    (Case("shape of another input", EXPORT + "--opt-shapes images:1x3x16x16", ("images", "pixels")), plain),
    (Case("mean for tensors", TWO + "--mean 0.5", ("takes no --mean", "arrays")), plain),
    (Case("int8 for tensors", TWO + "--precision int8", ("no precision int8", "fp16")), plain),
    (Case("arrays of another file", TWO + "--data other.npz", ("not those of the file", "ids int64")), plain),
    (Case("arrays that disagree", TWO + "--data short.npz", ("contradict the file",)), plain),
    (Case("sizes that shrink", TWO + "--min-shapes ids:4x16,weights:4x16 --opt-shapes ids:2x16,weights:2x16",
          ("does not grow",)), plain),
    (Case("sizes of no input", TWO + "--opt-shapes idz:1x16", ("idz", "did you mean ids")), plain),
]  # fmt: skip


@pytest.mark.parametrize(("case", "make"), CASES, ids=[case.name for case, _ in CASES])
def test_one_screen_says_what_to_try(
    case: Case, make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    make(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert_told(case, tmp_path)


def test_a_branch_is_left_alone_in_fp32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from command_line import edgesmith

    changed(tmp_path / "net.onnx", branch)
    monkeypatch.chdir(tmp_path)
    answer = edgesmith(*EXPORT.split(), "--out", "net.edge")
    assert answer.code == 0, answer.err
