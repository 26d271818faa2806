"""The antialiased resize beside the same sums in whole numbers, and how it is cut into products."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesmith.runtime.pictures import resize
from edgesmith.runtime.pictures.resize import KERNELS, WEIGHT_BITS, resize_window


def whole_numbers(source: int, target: int, method: str) -> np.ndarray:
    """int64 (target, source): Pillow's weights of one axis."""
    kernel, half_width = KERNELS[method]
    stretch = max(source / target, 1.0)
    centres = (np.arange(target)[:, None] + 0.5) * (source / target)
    inputs = np.arange(source)[None]
    seen = (inputs >= (centres - half_width * stretch + 0.5).astype(np.int64)) & (
        inputs < (centres + half_width * stretch + 0.5).astype(np.int64)
    )
    weights = np.where(seen, kernel((inputs - centres + 0.5) / stretch), 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.rint(weights * 2**WEIGHT_BITS).astype(np.int64)


def along_rows(image: np.ndarray, target: int, method: str) -> np.ndarray:
    if image.shape[0] == target:
        return image
    sums = np.einsum("ts,swc->twc", whole_numbers(image.shape[0], target, method), image.astype(np.int64))
    return np.clip((sums + 2 ** (WEIGHT_BITS - 1)) >> WEIGHT_BITS, 0, 255).astype(np.uint8)


def expected(image: np.ndarray, size: tuple[int, int], method: str) -> np.ndarray:
    def along_columns(part: np.ndarray) -> np.ndarray:
        return along_rows(part.transpose(1, 0, 2), size[1], method).transpose(1, 0, 2)

    if image.shape[0] - size[0] > max(2 * (image.shape[1] - size[1]), 0):
        return along_columns(along_rows(image, size[0], method))
    return along_rows(along_columns(image), size[0], method)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    """Black, white and anything between: the sums reach beyond both ends."""
    rng = np.random.default_rng(height * 7919 + width)
    levels = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    return np.where(rng.random(levels.shape) < 0.5, levels, (levels > 127).astype(np.uint8) * 255)


side = st.integers(1, 120)


@given(side, side, side, side, st.sampled_from(sorted(KERNELS)), st.sampled_from([1, 3]))
def test_every_pixel_is_that_of_whole_numbers(height, width, out_height, out_width, method, channels):
    image, size = noise(height, width, channels), (out_height, out_width)
    found = resize_window(image, size, method, True, (0, 0, *size))
    np.testing.assert_array_equal(found, expected(image, size, method))


@pytest.mark.parametrize(("length", "target", "dtype"), [(2000, 40, np.float32), (4000, 3, np.float64)])
def test_of_many_inputs_as_of_few(length: int, target: int, dtype: type):
    """4000 -> 3: a low part's sum may be longer than 24 bits."""
    blocks = resize._blocks(length, target, "bicubic", 0, target, 4)
    assert {block.weights.dtype for block in blocks} == {np.dtype(dtype)}
    image = noise(length, 5)
    found = resize_window(image, (target, 5), "bicubic", True, (0, 0, target, 5))
    np.testing.assert_array_equal(found, expected(image, (target, 5), "bicubic"))


def test_a_window_is_a_part_of_the_whole():
    image = noise(97, 131)
    whole = resize_window(image, (41, 53), "bicubic", True, (0, 0, 41, 53))
    part = resize_window(image, (41, 53), "bicubic", True, (3, 7, 40, 44))
    np.testing.assert_array_equal(part, whole[3:40, 7:44])


@pytest.mark.parametrize("width", [1, 672, 3240, 40_000])
@pytest.mark.parametrize("source", [300, 1920, 9000])
def test_no_product_is_shared_out_among_threads(source: int, width: int):
    step, bands = resize._bands(source, 224, "bicubic", 0, 224, width)
    assert 1 <= step <= width
    assert all(block.weights.size * step <= resize.ALONE for band in bands for block in band)


def test_the_next_picture_lies_where_the_one_before_did_and_its_answer_does_not():
    first = resize_window(noise(300, 400), (50, 60), "bicubic", True, (0, 0, 50, 60))
    kept, before = dict(resize.KEPT.held), first.copy()
    second = resize_window(noise(301, 400)[1:], (50, 60), "bicubic", True, (0, 0, 50, 60))
    assert kept and all(resize.KEPT.held[use] is flat for use, flat in kept.items())
    np.testing.assert_array_equal(first, before)
    assert not np.array_equal(first, second)
