"""Codes and scales against the plainest code that computes them: float64, one value or column after the other."""

import ml_dtypes
import numpy as np
import pytest

from edgesmith.calibration.codes.blocks import dequantise, quantise_blocks
from edgesmith.calibration.codes.fp8 import quantise_fp8
from edgesmith.calibration.codes.nvfp4 import quantise_nvfp4
from edgesmith.calibration.codes.rounding import round_to_data
from edgesmith.calibration.codes.table import quantise_weight
from edgesmith.calibration.codes.weights import decibels, round_scale

RNG = np.random.default_rng(11)


def test_int8_codes_end_at_127_on_both_sides_where_a_range_clips():
    """A far negative value would take code -128, which weights must not have."""
    row = RNG.uniform(-1, 1, 9000)
    row[7] = -1.3
    found = quantise_weight(np.stack([row, -row]).astype(np.float32), 0, rule="mse", low="fp32")
    assert found.scale[0] < 1.3 / 128.5, "the far value is clipped by more than a step"
    assert found.codes[0, 7] == -127 and found.codes[1, 7] == 127
    assert (found.codes[0] == -found.codes[1]).all()


@pytest.mark.parametrize("size", [2, 64, 65, 66, 9000, 40000])
def test_the_mse_range_of_a_weight_is_the_cheapest_of_all_that_are_tried(size):
    """Rounding costs step^2 / 12 a value, clipping its square; every value is counted here, not the largest alone."""
    rows = RNG.standard_normal((4, size)) * [[1e-3], [0.1], [1], [10]]
    rows[:2, 0] *= 9  # a far value
    rows[2, : size // 2] = np.sign(rows[2, : size // 2])  # and more at the end than are looked at
    rows = rows.astype(np.float32)
    expected = []
    for row in np.abs(rows).astype(np.float64):
        limits = np.linspace(0.5, 1, 26) * row.max()
        costs = [size * (limit / 127) ** 2 / 12 + np.square(np.maximum(row - limit, 0)).sum() for limit in limits]
        expected.append(limits[int(np.argmin(costs))])
    found = quantise_weight(rows, 0, rule="mse", low="fp32")
    np.testing.assert_allclose(found.scale * 127, expected, rtol=1e-6)
    largest = np.abs(rows).max(axis=1)
    assert size < 9000 or (expected / largest < 0.99).sum() >= 2, "clipping pays where a channel is large"
    np.testing.assert_allclose(quantise_weight(rows, 0, rule="max", low="fp32").scale * 127, largest, rtol=1e-6)


def test_one_weight_a_channel_keeps_its_value():
    array = np.array([[0.5], [-2.0], [0.0]], np.float32)
    found = quantise_weight(array, 0, rule="mse", low="fp32")
    assert found.codes.ravel().tolist() == [127, -127, 0]
    np.testing.assert_allclose(found.scale, [0.5 / 127, 2 / 127, round_scale(0.0, "fp32")], rtol=1e-6)


def test_decibels_by_hand():
    assert decibels(1000.0, 1.0) == pytest.approx(30) and decibels(1.0, 100.0) == pytest.approx(-20)
    assert decibels(1.0, 0.0) == decibels(0.0, 0.0) == float("inf") and decibels(0.0, 1.0) == pytest.approx(-3000)


@pytest.mark.parametrize("low", ["fp16", "bf16", "fp32"])
def test_the_smallest_and_the_largest_scale_of_a_type(low):
    dtype = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16, "fp32": np.float32}[low]
    least = float(ml_dtypes.finfo(dtype).smallest_normal)
    assert round_scale(np.float32(0), low) == least and round_scale(np.float32(least), low) == least
    ties = np.float32([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-11, 1 + 3 * 2**-11])  # halfway between two bf16 or fp16
    np.testing.assert_array_equal(round_scale(ties, low), ties.astype(dtype).astype(np.float32))
    if low == "fp16":
        assert round_scale(np.float32(1e6), low) == 65504


def int4(ratio):
    return np.clip(np.rint(ratio), -8, 7)


def fp4(ratio):
    values = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    return np.sign(ratio) * values[np.abs(np.abs(ratio)[..., None] - values).argmin(axis=-1)]


