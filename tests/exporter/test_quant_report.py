"""``edgesmith quant-report``: the table of a bundle and of other tools' files, the budget as exit code, mistakes in words."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import edgesmith
from quantised_graphs import DYNAMIC, FLOAT, IMAGES, QDQ, W1, W2, network
from small_bundle import write_small_bundle

DROP = {"points": 0.4, "n": 500, "low": -0.2, "high": 1.0, "lost": 3, "won": 1}
TOLD = {
    "precision": "int8",
    "form": "qdq",
    "share": 0.9,
    "nodes": [{"node": "/fc", "op": "MatMul", "kind": "linear", "share": 0.9, "quantised": True, "why": "constant weight",
               "types": "int8 x int8", "scale": 0.1, "activation_sqnr_db": 33.0, "weight_sqnr_db": 40.0,
               "reasons": ["one-sided: 0 to 9"]}],
    "accuracy": {"metric": "top1", "drop": DROP, "n": 500, "agreement": 99.0, "sqnr_db": 33.3, "cosine": 0.999},
    "data": {"source": "photos", "kind": "folder", "images": 4, "sha256": "ab" * 32, "held_out": 500, "skipped": []},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of two tools, their float model, labelled pictures, a bundle that is quantised and one that is not."""
    place = tmp_path_factory.mktemp("quantised")
    for name, body in (("float", FLOAT), ("qdq", QDQ), ("dynamic", DYNAMIC)):
        onnx.save(network(body), place / f"{name}.onnx")
    answers = np.maximum(IMAGES.reshape(len(IMAGES), -1) @ W1, 0) @ W2
    np.savez(place / "images.npz", images=IMAGES, labels=answers.argmax(axis=1))
    np.savez(place / "many.npz", images=np.concatenate([IMAGES] * 4 + [IMAGES * 0.5, IMAGES * 0.25]))
    write_small_bundle(place / "small.edge", precision="int8", quantisation=TOLD)
    write_small_bundle(place / "float.edge")
    return place


def asked(folder: Path, *words: str) -> tuple[int, dict]:
    answer = edgesmith("quant-report", *words, "--json")
    assert answer.code in (0, 1), answer.err + answer.out
    return answer.code, json.loads(answer.out)


def test_a_file_of_another_tool_is_measured_against_its_float_model(folder: Path):
    code, found = asked(
        folder, str(folder / "qdq.onnx"), "--ref", str(folder / "float.onnx"), "--data", str(folder / "images.npz"),
        "--sensitivity",
    )  # fmt: skip
    told = found["quantisation"]
    assert code == 0 and found["met"] is None and found["kind"] == "file"
    assert told["precision"] == "int8" and told["share"] == pytest.approx(1.0)
    assert told["accuracy"]["metric"] == "top1" and told["accuracy"]["reference"]["value"] == 100.0
    assert told["accuracy"]["n"] == len(IMAGES) and 0 < told["accuracy"]["sqnr_db"] < 40
    assert {row["node"]: row["output_sqnr_db"] > 5 for row in told["nodes"]} == {"/up": True, "/logits": True}
    assert told["sizes"]["fp32"] == (folder / "float.onnx").stat().st_size
    assert told["sizes"]["quantised"] == (folder / "qdq.onnx").stat().st_size


def test_the_table_has_the_worst_first_and_says_what_was_assumed(folder: Path):
    answer = edgesmith(
        "quant-report",
        str(folder / "qdq.onnx"),
        "--ref",
        str(folder / "float.onnx"),
        "--data",
        str(folder / "images.npz"),
    )
    assert answer.code == 0, answer.err
    assert answer.out.index("/logits ") < answer.out.index("/up ")
    assert "an ONNX file does not say how its pictures are prepared" in answer.out and "one-sided: 0 to" in answer.out


def test_a_budget_decides_the_exit_code(folder: Path):
    words = (str(folder / "dynamic.onnx"), "--ref", str(folder / "float.onnx"), "--data", str(folder / "images.npz"))
    code, found = asked(folder, *words, "--max-drop", "50")
    assert code == 0 and found["met"] is True
    broken = network(QDQ)
    scale = next(one for one in broken.graph.initializer if one.name == "s1")
    scale.CopyFrom(onnx.numpy_helper.from_array(np.float32(1e-5), "s1"))  # everything is clipped
    onnx.save(broken, folder / "broken.onnx")
    code, found = asked(folder, str(folder / "broken.onnx"), *words[1:], "--max-drop", "0")
    assert code == 1 and found["met"] is False and found["quantisation"]["accuracy"]["drop"]["points"] > 0
    assert any("clips" in note for note in found["quantisation"]["notes"])


