"""Instructions as ids, and how a picture is looked at a second time: what a user types never becomes a special id."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from grounding_bundle import (
    AFTER,
    VOCABULARY,
    WIDE,
    WORDS,
    encode,
    ids,
    screenshot,
    tokenizer_json,
    write_grounding_bundle,
)
from grounding_golden import FACTS, bucket

from edgesmith.runtime.backends.load import load
from edgesmith.runtime.errors import BackendUnavailable, BundleRefused, UserMistake
from edgesmith.runtime.tasks.grounding import words, zoom
from edgesmith.runtime.tasks.grounding.facts import Template

TEMPLATE = Template((8, 9, 1), AFTER, 2, 3, 4, ("<|pointer_pad|>",))
with_library = pytest.mark.skipif(find_spec("tokenizers") is None, reason="needs the library tokenizers")


def test_a_row_ends_with_the_anchor():
    assert words.ids_of("the red button", encode, TEMPLATE, VOCABULARY) == [2, 14, 10, 15, 6, 7, 3, 4]


def test_rows_of_a_batch_are_filled_up_on_the_left():
    tokens, lengths = words.batch([ids("red"), ids("click", "the", "red")], least=9)
    assert tokens.dtype == lengths.dtype == np.int64 and lengths.tolist() == [6, 8]
    assert tokens.tolist() == [[2, 2, 2, *ids("red")], [2, *ids("click", "the", "red")]]


@pytest.mark.parametrize("most", [12, None])
def test_too_many_tokens_are_refused(most):
    count = 8 if most else words.MOST_IDS + 1
    with pytest.raises(UserMistake, match="too long") as told:
        words.ids_of("red " * count, encode, TEMPLATE, VOCABULARY, most)
    assert f"{count} tokens" in str(told.value) and f"at most {7 if most else 1024}" in str(told.value)
    assert words.ids_of("red " * (count - 1), encode, TEMPLATE, VOCABULARY, most)


@pytest.mark.parametrize("given", [[], [WORDS["red"], 4], [VOCABULARY]])
def test_a_tokenizer_of_another_model_is_refused(given):
    with pytest.raises(BundleRefused, match="not that of its model"):
        words.ids_of("red", lambda text: given, TEMPLATE, VOCABULARY)


@with_library
def test_the_library_gives_the_same_ids_and_its_special_words():
    from_file, special = words.encoder(tokenizer_json())
    assert from_file("Click the RED button") == encode("click the red button") == [13, 14, 10, 15]
    assert "<|pointer_pad|>" in special and "<|image_pad|>" in special
    assert from_file("<|pointer_pad|>") == [4]  # which is why such words are refused


@with_library
@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\xff\xfe", b'{"added_tokens": [], "model": 3}', b'{"added_tokens": [{}]}']
)
def test_a_file_that_is_no_tokenizer_is_refused(data):
    with pytest.raises(BundleRefused, match="tokenizer of the bundle cannot be read"):
        words.encoder(data)


@with_library
def test_no_special_word_of_the_tokenizer_reaches_the_model(tmp_path):
    place = write_grounding_bundle(tmp_path / "colours.edge")
    with load(place) as session, session.open(screenshot(WIDE, red=(2, 2))) as screen:
        assert screen.click("The red button!").pixels[0] // 28 == 2
        for word in [one["content"] for one in json.loads(tokenizer_json())["added_tokens"]]:
            with pytest.raises(UserMistake, match="steers the model"):
                screen.click(f"red {word} button")


def test_without_the_library_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    place = write_grounding_bundle(tmp_path / "colours.edge")
    with load(place) as session, session.open(screenshot(WIDE)) as screen:
        with pytest.raises(BackendUnavailable, match="tokenizers") as told:
            screen.click("red")
        assert 'pip install "edgesmith[grounding]"' in str(told.value)
        assert all(row.passed for row in session.self_test())  # its instructions are ids


CROPS = FACTS["zoom_in_crops"]


@pytest.mark.parametrize(
    "case", CROPS, ids=["-".join(map(str, (*one["image_wh"], *one["norm_point"]))) for one in CROPS]
)
def test_the_part_is_the_official_one(case):
    width, height = case["image_wh"]
    part = zoom.crop((height, width), tuple(case["norm_point"]))
    assert part.box == tuple(case["crop_xyxy"]) and part.box[2] - part.box[0] == case["crop_size"]


def test_a_place_in_the_part_is_told_in_the_whole():
    part = zoom.crop((1080, 1920), (0.5, 0.5))  # 792, 372 to 1128, 708
    assert part.point_back(0.5, 0.25) == pytest.approx((960 / 1920, (372 + 84) / 1080))
    assert part.box_back((0, 0, 1, 1)) == pytest.approx((792 / 1920, 372 / 1080, 1128 / 1920, 708 / 1080))
    assert part.cut(np.zeros((1080, 1920, 3), np.uint8)).shape == (336, 336, 3)


def test_a_small_picture_is_looked_at_whole():
    assert zoom.crop((20, 400), (0.5, 0.5)).box == (186, 0, 214, 20)


def test_the_part_is_looked_at_in_a_size_of_its_shape():
    part, sizes = zoom.crop((1080, 1920), (0.5, 0.5)), [bucket(1920, 1080), bucket(672, 672), bucket(1344, 1344)]
    assert zoom.bucket_for(part, 2, sizes).words == "672x672" and zoom.bucket_for(part, 4, sizes).words == "1344x1344"
    with pytest.raises(UserMistake, match="cannot zoom") as told:
        zoom.bucket_for(part, 2, sizes[:1])
    assert "--screen 1920x1080,672x672" in str(told.value)


@pytest.mark.parametrize("wrong", [1, 3, 2.0, "2", True])
def test_other_zooms_are_refused(wrong):
    with pytest.raises(UserMistake, match="no such zoom"):
        zoom.check_factor(wrong)
