"""What a manifest says of grounding is vetted when the bundle is opened; the self-test's verdict."""

from __future__ import annotations

import contextlib
import copy
import json
import random

import numpy as np
import pytest
from grounding_bundle import WIDE, encode, screenshot, write_grounding_bundle
from sealed import edit_manifest

from edgesmith.runtime.backends.load import load
from edgesmith.runtime.bundle.bundle import open_bundle
from edgesmith.runtime.bundle.report import write_report
from edgesmith.runtime.errors import BundleRefused, UserMistake
from edgesmith.runtime.tasks.grounding import verdict, words
from edgesmith.runtime.tasks.grounding.facts import facts_of


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_grounding_bundle(tmp_path_factory.mktemp("grounding") / "colours.edge")


@pytest.fixture
def edited(place):
    """Opens the bundle with one value of its manifest replaced, and puts it back."""
    kept = json.loads((place / "manifest.json").read_text())

    def edit(path: str, value: object) -> None:
        changed = copy.deepcopy(kept)
        *way, last = [int(step) if step.isdecimal() else step for step in path.split(".")]
        inside = changed
        for step in way:
            inside = inside[step]
        if value is ...:
            del inside[last]
        else:
            inside[last] = value
        write(changed)
        open_bundle(place)

    def write(manifest: dict[str, object]) -> None:
        edit_manifest(place, lambda now: [now.pop(key) for key in set(now) - set(manifest)], **manifest)

    yield edit
    write(kept)
    open_bundle(place)


def test_facts_are_read_as_they_were_written(place):
    facts = facts_of(open_bundle(place))
    assert facts.template.before == (8, 9, 1) and facts.template.extra == 5 and facts.template.pointer_pad == 4
    assert [one.words for one in facts.buckets] == ["224x140", "84x168", "112x112"] and facts.buckets[0].grid == (5, 8)
    assert facts.threshold == 0.3 and facts.kv_bits == 16 and not facts.bias_left_out and facts.vocabulary == 20


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("grounding", ...),
        ("grounding", []),
        ("grounding.template", ...),
        ("grounding.template.before", []),
        ("grounding.template.before", [1.5]),
        ("grounding.template.before", [-1]),
        ("grounding.template.before", [1] * 5_000),
        ("grounding.template.before", [8, 1]),
        ("grounding.template.after", [6, 20]),
        ("grounding.template.pointer_pad", "4"),
        ("grounding.template.vision_end", True),
        ("grounding.template.stop_words", [3]),
        ("grounding.buckets", []),
        ("grounding.buckets.0.size", [140, 225]),
        ("grounding.buckets.0.size", [140]),
        ("grounding.buckets.0.size", [0, 224]),
        ("grounding.buckets.0.size", [168, 224]),
        ("grounding.buckets.0.grid", [8, 5]),
        ("grounding.buckets.0.grid", [100_000, 8]),
        ("grounding.buckets.0.screen", [2**40, 2]),
        ("grounding.buckets.0.vision", "vision"),
        ("grounding.buckets.0.prefix", "vision_224x140"),
        ("grounding.buckets.0.vision", "vision_84x168"),
        ("grounding.threshold", 1.0),
        ("grounding.threshold", "nan"),
        ("grounding.kv", ...),
        ("grounding.kv.bits", 3),
        ("grounding.kv.bits", True),
        ("grounding.kv.scheme", "quarot"),
        ("grounding.kv.scheme", ["kivi"]),
        ("grounding.kv.scheme", "rotatekv"),
        ("grounding.kv.bias_left_out", 1),
        ("grounding.kv.bias_left_out", True),
        ("grounding.vocabulary", 0),
        ("grounding.tokenizer", "../tokenizer.json"),
        ("grounding.tokenizer", "words.json"),
        ("grounding.rope", {"theta": 0}),
        ("grounding.rope", {"sections": ["a"]}),
        ("grounding_report", {"pictures": [{"rows": [{"judge": ["x"]}]}]}),
        ("graphs.instruction", ...),
        ("graphs.instruction.outputs.0.name", "points"),
        ("graphs.instruction.inputs.2.name", "begin"),
        ("graphs.instruction.inputs.3.name", "key"),
        ("graphs.prefix_224x140.outputs.0.shape", ["batch", 1, 1, "P", 4]),
        ("graphs.prefix_224x140.outputs.0.dtype", "bfloat16"),
        ("graphs.prefix_224x140.outputs.0.dtype", "float32"),
        ("graphs.prefix_224x140.inputs.0.name", "embeds"),
    ],
)
def test_a_value_of_another_kind_is_refused_at_the_door(edited, path, value):
    with pytest.raises(BundleRefused):
        edited(path, value)