def reshaped(source: Path, out: Path, shape: list[int]) -> str:
    """The file with its logits (B, 4) given as another shape."""
    model = onnx.load(source)
    (last,) = (node for node in model.graph.node if "logits" in node.output)
    last.output[0] = "flat_logits"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(shape), "shape"))
    model.graph.node.append(onnx.helper.make_node("Reshape", ["flat_logits", "shape"], ["answers"]))
    value = onnx.helper.make_tensor_value_info("answers", onnx.TensorProto.FLOAT, ["B", *shape[1:]])
    del model.graph.output[:]
    model.graph.output.append(value)
    onnx.save(model, out)
    return str(out)


def with_features(source: Path, out: Path, name: str) -> str:
    """The file with the 16 values before its last layer as a first output, its logits called ``name``."""
    model = onnx.load(source)
    for node in model.graph.node:
        node.output[:] = [name if one == "logits" else one for one in node.output]
    model.graph.output[0].name = name
    features = onnx.helper.make_tensor_value_info("act", onnx.TensorProto.FLOAT, ["B", 16])
    outputs = [features, *model.graph.output]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    onnx.save(model, out)
    return str(out)


@pytest.mark.parametrize("shape", [[-1, 4, 1, 1], [-1, 1, 4]])
def test_logits_with_axes_of_one_entry_are_read_as_classes(folder: Path, tmp_path: Path, shape: list[int]):
    quantised, exact = (
        reshaped(folder / f"{name}.onnx", tmp_path / f"{name}.onnx", shape) for name in ("qdq", "float")
    )
    data = ("--data", str(folder / "images.npz"))
    _, plain = asked(folder, str(folder / "qdq.onnx"), "--ref", str(folder / "float.onnx"), *data)
    for ref in (exact, str(folder / "float.onnx")):
        _, found = asked(folder, quantised, "--ref", ref, *data, "--sensitivity")
        told = found["quantisation"]["accuracy"]
        assert told["metric"] == "top1" and told["reference"]["value"] == 100.0
        for key in ("sqnr_db", "agreement", "cosine"):
            assert told[key] == pytest.approx(plain["quantisation"]["accuracy"][key]), key


@pytest.mark.parametrize("name", ["logits", "y"])
def test_of_two_outputs_the_logits_are_found_and_it_is_told(folder: Path, tmp_path: Path, name: str):
    """By name; where they are called otherwise, features are read by the head and logits by nothing."""
    quantised, exact = (
        with_features(folder / f"{one}.onnx", tmp_path / f"{one}.onnx", name) for one in ("qdq", "float")
    )
    data = ("--data", str(folder / "images.npz"), "--sensitivity")
    _, plain = asked(folder, str(folder / "qdq.onnx"), "--ref", str(folder / "float.onnx"), *data)
    for ref in (exact, str(folder / "float.onnx")):
        _, found = asked(folder, quantised, "--ref", ref, *data)
        told = found["quantisation"]
        assert told["accuracy"]["sqnr_db"] == pytest.approx(plain["quantisation"]["accuracy"]["sqnr_db"])
        assert told["accuracy"]["reference"]["value"] == 100.0
        assert any(f"{name} (B x 4) is compared, not act" in note for note in told["notes"])


def with_winner(source: Path, out: Path) -> str:
    """The file with its logits called ``scores``, and the number of the largest as a second output."""
    model = onnx.load(source)
    for node in model.graph.node:
        node.output[:] = ["scores" if one == "logits" else one for one in node.output]
    model.graph.output[0].name = "scores"
    model.graph.node.append(onnx.helper.make_node("ArgMax", ["scores"], ["winner"], axis=1, keepdims=0))
    model.graph.output.append(onnx.helper.make_tensor_value_info("winner", onnx.TensorProto.INT64, ["B"]))
    onnx.save(model, out)
    return str(out)