def plain_scales(rows, block, nearest, scale, trials, importance):
    """(N, K / block) by trying 37 fractions of every block on its own."""
    found = np.zeros((len(rows), rows.shape[1] // block))
    for row in range(len(rows)):
        for at in range(found.shape[1]):
            part = slice(at * block, at * block + block)
            values, weight = rows[row, part], importance[part]
            tried = [scale(np.abs(values).max() * fraction) for fraction in np.linspace(*trials, 37)]
            costs = [(np.square(nearest(values / one) * one - values) * weight).sum() for one in tried]
            least = min(costs)
            found[row, at] = max(one for one, cost in zip(tried, costs, strict=True) if cost == least)
    return found


@pytest.mark.parametrize("weighed", [False, True])
def test_the_scale_of_every_block_is_the_best_of_those_tried(weighed):
    rows = RNG.standard_normal((5, 96)).astype(np.float32)
    importance = RNG.uniform(0, 9, 96) ** 3 if weighed else np.ones(96)
    found = quantise_blocks(rows, 1, block=32, low="fp32", importance=importance if weighed else None)
    real = importance + 1e-6 * importance.mean() if weighed else importance
    exact = rows.astype(np.float64)
    scales = plain_scales(exact, 32, int4, lambda limit: float(np.float32(limit / 7)), (0.55, 1), real)
    np.testing.assert_allclose(found.scale, scales, rtol=1e-6)
    np.testing.assert_array_equal(found.codes, int4(exact / np.repeat(scales, 32, axis=1)))
    error = np.square(found.codes * np.repeat(scales, 32, axis=1) - exact).sum()
    assert found.sqnr_db == pytest.approx(10 * np.log10(np.square(exact).sum() / error), abs=1e-4)
    assert found.codes.min() == -8, "a smaller scale lets the largest negative value take code -8"


@pytest.mark.parametrize("size", [1.0, 1e-5, 3e4])
def test_the_two_scales_of_nvfp4(size):
    rows = (RNG.standard_normal((4, 64)) * size).astype(np.float32)
    rows[0, :16] = 0
    found = quantise_nvfp4(rows, 1)
    largest = float(np.abs(rows).max())
    assert np.log2(found.outer) == max(np.ceil(np.log2(largest / 6 / 448)) + 1, -24), (
        "a power of two that float16 holds"
    )

    def e4m3(limit):
        return float(np.clip(limit / 6 / found.outer, 2**-6, 448).astype(ml_dtypes.float8_e4m3fn)) * found.outer

    scales = plain_scales(rows.astype(np.float64), 16, fp4, e4m3, (0.55, 1.5), np.ones(64))
    np.testing.assert_array_equal(found.scale.astype(np.float64) * found.outer, scales)
    real = found.codes.astype(np.float64) * np.repeat(scales, 16, axis=1)
    np.testing.assert_allclose(dequantise(found), real, rtol=1e-6)
    sqnr = 10 * np.log10(np.square(rows, dtype=np.float64).sum() / np.square(real - rows).sum())
    assert found.sqnr_db == pytest.approx(sqnr, abs=1e-3)


def test_fp8_scales_are_the_best_of_nine():
    rows = (RNG.standard_normal((6, 50)) * np.geomspace(0.01, 100, 6)[:, None]).astype(np.float32)
    found = quantise_fp8(rows, 0, low="fp32")
    for row, codes, scale in zip(rows, found.codes.astype(np.float32), found.scale, strict=True):
        tried = [np.float32(np.abs(row).max() / np.float32(448) * 2 ** (step / 8)) for step in range(9)]
        errors = [np.square(np.float64((row / one).astype(ml_dtypes.float8_e4m3fn)) * one - row).sum() for one in tried]
        assert scale == pytest.approx(tried[int(np.argmin(errors))], rel=1e-6)
        np.testing.assert_array_equal(codes, np.float32((row / scale).astype(ml_dtypes.float8_e4m3fn)))
    covering = quantise_fp8(rows, 0, rule="max", low="fp32")
    np.testing.assert_allclose(covering.scale, np.abs(rows).max(axis=1) / 448, rtol=1e-6)
    assert quantise_fp8(rows, None, rule="max", low="fp32").scale == pytest.approx(np.abs(rows).max() / 448)


def plain_rounding(row, hessian, block):
    """One row after arXiv:2210.17323, the inverse made anew for what is left; then each code to its best, twice."""
    work, left, inverse = row.copy(), list(range(len(row))), np.linalg.inv(hessian)
    codes, scales = np.zeros(len(row)), np.zeros(len(row))
    for at in range(len(row)):
        if at % block == 0:
            here = slice(at, at + block)
            weight = hessian.diagonal()[here]
            weight = weight + 1e-6 * weight.mean()
            scales[here] = plain_scales(
                work[None, here], block, int4, lambda limit: float(np.float32(limit / 7)), (0.55, 1), weight
            )
        codes[at] = int4(work[at] / scales[at])
        error = (work[at] - codes[at] * scales[at]) / inverse[0, 0]
        left = left[1:]
        work[left] -= error * inverse[0, 1:]
        inverse = inverse[1:, 1:] - np.outer(inverse[1:, 0], inverse[0, 1:]) / inverse[0, 0]
    for _ in range(2):
        for at in range(len(row)):
            delta = codes * scales - row
            delta[at] = 0  # the value that makes the gradient zero while the others stay
            codes[at] = int4((row[at] - hessian[at] @ delta / hessian[at, at]) / scales[at])
    return codes, scales


def test_rounding_to_the_data_is_the_papers_column_by_column():
    """160 columns: what is left over of the first 128 reaches the others."""
    size, block = 160, 32
    inputs = RNG.standard_normal((400, size)) @ (RNG.standard_normal((size, size)) / 12 + np.eye(size))
    moments = inputs.T @ inputs / len(inputs)
    hessian = moments + 0.01 * moments.diagonal().mean() * np.eye(size)
    array = RNG.standard_normal((6, size)).astype(np.float32)
    found = round_to_data(array, 1, moments, block=block, low="fp32")
    closer = 0
    for row, codes, scale in zip(array.astype(np.float64), found.codes, found.scale, strict=True):
        expected, steps = plain_rounding(row, hessian, block)
        np.testing.assert_allclose(np.repeat(scale, block), steps, rtol=1e-6)
        np.testing.assert_array_equal(codes, expected)
        errors = [one @ hessian @ one for one in (expected * steps - row, int4(row / steps) * steps - row)]
        closer += errors[0] < 0.7 * errors[1]
    assert closer == len(array)
