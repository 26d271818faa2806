"""Pictures go in and boxes come back as in the authors' code, and right where theirs is not."""

import numpy as np
import pytest
from reference_weights import facts, golden

from edgesmith.models.damo_yolo_picture import contract, covered, to_image, to_network
from edgesmith.runtime.preprocess import preprocess

CASES = facts("damoyolo_preprocess")["cases"]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_the_network_sees_what_the_authors_network_sees(number):
    """One grey level is what another bilinear resize may differ by; OpenCV's is theirs."""
    case, stored = CASES[number], golden("damoyolo_preprocess")
    size = tuple(case["infer_hw"])
    found = to_network(stored[case["image"]], size, case["keep_ratio"])
    assert found.dtype == np.float32 and found.shape == (3, *size)
    assert covered(tuple(case["original_hw"]), size, case["keep_ratio"]) == tuple(case["resized_hw"])
    assert np.abs(found - stored[case["network_input"]][0]).max() <= 1


@pytest.mark.parametrize("case", [case for case in CASES if not case["keep_ratio"]])
def test_the_way_back_from_a_stretched_picture(case):
    boxes = np.array(case["boxes_in_network_pixels"], np.float64)
    found = to_image(boxes, tuple(case["original_hw"]), tuple(case["infer_hw"]))
    np.testing.assert_allclose(found, case["boxes_back_in_image_official"], rtol=1e-12)


@pytest.mark.parametrize("case", [case for case in CASES if case["keep_ratio"]])
def test_the_way_back_from_a_padded_picture_is_not_the_authors(case):
    """The corner of the covered part is the corner of the picture; theirs ends up beside it."""
    image, size = tuple(case["original_hw"]), tuple(case["infer_hw"])
    height, width = case["resized_hw"]
    corner = to_image(np.array([[0.0, 0.0, width, height]]), image, size, keep_ratio=True)
    np.testing.assert_allclose(corner, [[0, 0, image[1], image[0]]], rtol=1e-12)
    boxes = np.array(case["boxes_in_network_pixels"], np.float64)
    found = to_image(boxes, image, size, keep_ratio=True)
    assert np.abs(found - case["boxes_back_in_image_official"]).max() > 5


@pytest.mark.parametrize("image_size", [(60, 84), (90, 50), (64, 64), (1, 300), (300, 1)])
def test_a_padded_picture_fills_one_side_and_the_rest_is_zero(image_size):
    height, width = covered(image_size, (64, 96), keep_ratio=True)
    assert 1 <= height <= 64 and 1 <= width <= 96 and (height == 64 or width == 96)
    planes = to_network(np.full((*image_size, 3), 200, np.uint8), (64, 96), keep_ratio=True)
    assert (planes[:, :height, :width] == 200).all()
    assert planes.sum() == 200 * 3 * height * width


def test_the_house_s_contract_says_the_same():
    """A stretched picture needs no code of its own at run time: bilinear, no antialiasing, no mean, no std, no scale."""
    stored = golden("damoyolo_preprocess")
    for case in CASES:
        if not case["keep_ratio"]:
            size = tuple(case["infer_hw"])
            found = preprocess([stored[case["image"]]], contract(size))[0]
            np.testing.assert_array_equal(found, to_network(stored[case["image"]], size))
