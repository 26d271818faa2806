"""quant-report of files that read their pictures in other types and layouts, with the figures of the plain file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import edgesmith
from onnx import helper, numpy_helper
from quantised_graphs import FLOAT, QDQ, network

IMAGES = np.random.default_rng(5).integers(0, 256, (6, 3, 8, 8)).astype(np.float32)


def entering(model: onnx.ModelProto, kind: int, last: bool = False) -> onnx.ModelProto:
    """The network behind an input of another type or layout."""
    value = model.graph.input[0]
    sizes = ["B", 8, 8, 3] if last else ["B", 3, 8, 8]
    value.CopyFrom(helper.make_tensor_value_info("given", kind, sizes))
    steps = [helper.make_node("Cast", ["given"], ["cast" if last else "images"], to=1, name="entry")]
    if last:
        steps.append(helper.make_node("Transpose", ["cast"], ["images"], perm=[0, 3, 1, 2], name="turn"))
    nodes = [*steps, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def scaled(body: str) -> onnx.ModelProto:
    """For pictures in 0..255: the steps of its input are as much larger as the numbers."""
    model = network(body)
    for tensor in model.graph.initializer:
        if tensor.name == "s1":
            tensor.CopyFrom(numpy_helper.from_array(np.float32(2.0), "s1"))
    return model


def asked(*words: str) -> dict:
    answer = edgesmith("quant-report", *words, "--json")
    assert answer.code == 0, answer.err
    return json.loads(answer.out)["quantisation"]


def measured(folder: Path, name: str, kind: int, last: bool = False) -> dict:
    for body, what in ((FLOAT, "float"), (QDQ, "qdq")):
        onnx.save(entering(scaled(body), kind, last), folder / f"{name}_{what}.onnx")
    images = folder / "images.npz"
    np.savez(images, images=IMAGES)
    return asked(str(folder / f"{name}_qdq.onnx"), "--ref", str(folder / f"{name}_float.onnx"), "--data", str(images))


@pytest.mark.parametrize(("kind", "last"), [("UINT8", False), ("UINT8", True), ("INT32", False)])
def test_whole_numbers_and_channels_last(tmp_path: Path, kind: str, last: bool):
    found = measured(tmp_path, "theirs", onnx.TensorProto.DataType.Value(kind), last)
    plain = measured(tmp_path, "plain", onnx.TensorProto.UINT8)
    assert found["accuracy"]["sqnr_db"] == pytest.approx(plain["accuracy"]["sqnr_db"], abs=0.01)
    assert [row["node"] for row in found["nodes"]] == ["/up", "/logits"]
    assert any("theirs_qdq.onnx gets its pictures as" in note for note in found["notes"])


def test_a_half_file_with_blocks_of_four_bits(tmp_path: Path):
    """fp16 pictures, scales and products; the weights are those of its float file."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (16, 6, 16)).astype(np.uint8)
    steps = rng.uniform(0.01, 0.1, (16, 6)).astype(np.float16)
    weight = np.stack([codes & 15, codes >> 4], axis=-1).reshape(16, 192).astype(np.float32) - 8
    weight = (weight * np.repeat(steps.astype(np.float32), 32, axis=1)).T
    made = {}
    for name in ("float", "blocks"):
        model = network(FLOAT)
        kept = [one for one in model.graph.initializer if one.name == "w2"]
        arrays = {one.name: numpy_helper.to_array(one) for one in kept} | ({"w1": weight} if name == "float" else {})
        del model.graph.initializer[:]
        model.graph.initializer.extend(numpy_helper.from_array(a.astype(np.float16), key) for key, a in arrays.items())
        if name == "blocks":
            model.graph.initializer.extend(
                [numpy_helper.from_array(codes, "codes"), numpy_helper.from_array(steps, "w1")]
            )
            values = {"K": 192, "N": 16, "bits": 4, "block_size": 32}
            node = helper.make_node(
                "MatMulNBits", ["flat", "codes", "w1"], ["up"], "/up", domain="com.microsoft", **values
            )
            model.graph.node[1].CopyFrom(node)
            model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
        made[name] = tmp_path / f"{name}.onnx"
        onnx.save(model, made[name])
    np.savez(tmp_path / "images.npz", images=IMAGES / 255 - 0.5)
    told = asked(str(made["blocks"]), "--ref", str(made["float"]), "--data", str(tmp_path / "images.npz"))
    (row,) = told["nodes"]
    assert row["node"] == "/up" and float(row["weight_sqnr_db"]) > 50, "rounded to fp16 once more, nothing else"
