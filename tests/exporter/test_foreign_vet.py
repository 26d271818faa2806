"""What is wrong with a foreign graph is told in words, by one place, whichever command reads the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import edgesmith
from onnx import helper, numpy_helper
from quantised_graphs import FLOAT, QDQ, network

from edgesmith.exporter.commands.inspect.compare import compare
from edgesmith.exporter.commands.inspect.foreign.tried import try_graph
from edgesmith.exporter.run.foreign.vet import wrong
from edgesmith.exporter.run.foreign.words import asked_of_engine
from edgesmith.graph.run import open_session
from edgesmith.runtime.errors import UserMistake

Change = Callable[[onnx.ModelProto], None]


def changed(change: Change, body: str = FLOAT) -> onnx.ModelProto:
    model = network(body)
    change(model)
    return model


def rewired(number: int, index: int, name: str, output: bool = False) -> Change:
    def change(model: onnx.ModelProto) -> None:
        node = model.graph.node[number]
        (node.output if output else node.input)[index] = name

    return change


def attribute(number: int, **values: object) -> Change:
    made = [helper.make_attribute(name, value) for name, value in values.items()]
    return lambda model: model.graph.node[number].attribute.extend(made)


def sized(*dims: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        next(one for one in model.graph.initializer if one.name == "w1").dims[:] = dims

    return change


def declared(size: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = size

    return change


def of_type(number: int) -> Change:
    return lambda model: setattr(model.graph.initializer[0], "data_type", number)


def mislabelled(model: onnx.ModelProto) -> None:
    attribute(0, axis=1)(model)
    model.graph.node[0].attribute[0].type = onnx.AttributeProto.STRING


def nbits(**values: object) -> Change:
    def change(model: onnx.ModelProto) -> None:
        node = model.graph.node[1]
        node.input.append("w1")
        node.CopyFrom(
            helper.make_node("MatMulNBits", list(node.input), list(node.output), domain="com.microsoft", **values)
        )
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))

    return change


# FLOAT is: flat = Flatten(images)  up = MatMul(flat, w1)  act = Relu(up)  logits = MatMul(act, w2)
WRONG: dict[str, tuple[Change, str]] = {
    "a circle": (rewired(1, 0, "act"), "waits for itself: its nodes form a circle"),
    "a circle of one": (rewired(2, 0, "act"), "waits for itself"),
    "a missing value": (rewired(1, 0, "lost"), "MatMul '/up' reads 'lost', which nothing makes"),
    "an output nobody makes": (lambda model: setattr(model.graph.output[0], "name", "more"), "'more' is made by nothing"),
    "one name twice": (rewired(2, 0, "up", output=True), "two values are called 'up'"),
    "a weight's name twice": (lambda model: model.graph.initializer.append(model.graph.initializer[0]), "two weights"),
    "an input's name twice": (lambda model: model.graph.input.append(model.graph.input[0]), "two inputs"),
    "an attribute of another kind": (attribute(0, axis="one"), "its axis is a 's', not a 'i'"),
    "an attribute that lies": (mislabelled, "its axis says that it is a 's' and holds i"),
    "an attribute of another operator": (attribute(2, axis=1), "it has no attribute axis"),
    "too few inputs": (lambda model: model.graph.node[1].input.pop(), "it has 1 inputs, not 2"),
    "no operator": (lambda model: setattr(model.graph.node[2], "op_type", ""), "has no operator"),
    "a negative size": (sized(-192, 16), "has the shape [-192, 16]"),
    "an absurd size": (sized(2**40, 2**40), "has the shape [1099511627776, 1099511627776]"),
    "a shape that lies": (sized(192, 17), "of shape [192, 17] has 12,288 bytes, not 13,056"),
    "numbers that are said to be texts": (of_type(8), "has 0 texts, not "),
    "a type that is none": (of_type(99), "of type 99, which ONNX does not have"),
    "a picture of negative size": (declared(-1), "'images' is said to have the sizes [-1, 3, 8, 8]"),
    "a picture of absurd size": (declared(2**40), "is said to have the sizes"),
    "no opset": (lambda model: model.ClearField("opset_import"), "which opset"),
    "a domain that is not imported": (lambda model: setattr(model.graph.node[2], "domain", "theirs"), "domain 'theirs'"),
    "no nodes": (lambda model: model.graph.ClearField("node"), "no nodes or no outputs"),
    "blocks without K": (nbits(N=16, block_size=32), "its K is missing"),
    "blocks of a text": (nbits(K="many", N=16, block_size=32), "its K is"),
    "blocks of a negative width": (nbits(K=192, N=-1, block_size=32), "its N is -1"),
    "blocks of 99 bits": (nbits(K=192, N=16, block_size=32, bits=99), "its bits are 99"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_it_is_told(name: str):
    change, words = WRONG[name]
    assert words in wrong(changed(change))


@pytest.mark.parametrize("name", ["a circle", "one name twice", "a shape that lies", "blocks without K"])
def test_every_command_says_it(tmp_path: Path, name: str):
    change, words = WRONG[name]
    path = tmp_path / "theirs.onnx"
    onnx.save(changed(change), path)
    for command in (("compare", str(path), str(path)), ("quant-report", str(path)), ("inspect", "--ops", str(path))):
        answer = edgesmith(*command)
        assert answer.code == 2 and "is not a sound ONNX graph" in answer.err and words in answer.err, command
    looked = edgesmith("inspect", str(path))
    assert looked.code == 0 and f"WRONG   {wrong(onnx.load(path))}" in looked.out


def test_a_sound_graph_has_nothing_wrong():
    assert wrong(network(FLOAT)) == wrong(network(QDQ)) == ""


def test_nodes_may_stand_in_any_order(tmp_path: Path):
    def backwards(model: onnx.ModelProto) -> None:
        nodes = list(model.graph.node)[::-1]
        del model.graph.node[:]
        model.graph.node.extend(nodes)

    onnx.save(changed(backwards), tmp_path / "theirs.onnx")
    onnx.save(network(FLOAT), tmp_path / "plain.onnx")
    assert compare(str(tmp_path / "plain.onnx"), str(tmp_path / "theirs.onnx"))["agree"]


def test_inner_graphs_read_what_is_around_them():
    inner = helper.make_graph([helper.make_node("Relu", ["up"], ["kept"])], "inner", [], [
        helper.make_tensor_value_info("kept", 1, None)])  # fmt: skip

    def branched(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "on"))
        model.graph.node[2].CopyFrom(
            helper.make_node("If", ["on"], ["act"], name="/if", then_branch=inner, else_branch=inner)
        )

    assert wrong(changed(branched)) == ""
    inner.node[0].input[0] = "lost"
    assert "reads 'lost'" in wrong(changed(branched))


def test_an_engine_that_refuses_is_told_in_words(tmp_path: Path):
    path = tmp_path / "theirs.onnx"
    onnx.save(changed(sized(16, 192)), path)
    with pytest.raises(UserMistake, match="ONNX Runtime does not run .*theirs.onnx"):
        compare(str(path), str(path))
    with pytest.raises(UserMistake, match="does not run"), asked_of_engine(path):
        open_session(path.read_bytes())


def test_what_is_no_failure_of_an_engine_is_no_word_of_one(tmp_path: Path):
    with pytest.raises(KeyError), asked_of_engine(tmp_path):
        raise KeyError("a mistake of ours")


def grown(model: onnx.ModelProto) -> None:
    """Its answer is copied to some gigabytes on its way out, of a file of some kilobytes."""
    model.graph.node[3].output[0] = "late"
    model.graph.initializer.append(numpy_helper.from_array(np.array([25_000, 2_500]), "times"))
    model.graph.node.append(helper.make_node("Tile", ["late", "times"], ["logits"]))
    model.graph.output[0].type.tensor_type.ClearField("shape")


def test_a_graph_that_fills_the_memory_is_tried_elsewhere(tmp_path: Path):
    path = tmp_path / "theirs.onnx"
    onnx.save(changed(grown), path)
    with pytest.raises(UserMistake, match="does not run") as caught:
        try_graph(path, (1, 3, 8, 8))
    assert "MB of memory" in str(caught.value), caught.value


def test_a_graph_that_does_not_end_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Relu", ["old"], ["new"])],
        "body",
        [helper.make_tensor_value_info("n", 7, []), helper.make_tensor_value_info("go", 9, []),
         helper.make_tensor_value_info("old", 1, None)],
        [helper.make_tensor_value_info("on", 9, []), helper.make_tensor_value_info("new", 1, None)],
    )  # fmt: skip

    def looping(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
        model.graph.initializer.append(numpy_helper.from_array(np.array(2**40), "many"))
        model.graph.node[2].CopyFrom(helper.make_node("Loop", ["many", "yes", "up"], ["act"], name="/loop", body=body))

    path = tmp_path / "theirs.onnx"
    onnx.save(changed(looping), path)
    monkeypatch.setattr("edgesmith.exporter.run.foreign.trial.LIMIT_S", 1.0)
    with pytest.raises(UserMistake, match="still running after 1 s"):
        try_graph(path, (1, 3, 8, 8))
    monkeypatch.undo()
    onnx.save(network(FLOAT), path)
    try_graph(path, (1, 3, 8, 8))  # the next file is tried as if nothing had been


def test_a_server_that_is_gone_is_started_again(tmp_path: Path):
    from edgesmith.exporter.run.foreign import trial

    path = tmp_path / "theirs.onnx"
    onnx.save(network(FLOAT), path)
    try_graph(path, (1, 3, 8, 8))
    trial._known[-1]._process.kill()
    trial._known[-1]._process.wait()
    try_graph(path, (1, 3, 8, 8))


def test_more_pictures_than_can_be_held_are_refused(tmp_path: Path):
    with pytest.raises(UserMistake, match="more pictures at once") as caught:
        try_graph(tmp_path / "theirs.onnx", (10**6, 3, 224, 224))
    assert "602,112 MB" in str(caught.value)
