"""Boxes go to the picture and back as the pixels do, for every way of fitting; overlaps and edges are what they should be."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from network_boxes import to_network
from reference_weights import facts, golden

from edgesmith.runtime.pictures.placement import placement
from edgesmith.runtime.pictures.preprocess import ImageContract, fit_image
from edgesmith.runtime.tasks.detection.boxes import clip, overlaps, to_image

FITS = [("stretch", "centre"), ("letterbox", "centre"), ("letterbox", "corner"), ("crop", "centre")]
CONTRACTS = st.builds(
    lambda size, fit, resize, antialias, fraction: ImageContract(
        size, resize, antialias, fraction, fit[0], anchor=fit[1], mean=(0.0, 0.0, 0.0), scale=1.0
    ),
    st.tuples(st.integers(24, 160), st.integers(24, 160)),
    st.sampled_from(FITS),
    st.sampled_from(["bicubic", "bilinear"]),
    st.booleans(),
    st.sampled_from([1.0, 0.95, 0.875, 0.5]),
)
SIZES = st.tuples(st.integers(8, 300), st.integers(8, 300))


def edges(profile: np.ndarray) -> tuple[float, float]:
    """Where a painted stretch begins and ends along one axis: the crossings of half its height, between pixel centres."""
    half = profile.max() / 2
    inside = np.flatnonzero(profile > half)
    first, last = inside[0], inside[-1]

    def crossing(outer: int, inner: int) -> float:
        low, high = float(profile[outer]), float(profile[inner])
        return (outer + (half - low) / (high - low) * (inner - outer)) + 0.5  # a pixel's value belongs to its middle

    return crossing(first - 1, first), crossing(last + 1, last)


@settings(deadline=None, max_examples=80)
@given(CONTRACTS, SIZES, st.data())
def test_a_painted_rectangle_is_found_where_the_mapping_says(contract, image_size, data):
    """The transform of the pixels itself is the judge: paint, transform, find, map back."""
    height, width = image_size
    place = placement(image_size, contract)
    window = place.window
    for axis, (length, kept) in enumerate([(height, window[2] - window[0]), (width, window[3] - window[1])]):
        # what a sample between pixels cannot show: pictures much smaller or larger than what the network sees of them
        assume(1 / 3 < length / place.resized[axis] < 3 and kept >= 16)
    corners = to_image(np.array([[*place.corner[::-1], *place.corner[::-1]]], np.float64), image_size, contract)[0]
    gain = np.array([place.resized[1] / width, place.resized[0] / height])
    box = []
    for axis in (0, 1):  # x, y: four network pixels inside the part that is seen, and at least six wide
        seen = (window[3] - window[1], window[2] - window[0])[axis] / gain[axis]
        low, high = int(np.ceil(corners[axis] + 4 / gain[axis])), int(corners[axis] + seen - 4 / gain[axis])
        wide = int(np.ceil(6 / gain[axis])) + 2
        assume(high - low >= wide)
        start = data.draw(st.integers(low, high - wide))
        box.append((start, data.draw(st.integers(start + wide, high))))
    (x1, x2), (y1, y2) = box
    picture = np.zeros((height, width, 3), np.uint8)
    picture[y1:y2, x1:x2] = 200
    seen = fit_image(picture, contract)[:, :, 0].astype(float)
    (left, right), (top, bottom) = edges(seen.max(axis=0)), edges(seen.max(axis=1))
    expected = np.array([[x1, y1, x2, y2]], np.float64)
    painted = np.array([[left, top, right, bottom]])
    # half a pixel, of the coarser of the two grids: sampling cannot tell an edge finer; the mapping itself is exact
    step = np.maximum(1, gain)
    assert (np.abs(painted - to_network(expected, image_size, contract)) <= 0.55 * np.tile(step, 2)).all()
    back = to_image(painted, image_size, contract)
    assert (np.abs(back - expected) <= 0.55 * np.tile(np.maximum(1, 1 / gain), 2)).all()


@settings(deadline=None, max_examples=200)
@given(CONTRACTS, SIZES, st.lists(st.tuples(*[st.floats(-500, 500)] * 4), max_size=5))
def test_boxes_into_the_image_and_back_are_the_same(contract, image_size, boxes):
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    back = to_network(to_image(boxes, image_size, contract), image_size, contract)
    np.testing.assert_allclose(back, boxes, rtol=0, atol=1e-9)


@settings(deadline=None, max_examples=200)
@given(CONTRACTS, SIZES)
def test_the_corners_of_the_seen_part_are_those_of_the_picture(contract, image_size):
    """Where nothing is cropped, the whole picture lies exactly between its corners in the network's input."""
    place = placement(image_size, contract)
    assume(place.window == (0, 0, *place.resized))
    y, x = place.corner
    found = to_image(np.array([[x, y, x + place.resized[1], y + place.resized[0]]], np.float64), image_size, contract)
    np.testing.assert_allclose(found, [[0, 0, image_size[1], image_size[0]]], rtol=0, atol=1e-9)


