"""Words, figures and drawings of the report for small inputs, letter by letter where a reader compares them."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from edgesmith.runtime.bundle.manifest import TensorSpec
from edgesmith.runtime.bundle.report import _headline
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.ground.words import speed_verdict, time_ratio
from edgesmith.runtime.pictures.preprocess import ImageContract
from edgesmith.runtime.pictures.video_file import _fitted
from edgesmith.runtime.report.curve import curve, losers
from edgesmith.runtime.report.graph import nodes, precision, rewrites, xray
from edgesmith.runtime.report.origin import contract, files
from edgesmith.runtime.report.page import bars, facts, figure, fold, image, signed, size, table, text
from edgesmith.runtime.report.parts import parity
from edgesmith.runtime.report.quantised import trade
from edgesmith.runtime.report.words import (
    budget_words,
    loss_db,
    lost,
    number,
    percent,
    rule_words,
    summary,
    time_ratio_of,
    verdict,
    warnings,
    worst,
)
from edgesmith.runtime.session.checks import at_least, check_feeds
from edgesmith.runtime.session.pixels import pixel_row, prepared
from edgesmith.runtime.tasks.detection.draw import (
    BLACK,
    WHITE,
    class_colour,
    contrast,
    luminance,
    oklab,
    readable,
    text_colour,
)
from edgesmith.runtime.tasks.detection.report import accuracy, end_to_end, thresholds


def words_of(html: object) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", str(html)).split())


def test_numbers_of_a_manifest():
    for value, expected in (
        (1, 1.0),
        ("inf", math.inf),
        (0.5, 0.5),
        (True, None),
        ({}, None),
        (None, None),
        ("a", None),
        ([1], None),
    ):
        assert number(value) == expected
    assert (percent(0.971), percent(None), percent("a")) == ("97.1%", "", "")
    assert [size(count) for count in (0, None, 99_999, 100_000, 46_123_456)] == [
        "",
        "",
        "100.0 kB",
        "0.1 MB",
        "46.1 MB",
    ]
    assert [figure(value, ".1f") for value in (1.25, 3, "inf", None)] == ["1.2", "3.0", "inf", ""]
    assert [signed(value) for value in (0, 12, -3, 4000)] == ["0", "+12", "-3", "+4,000"]
    assert [str(text(value)) for value in (0.123456, [3, 4], (1.5, 2), None, "<")] == [
        "0.1235",
        "3 x 4",
        "1.5, 2",
        "",
        "&lt;",
    ]


def test_the_sentence_of_a_quantised_model():
    told = {"share": 0.97, "precision": "int8", "form": "qdq"}
    assert verdict(told) == "97.0% of the multiplications run in int8"
    assert (
        verdict({**told, "form": "nbits", "precision": "int4"}) == "97.0% of the multiplications read weights in int4"
    )
    drop = {"points": 0.3, "low": -0.41, "high": 1.01, "n": 50}
    judged = {"metric": "top1", "drop": drop, "reference": {"value": 94.1}, "quantised": {"value": 93.8}}
    assert verdict({**told, "accuracy": judged}) == (
        "97.0% of the multiplications run in int8; top-1 falls by 0.30 points, 94.10 % to 93.80 % (95 % sure: -0.41 to +1.01, 50 pictures)"
    )
    assert lost({**judged, "drop": {"points": -0.2}}) == "top-1 rises by 0.20 points, 94.10 % to 93.80 %"
    assert (
        lost({**judged, "drop": {"points": 0}}) == "top-1 stays at 93.80 %" and lost({"metric": "mAP"}) == "mAP stays"
    )
    assert lost({"metric": "mAP", "drop": {"points": 1}, "reference": {"value": 5}}) == "mAP falls by 1.00 points"
    assert lost({"metric": "agreement", "drop": {"points": 1.5}}) == "1.50 % of the answers are others than before"


def test_words_of_budgets_and_warnings():
    assert budget_words({}) is None and budget_words({"budget": {"met": True}}) is None
    assert budget_words({"budget": {"max_drop": 0, "met": True}}) == (True, "the budget of 0 points holds")
    assert budget_words({"budget": {"max_drop": 0.5}}) == (False, "the budget of 0.5 points is MISSED")
    assert warnings({}) == [] and warnings({"data": {"kind": "folder"}, "latency": {"time_ratio": 0.9}}) == []
    assert "RANDOM NUMBERS" in warnings({"data": {"kind": "random"}})[0]
    slow = {"time_ratio": 1.1, "time_ratio_low": 1.05, "time_ratio_high": 1.2}
    assert warnings({"latency": slow}) == [
        "int8 LOST on the machine that made this: time ratio 1.10 (1.05 to 1.20) to the float bundle."
    ]
    even = {"time_ratio": 0.9, "time_ratio_low": 0.8, "time_ratio_high": 1.0}
    assert warnings({"latency": even})[0].startswith("int8 is no faster within the spread")
    lost_ones = {"xray": {"attention_lost": [["a", "b"], ["c"]], "in_name_only": ["d"]}}
    assert [line.split(": ")[-1].removeprefix("FUSION LOST against fp16: ") for line in warnings(lost_ones)] == [
        "attention of a, b",
        "attention of c",
        "d",
    ]
    assert [speed_verdict(low, high) for low, high in ((0.5, 0.99), (1.01, 2), (0.9, 1.0), (1.0, 1.1))] == [
        "is faster", "LOST", "is no faster within the spread", "is no faster within the spread"
    ]  # fmt: skip
    assert time_ratio(0.5, None, 1.0, "x") == "time ratio 0.50 to x" and time_ratio(0.5, 0.4, 0.6, "x").endswith(
        "(0.40 to 0.60) to x"
    )
    assert time_ratio_of({"ratio": 2, "low": 1, "ratio_high": 3}) == (2, 1, 3) and time_ratio_of({"time_ratio": 2}) == (
        2,
        2,
        2,
    )
    assert time_ratio_of({}) is None


def test_the_worst_node_is_the_one_with_the_smallest_decibels():
    """Two factors of 30 dB make a product of 27."""
    assert loss_db({"activation_sqnr_db": 30, "weight_sqnr_db": 30}) == pytest.approx(30 - 10 * math.log10(2))
    assert loss_db({"weight_sqnr_db": 12.5}) == pytest.approx(12.5) and loss_db({"weight_sqnr_db": "inf"}) == math.inf
    assert loss_db({"output_sqnr_db": 5, "weight_sqnr_db": 50}) == 5 and loss_db({}) is None
    rows = [
        {"node": name, "quantised": name != "c", "weight_sqnr_db": db}
        for name, db in (("a", 40), ("b", 20), ("c", 1), ("d", 30))
    ]
    assert [one["node"] for one in worst(rows)] == ["b", "d", "a"] and [one["node"] for one in worst(rows, 1)] == ["b"]
    assert (
        rule_words({"rule": "mse", "tried": {"minmax": 0.006, "mse": 0.002, "percentile": 0.001}})
        == "mse (minmax 3 x, percentile 0.5 x)"
    )
    assert rule_words({"rule": "mse"}) == "mse" and rule_words({}) == ""


def test_the_summary_leaves_out_what_is_not_known():
    assert {key: value for key, value in summary({"nodes": [{"quantised": True}, {}]}).items() if value} == {
        "in int8": "1 of 2 places"
    }
    told = summary({
        "share": 0.5, "nodes": [], "sizes": {"fp32": 1_000_000, "quantised": 250_000}, "data": {"images": 9, "source": "p", "held_out": 3,
        "skipped": [{"name": str(n), "why": "w"} for n in range(6)]}, "recipe": {"rules": "best", "also": [], "keep": None, "smooth": 0.5},
        "accuracy": {"metric": "top1", "agreement": 99.123, "sqnr_db": 30, "cosine": 0.5, "drop": {"points": 1, "low": 0, "high": 2, "lost": 3, "won": 1},
                     "reference": {"value": 90, "n": 3, "low": 80, "high": 95}},
    })  # fmt: skip
    assert told["in int8"] == "50.0% of the MACs, 0 of 0 places" and told["file"] == "0.2 MB, 0.25 of 1.0 MB in float32"
    assert told["calibrated with"] == "9 pictures of p" and told["judged on"] == "3 other pictures"
    assert (
        told["skipped"] == "6: " + "; ".join(f"{n} (w)" for n in range(5))
        and told["recipe"] == "rules best, smooth 0.5"
    )
    assert (
        told["drop"] == "+1.00 points (95 % sure: +0.00 to +2.00; 3 lost, 1 won)"
        and told["agreement"] == "99.12 % of the answers"
    )
    assert (
        told["outputs"] == "30.0 dB SQNR, smallest cosine 0.500000"
        and told["float model"] == "90.00 % of 3 (95 %: 80.0 to 95.0)"
    )
    own = summary(
        {
            "accuracy": {"metric": "agreement", "reference": {"value": 1}, "drop": {"points": 1, "lost": None}},
            "data": {"held_out": 3},
        }
    )
    assert own["float model"] == "" and own["judged on"] == "3 pictures" and "lost" not in own["drop"]


def test_a_trade_curve_in_its_place():
    """Two points and a budget between them: 12 to 96 % across, 160 down to 24 pixels, a tenth of the costs kept free."""
    drawn = str(curve([(0.5, 1.0), (1.0, 3.0)], 1, 2.0, "drop", "words"))
    assert re.findall(r'<circle cx="([\d.]+)%" cy="([\d.]+)" r="(\d)" fill="var\(--(\w+)\)"', drawn) == [
        ("12.00", "148.7", "4", "other"), ("96.00", "35.3", "6", "ours")
    ]  # fmt: skip
    assert 'y1="92.0"' in drawn and 'y="87.0"' in drawn and "budget 2<" in drawn and 'height="200"' in drawn
    assert "50.0%<" in drawn and "100.0% of the MACs" in drawn and re.findall(r'<text x="0" y="([\d.]+)" class="soft">([\d.]+)<', drawn) == [
        ("40.3", "3"), ("153.7", "1")
    ]  # fmt: skip
    assert str(curve([(0.5, 1.0)], 0, None, "a", "b")) == "" and "dasharray" not in str(
        curve([(0, 1), (1, 1)], 0, None, "a", "b")
    )
    level = str(curve([(0.3, 2.0), (0.3, 2.0)], 0, None, "a", "b"))
    assert re.findall(r'cx="([\d.]+)%" cy="([\d.]+)"', level) == [("12.00", "92.0")] * 2


def test_bars_of_what_loses_most():
    drawn = str(
        losers([("a", 10.0, "w"), ("b", 40.0, "w"), ("c", math.inf, "w"), ("d", -5.0, "w"), ("e", math.nan, "w")], "c")
    )
    assert re.findall(r'<rect x="0" y="(\d+)" width="([\d.]+)%"', drawn) == [
        ("22", "25.00"), ("86", "100.00"), ("150", "100.00"), ("214", "0.00")
    ]  # fmt: skip
    assert 'height="256"' in drawn and str(losers([], "c")) == ""
    two = str(bars([("a", 1.0, 2.0, "x", True), ("b", 4.0, 3.0, "y", False)], "c"))
    assert re.findall(r'<rect x="0" y="(\d+)" width="([\d.]+)%" height="14" rx="3" fill="var\(--(\w+)\)"', two) == [
        ("24", "25.00", "ours"), ("72", "100.00", "other")
    ]  # fmt: skip
    assert re.findall(r'x1="([\d.]+)%" x2="([\d.]+)%" y1="(\d+)"', two) == [
        ("25.00", "50.00", "31"),
        ("100.00", "100.00", "79"),
    ]
    assert 'height="96"' in two


def test_tables_facts_and_pictures():
    assert (
        str(table(("a", "b"), [])) == "" and str(facts({"a": None, "b": ""})) == "" and str(fold("a", text(None))) == ""
    )
    assert '<th class="number">b</th>' in str(table(("a", "b"), [(1, 2)], ("code", "number")))
    assert words_of(facts({"a": 0, "b": False, "c": []})) == "a 0 b no"
    assert 'width="4" height="3"' in str(image("a.png", "w", (4, 3))) and "width" not in str(image("a.png", "w", (4,)))
    for bad in ("javascript:x", "/etc/a", "a/../b"):
        assert str(image(bad, "w")) == "w"
    assert "<a " in str(image("a..b.png", "w"))


def test_parts_that_look_inside_the_graph():
    passes = [
        {"name": "A", "count": 2}, {"name": "B", "count": 0}, {"name": "C", "count": 0, "refused": [{"node": f"n{i}", "why": "w"} for i in range(5)]},
        {"name": "D", "count": 1, "refused": [{"node": "m", "why": "v"}]},
    ]  # fmt: skip
    told = words_of(rewrites({"passes": passes, "skipped": ["X"], "fused": {"ops": {"Op": 3}, "route": "inline"}}))
    assert told.startswith("pass applied refused A 2 C 0 5 D 1 1 6 refusals, with reasons")
    assert (
        "C w 5 n0, n1, n2, n3 ... D v 1 m" in told
        and "Found nothing to do: B." in told
        and "Left out on request: X." in told
    )
    assert "Fused ops: 3 Op. They are written out" in told
    assert words_of(nodes({"nodes_before": {"Add": 3, "Mul": 2}, "nodes_after": {"Add": 1, "Gelu": 9}})) == (
        "node type before after change Gelu 0 9 +9 Add 3 1 -2 Mul 2 0 -2 all 5 10 +5"
    )
    assert str(nodes({})) == ""
    assert words_of(
        precision({"casts": 3, "islands": [{"node": "n", "op": "Exp", "why": "w"}], "best_of": {}})
    ).startswith("casts 3 1 nodes kept")
    ray = {
        "kernels": 7,
        "device_memory_bytes": 2e6,
        "recognised": 0.5,
        "attention": [{"kernel": "k", "layers": ["a", "b"]}],
        "counts": {"gemm": 4},
    }
    told = words_of(xray({"file": "f", "builder": "b", "version": "1", "arch": "sm89", "xray": ray}))
    assert (
        "engine f, b 1, sm89 kernels 7 activations 2.0 MB steps that could be read 50.0%" in told
        and "k a, b" in told
        and "gemm 4" in told
    )


@pytest.mark.parametrize(
    ("differences", "told"),
    [([1e-3, 2e-3], "2.0e-03"), ([1e-3, "inf"], "inf"), (["nan", 1e-3, None], "1.0e-03"), ([None], None)],
)
def test_the_largest_difference_is_that_of_the_worst_row(differences: list[object], told: str | None):
    """A row whose outputs were not finite is the worst; one that was not measured is none."""
    rows = [{"passed": True, "max_abs": one} for one in differences]
    found = {words: figure for figure, words in _headline({"parity": rows}, SimpleNamespace(headline=[]))}
    assert found.get("largest difference") == told and "parity checks hold" in found


def test_parts_on_inputs_files_and_parity():
    specs = {
        "inputs": [{"name": "x", "dtype": "float32", "shape": ["batch", 3], "min": [1, 3]}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": [1]}],
    }
    told = words_of(contract({**specs, "input_contract": {"scale": 1 / 255, "crop_fraction": 1.0}}))
    assert (
        told
        == "name type shape min inputs x float32 batch x 3 1 x 3 outputs y float32 1 scale 0.00392157 crop fraction 1"
    )
    assert words_of(contract({"graphs": {"g": specs}})).startswith("name type shape min g inputs x")
    assert (
        words_of(files({"a": {"bytes": 2000, "sha256": "ff"}, "report.html": {"bytes": 1}}))
        == "file size sha256 a 2.0 kB ff"
    )
    row = {
        "stage": "s",
        "count": 3,
        "inputs": "pictures",
        "passed": True,
        "max_abs": 1e-4,
        "cosine": 1.0,
        "top1": 1.0,
        "limit": "l",
    }
    told = words_of(parity([row, {**row, "passed": False}]))
    assert (
        "s 3 pictures holds 1.00e-04 1.0000000 100% l" in told
        and "FAILS" in told
        and words_of(parity([])) == "Not checked."
    )


def test_the_search_for_a_budget_step_by_step():
    drop = {"points": 0.9, "low": 0.1, "high": 1.7}
    steps = [
        {"high": h, "share": s, "drop": {**drop, "points": p}, "holds": h > 0}
        for h, s, p in ((0, 0.99, 0.9), (4, 0.9, 0.4), (7, 0.8, 0.1))
    ]
    told = str(trade({"budget": {"max_drop": 0.5, "high": 4, "curve": [*steps, {"high": 9}]}}))
    assert re.findall(r'r="(\d)"', told) == ["4", "6", "4"] and "3 steps of the search" in told
    assert "4 90.0% +0.40 95 % sure: +0.10 to +1.70 yes" in words_of(told)
    assert "1 step of the search" in str(trade({"budget": {"curve": steps[:1]}}))


def test_what_a_detector_adds_to_the_page():
    assert words_of(thresholds({"nms": "none", "score": 0.3, "iou": 0.6, "max_detections": 9})).endswith(
        "score threshold 0.3 most boxes a picture 9"
    )
    assert "IoU threshold 0.6" in words_of(thresholds({"nms": "graph", "iou": 0.6}))
    assert end_to_end(None) == [] and "2 boxes; median wall time of 7 runs" in words_of(
        end_to_end({"total_ms": 5, "boxes": 2, "rounds": 7})[0]
    )
    told = {
        "detection_report": {
            "map": {"map": 41.23, "low": 40, "high": 42, "per_class": {"cat": {"map": 5, "map50": None, "boxes": 3}}}
        }
    }
    assert "41.2" in words_of(accuracy(told)) and "95 % sure that mAP is 40.0 to 42.0 1 classes" in words_of(
        accuracy(told)
    )
    assert words_of(accuracy(told)).endswith("cat 5.0 - 3") and words_of(accuracy({})) == ""


@pytest.mark.parametrize(
    ("shape", "size_px", "inside"),
    [((20, 20), (20, 20), (0, 0, 20, 20)), ((21, 21), (20, 20), (0, 0, 20, 20)), ((40, 20), (20, 20), (0, 5, 20, 15)), ((10, 40), (20, 20), (7, 0, 12, 20)),
     ((22, 20), (20, 20), (0, 1, 20, 19)), ((1, 400), (20, 20), (9, 0, 10, 20))],
)  # fmt: skip
def test_a_frame_of_another_size_keeps_its_shape(shape, size_px, inside):
    """In the middle of the frame, black around it; one odd row or column is cut off."""
    found = _fitted(np.full((*shape, 3), 200, np.uint8), size_px)
    top, left, bottom, right = inside
    expected = np.zeros((*size_px, 3), np.uint8)
    expected[top:bottom, left:right] = 200
    assert found.shape == (*size_px, 3)
    np.testing.assert_array_equal(found, expected)


def test_colours_of_classes_are_told_apart_and_read():
    assert (
        luminance(BLACK) == 0
        and luminance(WHITE) == pytest.approx(1)
        and luminance((255, 0, 0)) == pytest.approx(0.2126)
    )
    assert contrast(BLACK, WHITE) == contrast(WHITE, BLACK) == pytest.approx(21) and contrast((9, 9, 9), (9, 9, 9)) == 1
    assert luminance((128, 128, 128)) == pytest.approx(0.2158605, rel=1e-4) and luminance(
        (10, 10, 10)
    ) == pytest.approx(10 / 255 / 12.92)
    np.testing.assert_allclose(
        oklab(np.array([[1.0, 1.0, 1.0], [1, 0, 0], [0, 0, 0]])),
        [[1, 0, 0], [0.628, 0.2249, 0.1258], [0, 0, 0]],
        atol=2e-3,
    )
    colours = [class_colour(index) for index in range(12)]
    assert (
        len(set(colours)) == 12
        and colours[0] == (255, 57, 57)
        and all(contrast(text_colour(one), one) >= 4.58 for one in colours)
    )
    seen = oklab(np.array(colours) / 255)
    apart = [np.linalg.norm(seen[at] - seen[:at], axis=1).min() for at in range(1, 12)]
    assert min(apart) > 0.1 and all(before >= after - 1e-3 for before, after in pairwise(apart)), (
        "each as far as can be"
    )
    assert readable("a\tb  c", 3) == "a b c" and readable("", 3) == "class 3" and readable("\u05d0", 7) == "class 7"


SPECS = (
    TensorSpec("x", "float32", ("batch", 3), (1, 3), (2, 3), (4, 3)),
    TensorSpec("m", "int64", ("batch",), (1,), (2,), (4,)),
)


@pytest.mark.parametrize(
    ("x", "m", "said"),
    [((4, 3), (4,), ""), ((1, 3), (1,), ""), ((5, 3), (5,), "batch 1 to 4"), ((0, 3), (0,), "batch 1 to 4"), ((2, 3), (3,), "disagree on batch"),
     ((2, 4), (2,), "axis 1 3"), ((3,), (2,), r"x\[None\] adds the batch"), ((2, 3, 1), (2,), "3 axes")],
)  # fmt: skip
def test_arrays_that_fit_a_graph_and_those_that_do_not(x, m, said):
    feeds = {"m": np.zeros(m, np.int64), "x": np.zeros(x, np.float32)}
    if not said:
        assert list(check_feeds(feeds, SPECS)) == ["x", "m"]
        return
    with pytest.raises(UserMistake, match=said):
        check_feeds(feeds, SPECS)


def test_a_batch_is_filled_up_with_its_last_entry():
    assert at_least(np.array([1, 2]), 5).tolist() == [1, 2, 2, 2, 2] and at_least(np.array([1, 2]), 2).tolist() == [
        1,
        2,
    ]


def test_preprocessing_may_be_off_by_a_level_here_and_there():
    contract_ = ImageContract((130, 70), crop_fraction=1.0, fit="stretch", mean=(0, 0, 0), std=(1, 2, 0.5))
    picture = np.random.default_rng(0).integers(0, 256, (130, 70, 3)).astype(np.uint8)
    kept = prepared(picture, contract_)
    assert kept.shape == (3, 43, 35), "every third and every second, from the middle of the first of them"
    np.testing.assert_allclose(kept[1], picture[1::3, 1::2, 1] / 255 / 2, atol=1e-6)
    level = 1 / 255 / np.array([1, 2, 0.5])[:, None, None]
    for off, everywhere, passed in ((2.9, False, True), (3.1, False, False), (0.24, True, True), (0.26, True, False)):
        expected = kept.astype(np.float64).copy()
        expected[:, :, : None if everywhere else 1][:, : None if everywhere else 1] += off * level
        row = pixel_row(picture, expected, contract_)
        assert row.passed is passed, (off, row.told)
        assert row.output == "preprocessing" and row.top1 == (1.0 if off <= 3 else pytest.approx(1 - 3 / kept.size))
    assert not pixel_row(picture, kept[:, :-1], contract_).passed
