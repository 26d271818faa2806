"""Streaming histograms: every value in its bin, whatever the order, the batches, the layout and the growth of the range."""

from __future__ import annotations

import io

import numpy as np
import pytest

from edgesmith.calibration.statistics.observers import BINS, FIELDS, Observer, TensorStats
from edgesmith.runtime.errors import EdgesmithError


def observed(*arrays: np.ndarray, axis: int = -1) -> TensorStats:
    observer = Observer("x", axis)
    for array in arrays:
        observer.add(array, len(array))
    return observer.stats()


def assert_same(one: TensorStats, other: TensorStats) -> None:
    assert one.images == other.images
    for field in FIELDS:
        left, right = getattr(one, field), getattr(other, field)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right, err_msg=field)


def heavy(rows: int, channels: int, seed: int = 0) -> np.ndarray:
    """(rows, channels) float32: tails, channels of very different size, a third of the values exactly zero."""
    rng = np.random.default_rng(seed)
    values = rng.standard_t(3, (rows, channels)) * np.logspace(-4, 3, channels)
    values[rng.random(values.shape) < 1 / 3] = 0
    return values.astype(np.float32)


@pytest.mark.parametrize("shape", [(50, 7), (5, 40, 7), (3, 6, 5, 200), (4, 9, 3, 129)])
@pytest.mark.parametrize("axis", [1, -1])
def test_counts_are_those_of_numpy(shape, axis):
    array = heavy(int(np.prod(shape[:-1])), shape[-1]).reshape(shape)
    stats = observed(array, axis=axis)
    channels = np.moveaxis(array, axis, 0).reshape(shape[axis], -1).astype(np.float64)
    assert stats.channels == len(channels)
    for channel, values in enumerate(channels):
        expected = np.histogram(values, stats.edges()[channel])[0]
        np.testing.assert_array_equal(stats.counts[channel], expected)
    np.testing.assert_array_equal(stats.low, channels.min(axis=1))
    np.testing.assert_array_equal(stats.high, channels.max(axis=1))
    np.testing.assert_array_equal(stats.absmax, np.abs(channels).max(axis=1))
    np.testing.assert_array_equal(stats.zeros, (channels == 0).sum(axis=1))
    assert stats.total == channels.shape[1]
    assert (stats.tensor_low, stats.tensor_high) == (array.min(), array.max())


def test_the_radius_is_the_power_of_two_above_the_largest_value():
    array = np.array([[-0.75, 1.0, 0.1, 127.9]], dtype=np.float32)
    np.testing.assert_array_equal(observed(array).radius, [1.0, 2.0, 0.125, 128.0])


def test_order_and_batches_do_not_matter():
    array = heavy(500, 11)
    order = np.random.default_rng(1).permutation(len(array))
    whole = observed(array)
    assert_same(observed(*np.array_split(array, 7)), whole)
    assert_same(observed(*np.array_split(array[order], 13)), whole)
    rising = array[np.argsort(np.abs(array).max(axis=1))]  # the range grows at every batch
    assert_same(observed(*np.array_split(rising, 100)), whole)


