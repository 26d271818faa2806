"""Codes and scales of weights: what they hold, how far they are from the weight, and that a smaller range pays where it should."""

import ml_dtypes
import numpy as np
import pytest

from edgesmith.calibration.codes.table import quantise_weight
from edgesmith.calibration.codes.weights import round_scale
from edgesmith.runtime.errors import EdgesmithError

WEIGHT = np.random.default_rng(5).standard_normal((24, 8, 3, 3)).astype(np.float32)


def real(found, shape):
    spread = [-1 if at == found.axis else 1 for at in range(len(shape))]
    return found.codes.astype(np.float32) * found.scale.reshape(spread)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("rule", ["max", "mse"])
def test_codes_times_scale_is_the_weight_within_half_a_step(axis, rule):
    array = WEIGHT[..., 0, 0] if axis else WEIGHT
    found = quantise_weight(array, axis, rule=rule)
    assert found.codes.dtype == np.int8 and found.codes.shape == array.shape and found.codes.min() >= -127
    assert found.scale.shape == (array.shape[axis],) and found.axis == axis % array.ndim
    error = array - real(found, array.shape)
    assert found.sqnr_db == pytest.approx(10 * np.log10(np.square(array).sum() / np.square(error).sum()), abs=1e-3)
    if rule == "max":
        step = found.scale.reshape([-1 if at == found.axis else 1 for at in range(array.ndim)])
        assert (np.abs(error) <= step * 0.5001 + np.abs(array) * 2**-11).all()  # the scale itself is rounded to fp16


@pytest.mark.parametrize("low", ["fp16", "bf16"])
def test_scales_are_rounded_before_the_codes(low):
    found = quantise_weight(WEIGHT, 0, low=low)
    dtype = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}[low]
    assert (found.scale.astype(dtype).astype(np.float32) == found.scale).all()
    again = np.clip(np.rint(WEIGHT / found.scale[:, None, None, None]), -127, 127)
    assert (again == found.codes).all()


@pytest.mark.parametrize("low", ["fp16", "bf16"])
def test_rounding_is_to_nearest(low):
    dtype = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}[low]
    scales = np.random.default_rng(1).uniform(1e-3, 10, 1000).astype(np.float32)
    assert (round_scale(scales, low) == scales.astype(dtype).astype(np.float32)).all()
    assert (round_scale(np.array([0.0, 1e-9, 1e9]), "fp16") == [2.0**-14, 2.0**-14, 65504]).all()


def test_mse_takes_a_smaller_range_where_one_value_stands_out():
    array = np.random.default_rng(2).standard_normal((4, 4000)).astype(np.float32) * 0.02
    array[0, 0] = 0.4
    small, large = quantise_weight(array, 0, rule="mse"), quantise_weight(array, 0, rule="max")
    assert small.scale[0] < large.scale[0], "a little: at 8 bits one clipped value costs as much as 4000 rounded ones"
    assert small.sqnr_db > large.sqnr_db
    per_channel = [np.square(array - real(one, array.shape)).sum(axis=1) for one in (small, large)]
    assert (per_channel[0] <= per_channel[1] * 1.05).all()  # s^2 / 12 is what 4000 rounded values cost to 2 or 3 %


def test_a_dead_channel_has_zero_codes_and_a_positive_scale():
    array = WEIGHT.copy()
    array[3] = 0
    found = quantise_weight(array, 0)
    assert (found.codes[3] == 0).all() and found.scale[3] > 0 and np.isfinite(found.sqnr_db)


def test_an_unknown_precision_and_weights_that_are_not_finite_are_refused():
    with pytest.raises(EdgesmithError, match="no quantiser"):
        quantise_weight(WEIGHT, 0, precision="int3")
    with pytest.raises(EdgesmithError, match="not finite"):
        quantise_weight(WEIGHT * np.inf, 0)