@pytest.mark.parametrize("case", facts("damoyolo_preprocess")["cases"])
def test_boxes_go_back_into_the_image_as_with_the_authors(case):
    """Stretched: their way back is ours. Into the corner: theirs divides by the padded size, ours by the covered part."""
    contract = damo_yolo(tuple(case["infer_hw"]), case["keep_ratio"])
    image_size = tuple(case["original_hw"])
    found = to_image(np.array(case["boxes_in_network_pixels"], np.float64), image_size, contract)
    theirs = np.array(case["boxes_back_in_image_official"])
    if not case["keep_ratio"]:
        np.testing.assert_allclose(found, theirs, rtol=1e-12)
        return
    covered = np.array(case["resized_hw"][::-1] * 2)
    np.testing.assert_allclose(found, theirs * np.array(case["infer_hw"][::-1] * 2) / covered, rtol=1e-12)
    assert np.abs(found - theirs).max() > 5


@pytest.mark.parametrize("number", range(5))
def test_the_network_sees_what_the_authors_network_sees(number):
    """One grey level is what another bilinear resize may differ by; OpenCV's is theirs. Zeros must be zeros."""
    case, stored = facts("damoyolo_preprocess")["cases"][number], golden("damoyolo_preprocess")
    contract = damo_yolo(tuple(case["infer_hw"]), case["keep_ratio"])
    found = fit_image(stored[case["image"]], contract).transpose(2, 0, 1).astype(float)
    expected = stored[case["network_input"]][0]
    assert placement(tuple(case["original_hw"]), contract).resized == tuple(case["resized_hw"])
    assert np.abs(found - expected).max() <= 1
    height, width = case["resized_hw"]
    assert not found[:, height:].any() and not found[:, :, width:].any()


@settings(deadline=None, max_examples=100)
@given(SIZES, st.tuples(st.integers(1, 20), st.integers(1, 20)))
def test_a_picture_in_the_corner_fills_one_side(image_size, cells):
    """The other is rounded down, in whole numbers, as the authors do; it keeps a pixel."""
    size = (cells[0] * 32, cells[1] * 32)
    place = placement(image_size, damo_yolo(size, keep_ratio=True))
    scale = min(Fraction(side, length) for side, length in zip(size, image_size, strict=True))
    assert place.resized == tuple(max(int(length * scale), 1) for length in image_size)
    assert place.corner == (0, 0) and place.window == (0, 0, *place.resized)


def damo_yolo(size: tuple[int, int], keep_ratio: bool) -> ImageContract:
    fit, anchor = ("letterbox", "corner") if keep_ratio else ("stretch", "centre")
    zeros, ones = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return ImageContract(size, "bilinear", False, 1.0, fit, zeros, ones, scale=1.0, anchor=anchor)


def test_types_are_kept_and_none_is_fine():
    contract = ImageContract((64, 64), fit="letterbox")
    for dtype in (np.float32, np.float64):
        for shape in ((0, 4), (2, 4), (3, 2, 4)):
            boxes = np.ones(shape, dtype)
            for mapped in (to_image(boxes, (10, 20), contract), clip(boxes, (10, 20))):
                assert mapped.shape == shape and mapped.dtype == dtype


def test_clipping_keeps_the_part_inside():
    boxes = np.array([[-5, -5, 300, 400], [10, 20, 30, 40], [-9, -9, -1, -1]], np.float32)
    assert clip(boxes, (100, 200)).tolist() == [[0, 0, 200, 100], [10, 20, 30, 40], [0, 0, 0, 0]]


def test_overlap_is_the_shared_area_and_a_box_overlaps_itself():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 20, 30]], np.float32)
    # the third has no area: with itself it is still the same box; areas are without + 1
    np.testing.assert_allclose(overlaps(boxes, boxes), [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]])
    assert overlaps(boxes[:0], boxes).shape == (0, 3)