def test_values_on_the_edge_of_a_bin_stay_in_it_when_the_range_grows():
    width = 1 / (BINS // 2)
    edge = np.float32([-0.5, -width, width, 0.5])
    around = (
        edge,
        np.nextafter(edge, np.float32(-1)),
        np.nextafter(edge, np.float32(1)),
        np.float32([-1e-30, 0, 1e-30]),
    )
    array, large = np.concatenate(around)[:, None], np.float32([[900.0]])
    assert_same(observed(array, large), observed(large, array))


def test_channels_first_and_last_agree():
    array = heavy(4 * 10, 6).reshape(4, 10, 6)
    assert_same(observed(np.ascontiguousarray(array.transpose(0, 2, 1)), axis=1), observed(array))


def test_a_view_that_is_not_contiguous_counts_the_same():
    array = heavy(40, 6)
    assert_same(observed(np.asfortranarray(array)), observed(array))


def test_channels_of_zeros_and_of_one_value_are_counted_as_such():
    array = np.zeros((10, 3), dtype=np.float32)
    array[:, 1] = 0.3
    array[:, 2] = -2
    stats = observed(array)
    assert stats.zeros.tolist() == [10, 0, 0]
    assert stats.absmax.tolist() == [0, np.float32(0.3), 2]
    assert (stats.radius > 0).all()
    centres = stats.centres()
    np.testing.assert_allclose((centres * stats.counts).sum(axis=1) / 10, [0, 0.3, -2], atol=0.01)


def test_a_channel_that_is_zero_at_first_keeps_its_resolution():
    late = heavy(100, 1) * np.float32(1e-3)
    assert_same(
        observed(np.zeros((10, 1), np.float32), late),
        observed(late, np.zeros((10, 1), np.float32)),
    )


def test_an_empty_batch_counts_nothing():
    array = heavy(20, 3)
    assert_same(observed(array, array[:0]), observed(array))


def test_nothing_at_all_is_an_error_that_names_the_tensor():
    with pytest.raises(EdgesmithError, match="'x' had no values"):
        observed(np.zeros((0, 4), np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_a_value_without_a_range_names_tensor_and_channel(bad):
    array = heavy(20, 3)
    array[7, 1] = bad
    with pytest.raises(EdgesmithError, match="(?s)'x' cannot be calibrated.*channel 1") as caught:
        observed(heavy(20, 3), array)
    assert "overflows" in str(caught.value)


@pytest.mark.parametrize("power_of_two", [True, False])
def test_scaled_is_what_the_scaled_tensor_would_have_given(power_of_two):
    array = heavy(400, 5)
    factors = np.float32([2.0, 0.25, 1.0, 64.0, 0.5] if power_of_two else [1.7, 0.3, 1.0, 9.0, 0.07])
    found, direct = observed(array).scaled(factors), observed(array * factors)
    np.testing.assert_array_equal(found.low, direct.low)
    np.testing.assert_array_equal(found.high, direct.high)
    np.testing.assert_array_equal(found.zeros, direct.zeros)
    if power_of_two:
        assert_same(found, direct)
    for channel in range(5):  # the same values between the edges, rounding of the product aside
        scaled = (array[:, channel] * factors[channel]).astype(np.float64)
        expected = np.histogram(scaled, found.edges()[channel])[0]
        assert np.abs(found.counts[channel].astype(int) - expected).sum() <= 2


@pytest.mark.parametrize("factors", [[1.0, 0.0], [1.0, -1.0], [1.0], [1.0, np.nan]])
def test_scaled_refuses_factors_that_are_not_positive(factors):
    with pytest.raises(ValueError, match="2 positive factors"):
        observed(heavy(10, 2)).scaled(np.float32(factors))


def test_merged_is_the_histogram_of_the_whole_tensor():
    array = heavy(300, 9)
    merged = observed(array).merged()
    assert_same(
        merged, TensorStats(**{**observed(array.reshape(-1, 1)).to_arrays(), "counts": merged.counts, "images": 300})
    )
    np.testing.assert_array_equal(merged.counts[0], np.histogram(array.astype(np.float64), merged.edges()[0])[0])
    scaled = observed(array).scaled(np.linspace(0.5, 3, 9)).merged()
    assert scaled.total == array.size


def test_arrays_go_through_an_npz_file():
    stats = observed(heavy(50, 4))
    file = io.BytesIO()
    np.savez(file, **stats.to_arrays())
    file.seek(0)
    assert_same(TensorStats.from_arrays(np.load(file, allow_pickle=False)), stats)
    for wrong in ({"counts": stats.counts[:, 1:]}, {"low": stats.low[1:]}, {"high": stats.high.astype(np.float64)}):
        with pytest.raises(ValueError, match="not the statistics"):
            TensorStats.from_arrays(stats.to_arrays() | wrong)


def test_an_observer_continues_where_another_stopped():
    array = heavy(90, 4)
    first = observed(array[:30])
    again = Observer("x", -1, first)
    again.add(array[30:], 60)
    assert_same(again.stats(), observed(array))
    assert_same(first, observed(array[:30]))  # what was handed in is not written to


def test_counters_widen_before_they_overflow():
    stats = observed(heavy(10, 1))
    near = TensorStats(**{**stats.to_arrays(), "counts": stats.counts + np.uint32(2**32 // BINS - 1), "images": 10})
    again = Observer("x", -1, near)
    again.add(np.zeros((600, 1), np.float32), 600)
    assert again.stats().counts.dtype == np.uint64
    assert again.stats().total == near.total + 600


@pytest.mark.parametrize("threshold", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("sparse", [False, True])
def test_the_error_of_a_quantiser_can_be_read_from_the_histogram(threshold, sparse):
    """The resolution suffices: an int8 error estimated bin by bin is within 5 % of the error of the values."""
    values = np.random.default_rng(0).standard_normal((20000, 1)).astype(np.float32)
    if sparse:
        values = np.maximum(values, 0)
    stats = observed(values)
    scale = threshold * float(stats.absmax[0]) / 127
    true = float(np.mean((np.clip(np.round(values / scale), -127, 127) * scale - values) ** 2))
    inside = np.linspace(0, 1, 16, endpoint=False) + 1 / 32  # values spread evenly over their bin
    points = stats.edges()[0, :-1, None] + stats.widths()[0] * inside
    errors = ((np.clip(np.round(points / scale), -127, 127) * scale - points) ** 2).mean(axis=1)
    counts = stats.counts[0].astype(np.float64)
    counts[BINS // 2] -= float(stats.zeros[0])
    assert (counts * errors).sum() / stats.total == pytest.approx(true, rel=0.05)
