"""From the places of a map to the pixels of a picture: the numbers against other programs, and what a crop leaves out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from floor import workstation

from edgesmith.runtime.pictures.contract import ImageContract
from edgesmith.runtime.tasks.segmentation.places import MOST_GOLDEN, classes, thinned

WHOLE = {"fit": "stretch", "crop_fraction": 1.0}


def logits(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_best(found: np.ndarray, maps: np.ndarray) -> None:
    """``found`` (H, W) is the best class of ``maps`` (C, H, W), but where rounding decides between two."""
    best, second = maps.argmax(axis=0), np.sort(maps, axis=0)[-2:]
    apart = found != best
    assert (second[1] - second[0])[apart].max(initial=0.0) < 1e-5 and apart.mean() < 0.01


@pytest.mark.parametrize(
    ("places", "size"), [((8, 8), (37, 61)), ((8, 12), (8, 12)), ((1, 5), (20, 33)), ((32, 32), (64, 64))]
)
def test_between_places_it_is_linear_as_opencv_resizes(places: tuple[int, int], size: tuple[int, int]):
    """OpenCV's enlarging has the same centres of pixels."""
    given = logits((7, *places))
    found = classes(given, size, ImageContract((64, 64), **WHOLE))
    maps = np.stack([cv2.resize(one, size[::-1], interpolation=cv2.INTER_LINEAR) for one in given])
    assert found.shape == size and found.dtype == np.uint8
    assert_best(found, maps)


@workstation
@pytest.mark.parametrize("size", [(64, 64), (100, 35), (9, 200)])
def test_it_is_what_transformers_makes_of_logits(size: tuple[int, int]):
    import torch

    given = logits((150, 16, 16), seed=1)
    found = classes(given, size, ImageContract((64, 64), **WHOLE))
    maps = torch.nn.functional.interpolate(
        torch.from_numpy(given)[None], size=size, mode="bilinear", align_corners=False
    )
    assert_best(found, maps[0].numpy())


def test_a_letterbox_gives_each_pixel_of_the_picture_its_own_place():
    """Logits that are the input itself: a wide picture of two halves, above and below it what was filled in."""
    given = np.zeros((3, 32, 32), np.float32)
    given[2] = 0.5  # what was filled in is of class 2
    given[:, 8:24] = 0
    given[0, 8:24, :16] = given[1, 8:24, 16:] = 1
    found = classes(given, (100, 200), ImageContract((32, 32), crop_fraction=1.0, fit="letterbox"))
    assert (found[10:90, :90] == 0).all() and (found[10:90, 110:] == 1).all()
    assert 2 not in found[10:90]


def test_what_a_crop_leaves_out_has_no_class():
    found = classes(np.zeros((2, 4, 4), np.float32), (64, 128), ImageContract((32, 32), crop_fraction=1.0, fit="crop"))
    assert (found[:, 32:96] == 0).all() and (found[:, :32] == 255).all() and (found[:, 96:] == 255).all()
    found = classes(np.zeros((2, 4, 4), np.float32), (64, 64), ImageContract((32, 32), crop_fraction=0.5, fit="crop"))
    assert (found[16:48, 16:48] == 0).all() and (found == 255).sum() == 64 * 64 - 32 * 32


def test_one_channel_is_the_second_of_two_classes():
    found = classes(np.array([[[-1.0, 1.0]]], np.float32), (2, 4), ImageContract((8, 8), **WHOLE))
    np.testing.assert_array_equal(found, [[0, 0, 1, 1]] * 2)


def test_more_classes_than_a_byte_counts_have_two():
    given = np.zeros((300, 2, 2), np.float32)
    given[299] = 1
    found = classes(given, (3, 3), ImageContract((8, 8), **WHOLE))
    assert found.dtype == np.uint16 and (found == 299).all()


def test_of_equal_classes_the_first_counts():
    assert (classes(np.ones((4, 3, 3), np.float32), (5, 5), ImageContract((8, 8), **WHOLE)) == 0).all()


def test_a_class_that_is_second_at_every_place_can_be_best_between_them():
    given = np.array([[[1.0, -1.0]], [[-1.0, 1.0]], [[0.4, 0.4]]], np.float32)
    assert 2 in classes(given, (1, 9), ImageContract((8, 8), **WHOLE))


def test_a_self_test_keeps_some_places_of_a_large_map():
    small, large = np.zeros((2, 3, 16, 16)), np.zeros((1, 21, 520, 520))
    assert thinned(small).shape == small.shape
    assert MOST_GOLDEN / 2 < thinned(large).size < 2 * MOST_GOLDEN and thinned(large).shape[:2] == (1, 21)