def row(expected, found, precision="fp32", bits=16, measured=None, grid=(1, 4)):
    figures = verdict.compare(np.array(expected, np.float32), np.array(found, np.float32), grid, 0.3)
    return verdict.verdict(precision, bits, figures, measured)


SCORES = [[0.1, 0.2, 0.6, 0.1]]


def near(share: float) -> list[list[float]]:
    return [[0.1, 0.2 + 0.6 * share, 0.6, 0.1]]


@pytest.mark.parametrize(
    ("precision", "bits", "share", "holds"),
    [
        ("fp32", 32, 0.5e-4, True),
        ("fp32", 32, 2e-4, False),
        ("fp32", 16, 2e-4, True),
        ("fp32", 16, 2e-2, False),
        ("fp16", 16, 5e-3, True),
        ("fp16", 16, 2e-2, False),
        ("bf16", 16, 2e-2, True),
        ("bf16", 16, 0.2, False),
        ("int4", 16, 0.3, True),
        ("int4", 16, 1.0, False),
    ],
)
def test_the_limit_belongs_to_the_precision_and_the_stored_bits(precision, bits, share, holds):
    assert row(SCORES, near(share), precision, bits)[1] is holds


def test_few_stored_bits_are_held_to_what_was_measured():
    assert row(SCORES, near(0.1), "fp32", 4, measured=0.997)[1]
    assert not row(SCORES, near(0.3), "fp32", 4, measured=0.999)[1]


def test_bfloat16_is_held_to_what_it_costs_a_checkpoint_where_that_is_more_than_usual():
    figures = {"cosine": 0.997, "share": 0.1}
    assert not verdict.verdict("bf16", 16, figures)[1]
    assert verdict.verdict("bf16", 16, figures, 0.998)[1]
    assert not verdict.verdict("bf16", 16, figures, 0.9995)[1]
    assert verdict.verdict("bf16", 16, {"cosine": 0.9991}, 0.99999)[1]  # never stricter than usual


def test_points_and_patches_are_compared():
    figures = verdict.compare(np.array(SCORES), np.array([[0.6, 0.2, 0.1, 0.1]]), (1, 4), 0.4)
    assert figures["same_patch"] == 0.0 and figures["patches"] == pytest.approx(2.0)


def test_scores_that_are_no_numbers_fail(place):
    facts = facts_of(open_bundle(place))
    expected = np.full((1, 40), 1 / 40, np.float32)
    for wrong in (np.full((1, 40), np.nan), np.zeros((1, 40)), np.ones((1, 39))):
        assert not verdict.row(expected, [wrong.astype(np.float32)], facts, "fp32", None).passed
    with pytest.raises(BundleRefused, match="does not fit"):
        verdict.row(expected[:, :30], [expected], facts, "fp32", None)


def test_the_report_tells_sizes_storage_and_clicks(place):
    row = {"instruction": "the <red> button", "judge": [154, 42], "bundle": [155, 42], "apart_px": 1.0, "score": 0.9}
    screen = {"name": "colours", "file": "pictures/screen.png", "size": [224, 140], "rows": [row]}
    manifest = {**open_bundle(place).manifest, "grounding_report": {"pictures": [screen]}}
    page = write_report(manifest)
    for told in (
        "224x140 seen as 224x140",
        "query_1",
        "16 bits",
        "pictures/screen.png",
        "the &lt;red&gt; button",
        "155, 42",
    ):
        assert told in page
    assert "javascript" not in write_report(
        {**manifest, "grounding_report": {"pictures": [{**screen, "file": "javascript:x.png"}]}}
    )
    assert "224x140 seen" in write_report(open_bundle(place).manifest)


def leaves(value: object, way: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way, *(deeper for key, one in inside for deeper in leaves(one, (*way, key)))]


@pytest.mark.parametrize("seed", range(40))
def test_any_damage_is_refused_in_words_or_clicked_with(place, edited, monkeypatch, seed):
    rng = random.Random(seed)
    told = json.loads((place / "manifest.json").read_text())["grounding"]
    way = rng.choice(leaves(told)[1:])
    values = [
        None,
        -1,
        0,
        1,
        2,
        19,
        2**31,
        10**18,
        0.5,
        "",
        "x",
        "nan",
        True,
        [],
        {},
        [1, 2],
        [28, 28],
        "vision_84x168",
    ]
    monkeypatch.setattr(words, "encoder", lambda data: (encode, ()))
    with contextlib.suppress(UserMistake):
        edited(".".join(map(str, ("grounding", *way))), rng.choice(values))
        with load(place) as session, session.open(screenshot(WIDE, red=(1, 1))) as screen:
            assert 0 <= screen.click("the red button").point[0] <= 1