def test_the_number_of_the_winner_is_not_taken_for_a_logit(folder: Path, tmp_path: Path):
    quantised, exact = (with_winner(folder / f"{one}.onnx", tmp_path / f"{one}.onnx") for one in ("qdq", "float"))
    data = ("--data", str(folder / "images.npz"))
    _, plain = asked(folder, str(folder / "qdq.onnx"), "--ref", str(folder / "float.onnx"), *data)
    _, found = asked(folder, quantised, "--ref", exact, *data)
    told, expected = found["quantisation"]["accuracy"], plain["quantisation"]["accuracy"]
    assert told["sqnr_db"] == pytest.approx(expected["sqnr_db"]) and told["agreement"] == expected["agreement"]


def test_logits_of_tokens_are_refused_in_words(folder: Path, tmp_path: Path):
    tokens = reshaped(folder / "qdq.onnx", tmp_path / "tokens.onnx", [-1, 2, 2])
    answer = edgesmith(
        "quant-report", tokens, "--ref", str(folder / "float.onnx"), "--data", str(folder / "images.npz")
    )
    assert answer.code == 2 and "Which output" in answer.err and "answers B x 2 x 2" in answer.err, answer.err
    assert "logits batch x classes" in answer.err and "Traceback" not in answer.err
    assert edgesmith("quant-report", tokens).code == 0, "what the file holds can be read all the same"


def test_one_logit_is_judged_by_its_sign(folder: Path, tmp_path: Path):
    """A bias turns all answers of a file with one logit: it agreed on 100 % of the pictures, as there is one class only."""
    files = []
    for name, bias in (("float", 0.0), ("qdq", 1e4)):
        model = onnx.load(folder / f"{name}.onnx")
        (last,) = (node for node in model.graph.node if "logits" in node.output)
        last.output[0] = "all_logits"
        for key, value in (("column", np.array([0])), ("bias", np.float32(bias))):
            model.graph.initializer.append(onnx.numpy_helper.from_array(value, key))
        model.graph.node.append(onnx.helper.make_node("Gather", ["all_logits", "column"], ["one"], axis=1))
        model.graph.node.append(onnx.helper.make_node("Add", ["one", "bias"], ["logits"]))
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
        onnx.save(model, tmp_path / f"{name}.onnx")
        files.append(str(tmp_path / f"{name}.onnx"))
    logits = (np.maximum(IMAGES.reshape(len(IMAGES), -1) @ W1, 0) @ W2)[:, 0]
    np.savez(tmp_path / "images.npz", images=IMAGES, labels=(logits > 0).astype(np.int64))
    _, found = asked(folder, files[1], "--ref", files[0], "--data", str(tmp_path / "images.npz"))
    told, share = found["quantisation"]["accuracy"], 100 * float((logits > 0).mean())
    assert 0 < share < 100 and told["reference"]["value"] == 100.0
    assert told["quantised"]["value"] == told["agreement"] == pytest.approx(share)


def test_a_dynamic_file_says_that_it_cannot_be_scanned(folder: Path):
    words = ("--ref", str(folder / "float.onnx"), "--data", str(folder / "images.npz"), "--sensitivity")
    _, found = asked(folder, str(folder / "dynamic.onnx"), *words)
    assert any("no sensitivity" in note for note in found["quantisation"]["notes"])
    assert "output_sqnr_db" not in found["quantisation"]["nodes"][0]


def test_without_pictures_a_file_tells_what_it_holds(folder: Path):
    answer = edgesmith("quant-report", str(folder / "qdq.onnx"))
    assert answer.code == 0
    assert "2 operators read int8 values" in answer.out and "2 of 2 places" in answer.out
    assert "nothing was measured" in answer.out and "better than these" not in answer.out


def test_a_bundle_shows_its_manifest(folder: Path):
    answer = edgesmith("quant-report", str(folder / "small.edge"))
    assert answer.code == 0, answer.err
    assert "90.0% of the multiplications run in int8; top-1 falls by 0.40 points" in answer.out
    assert "/fc" in answer.out and "one-sided: 0 to 9" in answer.out and "4 pictures of photos" in answer.out


@pytest.mark.parametrize(("budget", "code"), [("0.4", 0), ("0.3", 1)])
def test_a_bundle_is_held_to_a_budget_by_what_was_measured_when_it_was_made(folder: Path, budget: str, code: int):
    answer = edgesmith("quant-report", str(folder / "small.edge"), "--max-drop", budget)
    assert answer.code == code
    assert ("holds" if code == 0 else "MISSED") in answer.out


