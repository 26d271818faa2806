"""The parts of grounding that need no graph, beside the golden of the official code: sizes, pixels, regions, positions."""

from __future__ import annotations

import numpy as np
import pytest
from grounding_golden import FACTS, bucket, golden_arrays

from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.contract import ImageContract
from edgesmith.runtime.pictures.preprocess import fit_image, preprocess
from edgesmith.runtime.tasks.grounding.buckets import nearest, told
from edgesmith.runtime.tasks.grounding.regions import regions
from edgesmith.runtime.tasks.grounding.resize import screen_size, smart_size
from edgesmith.runtime.tasks.grounding.screens import rotary

SIZES = FACTS["smart_resize_cases"]
MODES = sorted(FACTS["results"])


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return golden_arrays()


@pytest.mark.parametrize("case", SIZES, ids=[f"{one['hw'][1]}x{one['hw'][0]}-{one['max_pixels']}" for one in SIZES])
def test_a_screen_is_resized_to_the_official_size(case):
    found = smart_size(*case["hw"], least=case["min_pixels"], most=case["max_pixels"])
    assert found == tuple(case["resized_hw"])


@pytest.mark.parametrize(
    ("picture", "size"), [((1080, 1920), (1092, 1932)), ((3384, 6016), (1792, 3192)), ((672, 672), (672, 672))]
)
def test_a_large_screen_is_made_smaller_twice(picture, size):
    assert screen_size(*picture) == size


@pytest.mark.parametrize("picture", [(10, 2001), (2001, 10), (0, 5)])
def test_a_strip_has_no_size(picture):
    with pytest.raises(UserMistake, match="no screen"):
        smart_size(*picture)


def contract() -> ImageContract:
    image = FACTS["image"]
    return ImageContract(
        size=tuple(image["resized_hw"]),
        crop_fraction=1.0,
        fit="stretch",
        mean=tuple(image["mean"]),
        std=tuple(image["std"]),
    )


def test_the_resize_is_pillows_to_the_bit(golden):
    assert np.array_equal(fit_image(golden["raw_image"], contract()), golden["resized_image"])


def test_the_pixels_are_those_of_the_official_processor(golden):
    pixels = preprocess([golden["raw_image"]], contract())
    assert np.abs(pixels[0, :, 3::7, 5::7] - golden["pixels_sample"]).max() < 1e-6  # float32 of values up to 2.1


@pytest.mark.parametrize("at", range(len(FACTS["region_rule_cases"])))
def test_regions_are_the_official_ones(golden, at):
    case = FACTS["region_rule_cases"][at]
    found = regions(golden[case["map"]])
    assert len(found) == case["n_regions"]
    assert [one.patches for one in found] == case["sizes"]
    np.testing.assert_allclose([one.point for one in found], case["centers_xy"], rtol=0, atol=1e-12)
    np.testing.assert_allclose([one.score for one in found], case["scores"], rtol=0, atol=1e-12)
    left, top, right, bottom = found[0].box
    np.testing.assert_allclose(
        [(left + right) / 2, (top + bottom) / 2], case["best_rect_center_xy"], rtol=0, atol=1e-12
    )
    lower = regions(golden[case["map"]], threshold=0.1)[0]
    np.testing.assert_allclose(lower.point, case["best_xy_threshold_0_1"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_clicks_where_the_official_code_does(golden, mode):
    result = FACTS["results"][mode]
    found = regions(golden[f"{mode}/patch_scores"].reshape(result["grid_hw"]))
    np.testing.assert_allclose(found[0].point, result["click_point_xy"], rtol=0, atol=1e-12)
    assert [one.patches for one in found] == [one["n_patches"] for one in result["regions"]]


def test_regions_meet_at_sides_and_not_at_corners():
    found = regions(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]]))
    assert [(one.patches, one.score) for one in found] == [
        (1, 1.0),
        (2, 1.0),
    ]  # of one score: the first in reading order
    assert found[1].box == (1 / 3, 1 / 3, 1.0, 2 / 3)


@pytest.mark.parametrize("scores", [np.zeros((2, 2)), np.full((2, 2), np.nan), np.ones(4), np.array([[1.0, np.inf]])])
def test_scores_that_point_nowhere_are_refused(scores):
    with pytest.raises(UserMistake, match="point nowhere"):
        regions(scores)


def test_positions_are_those_of_the_official_code(golden):
    fixed, grid = FACTS["fixed_tokens"], tuple(FACTS["image"]["merged_grid_hw"])
    places, official = rotary.positions(fixed, grid), golden["position_ids"][:, 0]
    assert np.array_equal(places, official[:, : places.shape[1]])
    after = official[:, places.shape[1] :]
    assert (after == rotary.start(fixed, grid) + np.arange(after.shape[1])).all()


def test_a_transposed_grid_has_other_positions():
    assert not np.array_equal(rotary.positions(3, (4, 6)), rotary.positions(3, (6, 4)))


def test_rotary_tables_turn_each_section_with_its_own_axis():
    places = np.array([[1, 5], [2, 6], [3, 7]])
    cos, sin = rotary.tables(places, (2, 3, 3), 1e6)
    assert cos.shape == sin.shape == (2, 16) and cos.dtype == np.float32
    frequencies = 1e6 ** -(np.arange(8) / 8)
    for token in range(2):
        axes = np.repeat(places[:, token], (2, 3, 3))
        np.testing.assert_allclose(cos[token], np.tile(np.cos(axes * frequencies), 2), rtol=0, atol=2e-6)
        np.testing.assert_allclose(sin[token], np.tile(np.sin(axes * frequencies), 2), rtol=0, atol=2e-6)


BUCKETS = [bucket(1280, 800), bucket(1920, 1080), bucket(1280, 720), bucket(390, 844)]


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        ((1920, 1080), "1920x1080"),
        ((3840, 2160), "1920x1080"),
        ((1366, 768), "1280x720"),
        ((2560, 1600), "1280x800"),
        ((430, 932), "390x844"),
        ((1024, 768), "1280x800"),
    ],
)
def test_the_nearest_shape_wins_then_the_nearest_size(picture, expected):
    assert nearest(picture[1], picture[0], BUCKETS).words == expected


def test_what_a_bucket_does_to_a_picture_is_told():
    assert told(1080, 1920, BUCKETS[1]) == ()
    (small,) = told(4320, 7680, BUCKETS[1])
    assert "looked at as 1932 x 1092" in small
    (stretched,) = told(768, 1024, BUCKETS[0])
    assert "stretched 1.20 times" in stretched


@pytest.mark.parametrize(("picture", "words"), [((1, 1), "no screenshot"), ((2000, 28), "shape of no screen")])
def test_a_picture_that_is_no_screen_is_refused(picture, words):
    with pytest.raises(UserMistake, match=words):
        nearest(*picture, BUCKETS)
