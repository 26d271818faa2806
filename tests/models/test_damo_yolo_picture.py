"""The input contract of the registry's detectors is what the authors' code does; the way of boxes: tests/runtime/test_boxes.py."""

from dataclasses import replace

import numpy as np
import pytest
from reference_weights import facts, golden

from edgesmith.models import find
from edgesmith.runtime.pictures.preprocess import preprocess
from edgesmith.runtime.tasks.detection.boxes import to_image

CASES = facts("damoyolo_preprocess")["cases"]


def contract(case):
    """The spec's, at the size of the case; ``keep_ratio`` is False in every released configuration."""
    stretched = find("damo_yolo").contract_for(tuple(case["infer_hw"]))
    return replace(stretched, fit="letterbox", anchor="corner") if case["keep_ratio"] else stretched


@pytest.mark.parametrize("number", range(len(CASES)))
def test_the_network_sees_what_the_authors_network_sees(number):
    """One grey level is what another bilinear resize may differ by; OpenCV's is theirs. What is filled up is zero."""
    case, stored = CASES[number], golden("damoyolo_preprocess")
    (found,) = preprocess([stored[case["image"]]], contract(case))
    expected = stored[case["network_input"]][0]
    assert found.dtype == np.float32 and found.shape == expected.shape == (3, *case["infer_hw"])
    assert np.abs(found - expected).max() <= 1
    assert (found[expected == 0] <= 1).all() and expected.max() > 200  # 0..255, neither scaled nor shifted
    height, width = case["resized_hw"]
    assert not found[:, height:].any() and not found[:, :, width:].any()


def test_both_ways_of_fitting_are_in_the_file():
    assert {case["keep_ratio"] for case in CASES} == {True, False}


@pytest.mark.parametrize("case", CASES)
def test_the_corner_of_the_picture_is_the_corner_of_what_is_covered(case):
    height, width = case["resized_hw"]
    image = tuple(case["original_hw"])
    corners = to_image(np.array([[0.0, 0.0, width, height]]), image, contract(case))
    np.testing.assert_allclose(corners, [[0, 0, image[1], image[0]]], rtol=1e-12)
    boxes = np.array(case["boxes_in_network_pixels"], np.float64)
    off = np.abs(to_image(boxes, image, contract(case)) - case["boxes_back_in_image_official"]).max()
    assert off > 5 if case["keep_ratio"] else off <= 1e-9  # the authors divide by the padded size