def test_a_bundle_is_measured_again_on_other_pictures(folder: Path):
    body = "{ mean = GlobalAveragePool(images)  logits = Flatten(mean) }"
    head = '<ir_version: 10, opset_import: ["" : 20]> small (float[1, 3, 8, 8] images) => (float[1, 3] logits)'
    onnx.save(onnx.parser.parse_model(head + body), folder / "small.onnx")
    words = (str(folder / "small.edge"), "--ref", str(folder / "small.onnx"), "--data", str(folder / "many.npz"))
    code, found = asked(folder, *words, "--max-drop", "0")
    accuracy = found["quantisation"]["accuracy"]
    assert code == 0 and accuracy["metric"] == "agreement" and accuracy["drop"]["points"] == 0
    assert accuracy["sqnr_db"] is None, "the bundle's graph is the reference itself: no noise"
    assert found["quantisation"]["nodes"] == TOLD["nodes"]


def test_every_flag_that_the_documentation_names_is_one():
    import typer

    from edgesmith.exporter.commands.cli import app

    text = (Path(__file__).parents[2] / "docs" / "quantisation.md").read_text(encoding="utf-8")
    commands = typer.main.get_command(app).commands
    flags = {flag for name in ("export", "quant-report") for one in commands[name].params for flag in one.opts}
    named = set(re.findall(r"--[a-z][a-z0-9-]+", text))
    assert len(named) > 15 and named <= flags | {"--help"}
    report = {flag for one in commands["quant-report"].params for flag in one.opts if flag.startswith("--")}
    assert report <= named, "a flag of the command is not documented"


def other(folder: Path, name: str, head: str, body: str) -> str:
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]> net {head} {body}')
    onnx.save(model, folder / name)
    return str(folder / name)


MISTAKES = {
    "nothing there": (["none.onnx"], "There is nothing at"),
    "not quantised": (["float.onnx"], "is not quantised"),
    "a float bundle": (["float.edge"], "a bundle in fp32"),
    "not ONNX": (["images.npz"], "is not an ONNX model"),
    "no reference": (["qdq.onnx", "--data", "images.npz"], "Nothing to compare"),
    "a reference that is not there": (["qdq.onnx", "--data", "images.npz", "--ref", "no.onnx"], "There is no reference"),
    "no weights": (["qdq.onnx", "--data", "images.npz", "--model", "smt"], "Which weights of smt_tiny?"),
    "a budget without pictures": (["qdq.onnx", "--max-drop", "1"], "--max-drop needs pictures"),
    "a scan without pictures": (["small.edge", "--sensitivity"], "--sensitivity needs pictures"),
    "a checkpoint that is gone": (["small.edge", "--data", "many.npz"], "The checkpoint of this bundle was not found"),
    "other classes": (["qdq.onnx", "--data", "many.npz", "--ref", "classes.onnx"], "do not have the same outputs"),
    "other size": (["qdq.onnx", "--data", "images.npz", "--ref", "size.onnx"], "do not take the same pictures"),
    "no pictures at all": (["qdq.onnx", "--data", "nowhere", "--ref", "float.onnx"], "nowhere"),
    "a language model": (["words.onnx"], "does not take pictures"),
}  # fmt: skip


@pytest.mark.parametrize("words, said", MISTAKES.values(), ids=MISTAKES)
def test_files_and_words_that_do_not_fit_are_refused_in_words(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
):
    monkeypatch.chdir(folder)
    pool = "{ mean = GlobalAveragePool(images)  logits = Flatten(mean) }"
    other(folder, "classes.onnx", "(float[B, 3, 8, 8] images) => (float[B, 3] logits)", pool)
    other(folder, "size.onnx", "(float[B, 3, 16, 16] images) => (float[B, 3] logits)", pool)
    quantised = (
        "<float s = {1.0}, int8 z = {0}> { q = QuantizeLinear(ids, s, z)  d = DequantizeLinear(q, s, z)  y = Relu(d) }"
    )
    other(folder, "words.onnx", "(float[B, 16] ids) => (float[B, 16] y)", quantised)
    answer = edgesmith("quant-report", *words)
    assert answer.code == 2, answer.out
    assert said in answer.err and "  try  " in answer.err and "Traceback" not in answer.err
