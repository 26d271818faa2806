"""Rounding to the data: never worse than nearest in any output, much better where inputs are correlated."""

import numpy as np
import pytest

from edgesmith.calibration.codes.blocks import dequantise, quantise_blocks
from edgesmith.calibration.codes.nvfp4 import quantise_nvfp4
from edgesmith.calibration.codes.rounding import damped, round_to_data
from edgesmith.runtime.errors import EdgesmithError


def correlated(tokens, size, seed=0):
    """Inputs (tokens, size) as layers have them: channels of unlike size that depend on each other."""
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((size, size)) / np.sqrt(size) * np.exp(rng.standard_normal(size))
    return np.random.default_rng(seed).standard_normal((tokens, size)) @ mix


def output_errors(array, found, inputs):
    """(N,): mean squared error of each output on ``inputs``; ``array`` is (K, N)."""
    return np.square(inputs @ (dequantise(found).astype(np.float64) - array)).mean(axis=0)


@pytest.fixture(scope="module")
def layer():
    return np.random.default_rng(1).standard_normal((128, 48)).astype(np.float32) * 0.1


def moments(inputs):
    return inputs.T @ inputs / len(inputs)


@pytest.mark.parametrize("precision, block", [("int4", 32), ("int4", 128), ("nvfp4", 16)])
def test_held_out_outputs_are_closer_than_with_nearest(layer, precision, block):
    seen, unseen = correlated(2000, 128, seed=2), correlated(2000, 128, seed=3)
    plain = quantise_nvfp4(layer, 0) if precision == "nvfp4" else quantise_blocks(layer, 0, block=block)
    found = round_to_data(layer, 0, moments(seen), block=block, precision=precision)
    assert output_errors(layer, found, unseen).sum() < output_errors(layer, plain, unseen).sum() / 2
    assert found.codes.dtype == plain.codes.dtype and found.scale.shape == plain.scale.shape
    assert "rounded to the data" in found.rule


def test_no_output_is_worse_than_with_nearest(layer):
    hessian = damped(moments(correlated(2000, 128)), 128)
    plain, found = quantise_blocks(layer, 0, block=64), round_to_data(layer, 0, hessian, block=64)
    deltas = [dequantise(each).astype(np.float64) - layer for each in (plain, found)]
    before, after = (np.einsum("kn,kl,ln->n", delta, damped(hessian, 128), delta) for delta in deltas)
    assert (after <= before * (1 + 1e-9)).all()


def test_uncorrelated_inputs_leave_nearest_as_it_is(layer):
    plain = quantise_blocks(layer, 0, block=64)
    found = round_to_data(layer, 0, np.eye(128), block=64)
    assert np.array_equal(found.codes, plain.codes) and np.array_equal(found.scale, plain.scale)


def test_the_layout_of_the_weight_does_not_matter(layer):
    hessian = moments(correlated(500, 128))
    first = round_to_data(layer, 0, hessian, block=32)
    for turned in (layer.T, layer.T[:, :, None, None]):
        second = round_to_data(np.ascontiguousarray(turned), 1, hessian, block=32)
        assert np.array_equal(second.codes.reshape(48, 128), first.codes.T)


def test_fewer_pictures_than_channels_are_no_reason_to_fail(layer):
    seen, unseen = correlated(40, 128, seed=2), correlated(2000, 128, seed=3)  # 40 rows span 40 of 128 directions
    plain, found = quantise_blocks(layer, 0, block=32), round_to_data(layer, 0, moments(seen), block=32)
    assert output_errors(layer, found, unseen).sum() < output_errors(layer, plain, unseen).sum()


def test_a_channel_that_is_always_zero(layer):
    inputs = correlated(500, 128)
    inputs[:, 5] = 0
    found = round_to_data(layer, 0, moments(inputs), block=32)
    assert np.isfinite(dequantise(found)).all()


def test_the_same_input_gives_the_same_codes(layer):
    hessian = moments(correlated(500, 128))
    first, second = (round_to_data(layer, 0, hessian, block=32) for _ in range(2))
    assert np.array_equal(first.codes, second.codes) and np.array_equal(first.scale, second.scale)


@pytest.mark.parametrize("bad", [np.eye(64), np.full((128, 128), np.nan)])
def test_moments_of_something_else_are_refused(layer, bad):
    with pytest.raises(EdgesmithError, match="no second moments"):
        round_to_data(layer, 0, bad, block=32)
