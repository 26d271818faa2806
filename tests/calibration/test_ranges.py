"""The estimate of a range's error against the quantised values themselves, and what each rule and number type must hold."""

import ml_dtypes
import numpy as np
import pytest

from edgesmith.calibration.codes.ranges import choose_range
from edgesmith.calibration.statistics.observers import Observer
from edgesmith.runtime.errors import EdgesmithError

RNG = np.random.default_rng(3)
NORMAL = RNG.standard_normal((4, 50, 32)).astype(np.float32)
OUTLIER = NORMAL * np.where(np.arange(32) == 5, 30, 1).astype(np.float32)  # one channel thirty times larger
TAIL = (NORMAL**3).astype(np.float32)
GELU = NORMAL / (1 + np.exp(-1.702 * NORMAL))  # almost one-sided
EVEN = np.ones(32)


def stats(values):
    observer = Observer("x", -1)
    observer.add(values, len(values))
    return observer.stats()


def codes(values, found):
    first = (0, 255) if found.zero_point or found.low == 0 else (-127, 127)
    return (np.clip(np.rint(values / found.scale) + found.zero_point, *first) - found.zero_point) * found.scale


@pytest.mark.parametrize("values", [NORMAL, OUTLIER, TAIL, GELU], ids=["normal", "outlier", "tail", "gelu"])
@pytest.mark.parametrize("rule", ["minmax", "mse", "percentile", "entropy"])
def test_estimated_sqnr_is_that_of_the_quantised_values(values, rule):
    found = choose_range(stats(values), EVEN, rules=rule)
    real = values - codes(values, found)
    measured = 10 * np.log10(np.square(values, dtype=np.float64).sum() / np.square(real, dtype=np.float64).sum())
    assert found.sqnr_db == pytest.approx(measured, abs=0.6)  # half a bin of the histogram, see observers.py
    outside = np.abs(values) > 127 * found.scale
    assert found.clipped == pytest.approx(outside.mean(), abs=2e-3)


@pytest.mark.parametrize("values", [NORMAL, OUTLIER, TAIL], ids=["normal", "outlier", "tail"])
def test_estimated_error_is_that_of_the_layer(values):
    weight = RNG.standard_normal((32, 24))
    weight[5] *= 0.1  # the outlier channel weighs little
    found = choose_range(stats(values), np.square(weight).sum(axis=1))
    delta = codes(values, found) - values
    measured = np.square(delta @ weight).sum() / np.square(values @ weight).sum()
    assert found.error == pytest.approx(measured, rel=0.25)


def test_best_is_the_rule_with_the_smallest_error_at_the_output():
    few, many = np.where(np.arange(32) == 5, 1e-6, 1.0), np.where(np.arange(32) == 5, 1.0, 1e-6)
    light, heavy = choose_range(stats(OUTLIER), few), choose_range(stats(OUTLIER), many)
    assert set(light.tried) == {"minmax", "mse", "percentile"}
    assert light.error == min(light.tried.values()) and heavy.error == min(heavy.tried.values())
    assert light.scale < 0.7 * heavy.scale, "an outlier that meets small weights may be clipped"


def test_minmax_clips_nothing_and_percentile_one_value_in_ten_thousand():
    many = np.random.default_rng(0).standard_normal((64, 100, 32)).astype(np.float32)
    assert choose_range(stats(many), EVEN, rules="minmax").clipped == 0
    assert choose_range(stats(many), EVEN, rules="percentile").clipped == pytest.approx(1e-4, rel=0.3)


def test_entropy_is_never_tried_unasked():
    assert "entropy" not in choose_range(stats(TAIL), EVEN).tried


@pytest.mark.parametrize("low", ["fp16", "bf16", "fp32"])
def test_scale_is_one_that_the_type_around_it_holds(low):
    dtype = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16, "fp32": np.float32}[low]
    scale = np.float32(choose_range(stats(NORMAL), EVEN, low=low).scale)
    assert np.float32(dtype(scale)) == scale


def test_a_tiny_tensor_gets_a_normal_scale_and_an_empty_one_a_positive():
    assert choose_range(stats(NORMAL * 1e-7), EVEN).scale == np.finfo(np.float16).smallest_normal
    dead = choose_range(stats(NORMAL * 0), EVEN)
    assert dead.scale > 0 and dead.clipped == 0 and dead.error == 0


def test_asymmetric_codes_spend_nothing_on_the_empty_side():
    one, both = choose_range(stats(GELU), EVEN, symmetric=False), choose_range(stats(GELU), EVEN)
    assert 0 < one.zero_point < 20 and one.sqnr_db > both.sqnr_db + 3
    real = GELU - codes(GELU, one)
    measured = 10 * np.log10(np.square(GELU).sum() / np.square(real).sum())
    assert one.sqnr_db == pytest.approx(measured, abs=0.6)
    positive = choose_range(stats(np.abs(NORMAL)), EVEN, symmetric=False)
    assert positive.zero_point == 0 and positive.low == 0


@pytest.mark.parametrize("rule", ["minmax", "mse", "best"])
def test_fp8_is_estimated_with_its_own_steps(rule):
    many = np.random.default_rng(0).standard_normal((64, 100, 32)).astype(np.float32)
    many[..., 5] *= 30
    found = choose_range(stats(many), EVEN, rules=rule, precision="fp8")
    codes = np.clip(many / found.scale, -448, 448).astype(ml_dtypes.float8_e4m3fn)
    error = many - codes.astype(np.float32) * found.scale
    measured = 10 * np.log10(np.square(many).sum() / np.square(error).sum())
    assert found.sqnr_db == pytest.approx(measured, abs=0.6)


def test_an_unknown_rule_is_refused():
    with pytest.raises(EdgesmithError, match="no rule"):
        choose_range(stats(NORMAL), EVEN, rules="median")


def test_same_statistics_same_range():
    assert choose_range(stats(TAIL), EVEN) == choose_range(stats(TAIL), EVEN)
