"""compare looks at every output, at more than one size, and says of each whether it holds; the worst decides."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from command_line import edgesmith as command
from small_bundle import write_small_bundle

from edgesmith.exporter.commands.inspect.compare import compare
from edgesmith.runtime.errors import UserMistake

TWO = """
<ir_version: 10, opset_import: ["" : 20]>
two (float[{batch}, 3, 8, 8] images) => (float[{batch}, 3] features, float[{batch}, 3] logits)
<float[1] half = {{{scale}}}>
{{
  mean = GlobalAveragePool(images)
  features = Flatten<axis = 1>(mean)
  logits = Mul(features, half)
}}
"""
ONE = """
<ir_version: 10, opset_import: ["" : 20]>
one (float[{batch}, 3, {high}, {wide}] images) => (float[{batch}, 3] logits{more})
<float[1] eps = {{0.0}}, int64[1] first = {{0}}>
{{
  mean = GlobalAveragePool(images)
  {body}
}}
"""
PLAIN = "logits = Flatten<axis = 1>(mean)"
MIXED = "flat = Flatten<axis = 1>(mean)\n  all = ReduceMean<keepdims = 1>(flat, first)\n  logits = Add(flat, all)"
ALONE = "flat = Flatten<axis = 1>(mean)\n  logits = Add(flat, flat)"  # what MIXED gives for a batch of 1


def save(path: Path, text: str) -> Path:
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def two(path: Path, scale: float = 0.5, batch: object = "B") -> Path:
    return save(path, TWO.format(scale=scale, batch=batch))


def one(path: Path, body: str = PLAIN, batch: object = "B", high: object = 8, wide: object = 8, more: str = "") -> Path:
    return save(path, ONE.format(body=body, batch=batch, high=high, wide=wide, more=more))


def run(first: Path, second: Path, **more):
    return compare(str(first), str(second), **more)


def verdicts(found: dict, output: str) -> set[str]:
    return {row["verdict"] for row in found["rows"] if row["output"] == output}


def test_a_second_output_that_differs_is_seen_and_the_worst_decides(tmp_path: Path):
    found = run(two(tmp_path / "a.onnx"), two(tmp_path / "b.onnx", scale=0.75))
    assert not found["agree"]
    assert verdicts(found, "features") == {"holds"} and verdicts(found, "logits") == {"FAILS"}
    assert "logits" in found["first_difference"]
    same = run(tmp_path / "a.onnx", two(tmp_path / "c.onnx"))
    assert same["agree"] and {row["output"] for row in same["rows"]} == {"features", "logits"}


def test_the_output_beside_the_logits_counts_too(tmp_path: Path):
    other = onnx.load(two(tmp_path / "a.onnx"))
    (flatten,) = (node for node in other.graph.node if node.op_type == "Flatten")
    flatten.output[0] = "inner"
    other.graph.node[2].input[0] = "inner"
    other.graph.node.append(onnx.helper.make_node("Neg", ["inner"], ["features"]))
    onnx.save(other, tmp_path / "b.onnx")
    found = run(tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert not found["agree"] and verdicts(found, "logits") == {"holds"} and verdicts(found, "features") == {"FAILS"}


def renamed(source: Path, out: Path, names: dict[str, str]) -> Path:
    model = onnx.load(source)
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in model.graph.output:
        value.name = names.get(value.name, value.name)
    onnx.save(model, out)
    return out


def test_outputs_of_other_names_are_paired_by_their_place_and_it_is_told(tmp_path: Path):
    theirs = renamed(two(tmp_path / "a.onnx"), tmp_path / "b.onnx", {"features": "o0", "logits": "o1"})
    found = run(tmp_path / "a.onnx", theirs)
    assert found["agree"] and len(found["notes"]) == 1
    assert "logits with o1" in found["notes"][0] and "features with o0" in found["notes"][0]
    wrong = renamed(two(tmp_path / "c.onnx", scale=0.75), tmp_path / "d.onnx", {"features": "o0", "logits": "o1"})
    assert not run(tmp_path / "a.onnx", wrong)["agree"]
    swapped = renamed(two(tmp_path / "e.onnx"), tmp_path / "f.onnx", {"features": "logits", "logits": "features"})
    assert not run(tmp_path / "a.onnx", swapped)["agree"], "the same names decide, not the places"


def test_another_number_of_outputs_is_refused(tmp_path: Path):
    with pytest.raises(UserMistake, match="do not have the same outputs") as caught:
        run(two(tmp_path / "a.onnx"), one(tmp_path / "b.onnx"))
    assert "features, logits" in str(caught.value)
    with pytest.raises(UserMistake, match="do not have the same outputs"):
        run(write_small_bundle(tmp_path / "small.edge"), two(tmp_path / "c.onnx", batch=1))


def test_a_graph_that_mixes_the_pictures_of_a_batch_is_found(tmp_path: Path):
    found = run(one(tmp_path / "a.onnx", ALONE), one(tmp_path / "b.onnx", MIXED))
    by_batch = {row["shape"][0]: row["verdict"] for row in found["rows"] if row["inputs"] == "seeded"}
    assert by_batch[1] == "holds" and by_batch[3] == "FAILS" and not found["agree"]
    assert "ReduceMean" in found["first_difference"] or "Add" in found["first_difference"]
    fixed = run(one(tmp_path / "c.onnx", ALONE, batch=1), one(tmp_path / "d.onnx", MIXED))
    assert fixed["agree"] and {row["shape"][0] for row in fixed["rows"]} == {1}, "one of the two takes one picture only"


def test_open_sides_are_compared_at_other_sizes(tmp_path: Path):
    """At the usual 224 the crop of the second takes everything; at other widths it does not."""
    crop = "part = Slice(images, first, end, axis)\n  cut = GlobalAveragePool(part)\n  logits = Flatten<axis = 1>(cut)"
    text = ONE.format(body=crop, batch="B", high="H", wide="W", more="").replace(
        "int64[1] first = {0}", "int64[1] first = {0}, int64[1] end = {224}, int64[1] axis = {3}"
    )
    found = run(one(tmp_path / "a.onnx", high="H", wide="W"), save(tmp_path / "b.onnx", text))
    usual = [row for row in found["rows"] if row["shape"][2:] == [224, 224]]
    assert usual and all(row["passed"] for row in usual) and not found["agree"]


def test_a_size_that_one_does_not_compute_fails_and_one_that_neither_does_is_told(tmp_path: Path):
    baked = "flat = Reshape(mean, three)\n  logits = Identity(flat)"
    text = ONE.format(body=baked, batch="B", high=8, wide=8, more="").replace(
        "int64[1] first = {0}", "int64[2] three = {1, 3}, int64[1] first = {0}"
    )
    baked_in = save(tmp_path / "b.onnx", text)
    found = run(one(tmp_path / "a.onnx"), baked_in)
    (row,) = (row for row in found["rows"] if not row["passed"])
    assert row["shape"][0] == 3 and "b.onnx does not" in row["why"] and not found["agree"]
    both = run(baked_in, save(tmp_path / "c.onnx", text))
    assert both["agree"] and any("neither runs at 3x3x8x8" in note for note in both["notes"])


@pytest.mark.parametrize(
    ("kind", "body", "other", "said"),
    [
        ("int64[B]", "best = ArgMax<axis = 1, keepdims = 0>(logits)", "best = ArgMin<axis = 1, keepdims = 0>(logits)", "values differ"),
        ("bool[B, 3]", "best = Greater(logits, eps)", "best = Less(logits, eps)", "values differ"),
        ("float[B, 3]", "best = Identity(logits)", "best = Div(logits, eps)", "NaN or infinity: 0 of the first"),
        ("float[B, 3]", "best = Div(logits, eps)", "best = Div(logits, eps)", "NaN or infinity: 3 of the first, 3 of the second"),
        ("float[B, K]", "best = Identity(logits)", "best = Concat<axis = 1>(logits, logits)", "shape (1, 6), not (1, 3)"),
    ],
)  # fmt: skip
def test_what_is_no_distance_is_a_verdict_of_its_own(tmp_path: Path, kind: str, body: str, other: str, said: str):
    files = [
        one(tmp_path / f"{number}.onnx", f"{PLAIN}\n  {words}", more=f", {kind} best")
        for number, words in enumerate((body, other))
    ]
    found = run(*files)
    (row, *_) = (row for row in found["rows"] if row["output"] == "best")
    assert not row["passed"] and said in row["why"] and not found["agree"]
    assert verdicts(found, "logits") == {"holds"}


def test_whole_numbers_that_are_equal_hold(tmp_path: Path):
    body, more = f"{PLAIN}\n  best = ArgMax<axis = 1, keepdims = 0>(logits)", ", int64[B] best"
    found = run(one(tmp_path / "a.onnx", body, more=more), one(tmp_path / "b.onnx", body, more=more))
    assert found["agree"] and {row["limit"] for row in found["rows"] if row["output"] == "best"} == {"equal"}


def test_logits_that_are_no_numbers_fail_on_either_side(tmp_path: Path):
    bad = one(tmp_path / "bad.onnx", "flat = Flatten<axis = 1>(mean)\n  logits = Div(flat, eps)")
    for pair in ((one(tmp_path / "a.onnx"), bad), (bad, tmp_path / "a.onnx"), (bad, bad)):
        found = run(*pair)
        assert not found["agree"] and "NaN or infinity" in found["rows"][0]["why"]


def test_the_command_tells_every_output_and_ends_with_1(tmp_path: Path):
    files = (str(two(tmp_path / "a.onnx")), str(two(tmp_path / "b.onnx", scale=0.75)))
    text = command("compare", *files)
    assert text.code == 1 and "features" in text.out and "FAILS" in text.out and "holds" in text.out
    told = command("compare", *files, "--json")
    assert told.code == 1 and json.loads(told.out)["agree"] is False


@pytest.mark.parametrize(
    ("shapes", "classes", "unread", "found"),
    [
        ({"a": ["N", 768], "b": ["N", 10]}, 10, None, "b"),
        ({"a": ["N", 768], "b": ["N", 10]}, None, {"b"}, "b"),
        ({"a": ["N", 768], "b": ["N", 10]}, None, {"a", "b"}, ""),
        ({"a": ["N", 768], "logits": ["N", 10]}, None, None, "logits"),
        ({"a": ["N", 10, 1, 1]}, None, None, "a"),
        ({"a": ["N", 1, 10]}, None, None, "a"),
        ({"a": ["N", 1]}, None, None, "a"),
        ({"a": ["N", 197, 10]}, None, None, ""),
        ({"a": ["N", 197, 768], "b": ["N", 10, 1, 1]}, None, {"a", "b"}, "b"),
        ({"a": ["N", 512, 1, 1], "b": ["N", 10]}, None, {"a", "b"}, "b"),
        ({"a": ["N", 1000], "b": ["N", 1000]}, None, {"a", "b"}, "a"),
        ({"a": []}, None, None, ""),
    ],
)
def test_the_logits_are_found_or_nothing_is_guessed(shapes, classes, unread, found: str):
    from edgesmith.exporter.tasks.classification.logits import find_logits

    assert find_logits(shapes, classes, unread) == found


def test_numbers_without_a_batch_in_front_are_compared_as_they_are(tmp_path: Path):
    body = f"{PLAIN}\n  best = ReduceMax<keepdims = 0>(logits)"
    first = one(tmp_path / "a.onnx", body, more=", float best")
    assert run(first, one(tmp_path / "b.onnx", body, more=", float best"))["agree"]
    off = one(tmp_path / "c.onnx", body.replace("ReduceMax", "ReduceMin"), more=", float best")
    found = run(first, off)
    assert verdicts(found, "best") == {"FAILS"} and np.isfinite(found["rows"][0]["max_abs"])


@pytest.mark.parametrize("kind", ["float16", "double"])
def test_a_file_that_takes_floats_of_another_width_is_given_them(tmp_path: Path, kind: str):
    text = ONE.format(batch="B", high=8, wide=8, more="", body=PLAIN)
    wide = text.replace("float[B, 3, 8, 8] images", f"{kind}[B, 3, 8, 8] given").replace(
        "mean =", "images = Cast<to = 1>(given)\n  mean ="
    )
    found = compare(save(tmp_path / "a.onnx", text), save(tmp_path / "b.onnx", wide))
    assert {row["output"] for row in found["rows"]} == {"logits"}


def test_a_file_that_takes_nothing_like_pictures_is_refused(tmp_path: Path):
    text = ONE.format(batch="B", high=8, wide=8, more="", body=PLAIN)
    path = save(tmp_path / "a.onnx", text.replace("float[B, 3, 8, 8] images", "float[B, 7, 8, 8] images"))
    with pytest.raises(UserMistake, match="does not take pictures") as caught:
        compare(path, path)
    assert "images float B x 7 x 8 x 8" in str(caught.value)
    assert "1, 3 or 4 channels" in str(caught.value)
