"""The report's rows say what was decided, and find the reason in the statistics that the reason is about."""

import json

import numpy as np
import pytest

from edgesmith.calibration.judge.accuracy import AGREEMENT, TOP1, measure
from edgesmith.calibration.judge.classification import judge_logits
from edgesmith.calibration.nouns import Decision, QuantisedGraph, Range, Recipe, ScaleTable, Site, WeightScales
from edgesmith.calibration.report.report import accuracy_report, describe, quantile, reasons, types
from edgesmith.calibration.statistics.observers import Observer
from edgesmith.runtime.bundle.manifest import to_text
from edgesmith.runtime.report.quantised import quantised

LINEAR = Site("/fc", "MatMul", "x", "w", (8, 4), -1, 0, 1, macs=32, share=0.8)
STEM = Site("/stem", "Conv", "images", "s", (8, 3, 4, 4), 1, 1, 0, macs=8, share=0.2, kind="stem")


def stats(array):
    observer = Observer("x", -1)
    observer.add(np.asarray(array, np.float32), 1)
    return observer.stats()


def normal(count=4000, channels=16, seed=0):
    return np.random.default_rng(seed).standard_normal((count, channels)).astype(np.float32)


def graph(recipe=None, **changes):
    table = ScaleTable(
        {"/fc": Range(-2.0, 2.0, 2 / 127, 0, "mse", clipped=0.001, sqnr_db=33.0, tried={"mse": 0.1, "minmax": 0.2})},
        {"/fc": WeightScales(np.ones((8, 4), np.int8), np.ones(4, np.float32), 1, rule="mse", sqnr_db=41.0)},
    )
    decisions = {"/fc": Decision(True, "constant weight"), "/stem": Decision(False, "reads the picture")}
    fields = {"scales": table, "decisions": decisions, "statistics": {"x": stats(normal())}, **changes}
    return QuantisedGraph(None, recipe or Recipe(), (STEM, LINEAR), **fields)


def test_every_site_has_a_row_and_the_numbers_are_those_of_the_table():
    told = describe(graph(), {"/fc": 47.5})
    stem, linear = told["nodes"]
    assert told["share"] == pytest.approx(0.8)
    assert told["scales_sha256"] == graph().scales.sha256()
    assert stem["quantised"] is False and stem["why"] == "reads the picture" and stem["types"] == "float x float"
    assert "scale" not in stem and "output_sqnr_db" not in stem
    assert linear["scale"] == 2 / 127 and linear["zero_point"] == 0 and linear["rule"] == "mse"
    assert linear["tried"] == {"mse": 0.1, "minmax": 0.2} and linear["clipped"] == 0.001
    assert (linear["activation_sqnr_db"], linear["weight_sqnr_db"], linear["output_sqnr_db"]) == (33.0, 41.0, 47.5)
    assert linear["weight_scales"] == 4 and linear["types"] == "int8 x int8"


def test_it_travels_through_a_manifest_to_the_page():
    endless = Range(-2.0, 2.0, 0.1, 0, "minmax")  # nothing lost: infinite dB
    table = ScaleTable({"/fc": endless}, graph().scales.weights)
    told = json.loads(to_text(describe(graph(scales=table))))
    page = quantised(told)
    assert "/fc" in page and "reads the picture" in page and "constant weight" in page


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (Recipe(), "int8 x int8"),
        (Recipe(form="u8"), "uint8 x int8"),
        (Recipe(form="dynamic", low="fp32"), "dynamic uint8 x int8"),
        (Recipe(precision="fp8"), "fp8 e4m3 x fp8 e4m3"),
        (Recipe(precision="int4", form="weights"), "float x int4"),
        (Recipe(precision="int4", form="nbits"), "float x int4"),
        (Recipe(precision="nvfp4", form="weights", low="bf16"), "float x fp4 e2m1"),
    ],
)
def test_types_of_activation_and_weight(recipe, expected):
    assert types(recipe, True) == expected
    assert types(recipe, False) == "float x float"


def test_a_weight_alone_needs_no_range():
    table = ScaleTable({}, graph().scales.weights)
    (row,) = (
        one
        for one in describe(graph(Recipe("int4", "weights"), scales=table, statistics={}))["nodes"]
        if one["quantised"]
    )
    assert row["weight_sqnr_db"] == 41.0 and "scale" not in row and row["reasons"] == []


def test_a_plain_activation_has_no_reason():
    assert reasons(LINEAR, stats(normal())) == []


def test_an_outlier_channel_is_named_with_its_size():
    array = normal()
    array[:, 5] *= 64
    (reason,) = reasons(LINEAR, stats(array))
    times = np.abs(array).max(axis=0)
    assert reason == f"outlier channel 5: {times[5] / np.median(times):.0f} x the median channel"


def test_a_channel_among_dead_ones_is_an_outlier():
    array = np.zeros((100, 5), np.float32)
    array[:, 1] = np.linspace(-1, 1, 100)
    assert "outlier channel 1: the median channel is zero" in reasons(LINEAR, stats(array))


def test_one_sided_is_what_wastes_codes():
    array = normal()
    gelu = array * 0.5 * (1 + np.tanh(0.7978845608 * (array + 0.044715 * array**3)))
    assert [reason.split(":")[0] for reason in reasons(LINEAR, stats(gelu))] == ["one-sided"]
    assert [reason.split(":")[0] for reason in reasons(LINEAR, stats(-np.abs(array)))] == ["one-sided"]
    assert reasons(LINEAR, stats(gelu), symmetric=False) == [], "a zero point shifts the range"


def test_a_heavy_tail_is_not_an_outlier_channel():
    array = normal()
    array[::1999] *= 20  # two rows of all channels
    (reason,) = reasons(LINEAR, stats(array))
    assert reason.startswith("heavy tail: largest is ")


def test_depthwise_is_a_reason_by_itself_and_zeros_are_none():
    site = Site("/dw", "Conv", "x", "w", (8, 1, 3, 3), 1, 1, 0, groups=8, kind="depthwise")
    assert reasons(site, None) == ["depthwise: few values for each scale"]
    assert reasons(LINEAR, stats(np.zeros((10, 3)))) == []


def test_the_quantile_is_that_of_numpy():
    array = normal()
    array[:, 3] *= 10
    expected = np.quantile(np.abs(array), 0.999)
    width = 2 * float(stats(array).radius.max()) / 512
    assert quantile(stats(array), 0.999) == pytest.approx(expected, abs=width)


class Pictures:
    """Twenty pictures, each its own number; the graph below is a table of logits."""

    def __len__(self):
        return 20

    def batches(self, size, start=0):
        yield np.arange(20, dtype=np.float32)


def test_accuracy_keeps_the_reference_the_drop_and_its_interval():
    logits = np.eye(4, dtype=np.float32)[np.arange(20) % 4]
    broken = logits.copy()
    broken[:3] = np.roll(broken[:3], 1, axis=1)
    evaluation = judge_logits(Pictures(), lambda images: logits, np.arange(20) % 4)
    told = accuracy_report(evaluation.evaluate(lambda images: broken), evaluation.expected)
    assert told["metric"] == TOP1.name and told["reference"]["value"] == 100.0 and told["quantised"]["value"] == 85.0
    assert told["drop"]["points"] == pytest.approx(15.0) and told["drop"]["lost"] == 3
    assert told["drop"]["low"] < 15 < told["drop"]["high"] and told["agreement"] == 85.0 and told["n"] == 20
    assert "95 % sure" in quantised({"share": 0.5, "accuracy": json.loads(to_text(told))})
    assert measure(AGREEMENT, broken, logits).value == 85.0
