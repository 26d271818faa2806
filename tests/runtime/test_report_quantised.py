"""The section on quantisation says what the data say, loudly where something is wrong, and nothing where nothing is known."""

import copy
import re
from html.parser import HTMLParser

import pytest

from edgesmith.runtime.bundle.report import write_report
from edgesmith.runtime.report.curve import curve, shortened
from edgesmith.runtime.report.words import loss_db, rule_words, summary, warnings, worst

DROP = {"points": 0.3, "n": 1000, "low": -0.41, "high": 1.01, "lost": 5, "won": 2}
STEP = {"sqnr_db": 33.9, "agreement": 99.1, "cosine": 0.999, "n": 1000}
QUANTISED = {
    "precision": "int8",
    "form": "qdq",
    "recipe": {"rules": "best", "smooth": 0.5, "low": "fp16", "also": []},
    "share": 0.9712,
    "scales_sha256": "5c" * 32,
    "nodes": [
        {"node": "/stem/Conv", "op": "Conv", "kind": "stem", "share": 0.028, "quantised": False, "why": "reads the picture itself",
         "types": "fp16 x fp16", "reasons": []},
        {"node": "/blocks/0/qkv/MatMul", "op": "MatMul", "kind": "linear", "share": 0.31, "quantised": True, "why": "constant weight",
         "types": "int8 x int8", "scale": 0.0421, "zero_point": 0, "low": -5.35, "high": 5.35, "rule": "mse",
         "tried": {"minmax": 0.003, "mse": 0.002}, "clipped": 0.00012, "activation_sqnr_db": 31.5, "weight_sqnr_db": 42.0,
         "reasons": ["outlier channel 7: 64 x the median channel"]},
        {"node": "/blocks/0/fc2/MatMul", "op": "MatMul", "kind": "linear", "share": 0.66, "quantised": True, "why": "constant weight",
         "types": "int8 x int8", "scale": 0.1, "zero_point": 0, "rule": "minmax", "tried": {}, "clipped": 0.0,
         "activation_sqnr_db": 38.0, "weight_sqnr_db": 41.0, "reasons": ["one-sided: -0.17 to 6.2"]},
    ],
    "smoothed": [{"kind": "norm", "nodes": ["/blocks/0/norm1"], "strength": 0.5, "largest_factor": 12.5}],
    "data": {"source": "photos", "kind": "folder", "images": 128, "sha256": "ab" * 32, "held_out": 1000,
             "skipped": [{"name": "torn.jpg", "why": "cut off"}], "notes": []},
    "accuracy": {"metric": "top1", "n": 1000, "agreement": 99.2, "sqnr_db": 34.8, "cosine": 0.9993, "drop": DROP,
                 "reference": {"metric": "top1", "value": 94.1, "n": 1000, "low": 92.5, "high": 95.4},
                 "quantised": {"metric": "top1", "value": 93.8, "n": 1000, "low": 92.1, "high": 95.1}},
    "budget": {"max_drop": 0.5, "met": True, "high": 1, "keep": {}, "notes": [], "curve": [
        {"high": 0, "share": 0.9990, "holds": False, "drop": {**DROP, "points": 0.9}, **STEP},
        {"high": 1, "share": 0.9712, "holds": True, "drop": DROP, **STEP}]},
    "sizes": {"fp32": 10_000_000, "quantised": 2_900_000},
    "latency": {"time_ratio": 0.61, "time_ratio_low": 0.58, "time_ratio_high": 0.66, "runner": "ONNX Runtime", "against": "fp32"},
    "xray": {"fp16": {"kernels": 37, "fused_attention": 4, "counts": {"gemm fp16 x fp16": 20}, "engine_bytes": 2_500_000},
             "quantised": {"kernels": 46, "fused_attention": 4, "counts": {"gemm int8 x int8": 18}, "moved_bytes": 1_600_000},
             "sites": 18, "sites_on_integer_kernels": 17, "in_name_only": {}, "attention_lost": [], "verdict": "may win: measure it"},
    "notes": ["scales are rounded to fp16"],
}  # fmt: skip


class Reader(HTMLParser):
    """Text, tags, and that every tag is closed."""

    VOID = ("meta", "rect", "line", "circle", "br")

    def __init__(self, html):
        super().__init__()
        self.words, self.tags, self.open = [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def html(**changes):
    told = copy.deepcopy(QUANTISED)
    told.update(changes)
    return write_report({"name": "vit", "target": "rtx", "quantisation": told})


def said(**changes):
    return Reader(html(**changes)).text


@pytest.mark.parametrize(
    "words",
    [
        "97.1% of the multiplications run in int8; top-1 falls by 0.30 points, 94.10 % to 93.80 % (95 % sure: -0.41 to +1.01, 1000 pictures)",
        "the budget of 0.5 points holds", "+0.30 points (95 % sure: -0.41 to +1.01; 5 lost, 2 won)", "94.10 % of 1000 (95 %: 92.5 to 95.4)",
        "34.8 dB SQNR, smallest cosine 0.999300", "99.20 % of the answers", "2.9 MB, 0.29 of 10.0 MB in float32",
        "time ratio 0.61 (0.58 to 0.66) to fp32, ONNX Runtime", "128 pictures of photos", "ab" * 32, "5c" * 32, "1: torn.jpg (cut off)",
        "1000 other pictures", "/stem/Conv Conv, stem 2.8% fp16 x fp16", "float: reads the picture itself",
        "/blocks/0/qkv/MatMul MatMul, linear 31.0% int8 x int8 0.0421 0 mse (minmax 1.5 x) 0.012% 31.5 42.0 outlier channel 7: 64 x the median channel quantised: constant weight",
        "2 steps of the search for the budget", "0 99.9% +0.90", "1 groups smoothed", "/blocks/0/norm1 0.5 12.5",
        "kernels 37 46", "fused attention 4 4", "gemm int8 x int8 0 18", "moved by them 1.6 MB", "17 of 18 places run on integer kernels. may win: measure it", "scales are rounded to fp16", "rules best, smooth 0.5, low fp16",
        "97.1% of the MACs in int8", "+0.30 points lost, 1000 pictures",
    ],
)  # fmt: skip
def test_the_report_shows_what_quantising_cost(words):
    assert words in said()


def test_nothing_stands_there_for_a_bundle_that_is_not_quantised():
    assert "Quantisation" not in Reader(write_report({"name": "vit"})).text


def test_a_bundle_that_was_not_judged_says_only_what_is_known():
    text = said(**dict.fromkeys(("accuracy", "budget", "latency", "sizes", "xray", "data", "smoothed")))
    assert "97.1% of the multiplications run in int8" in text
    assert "top-1" not in text and "budget" not in text and "None" not in text


def test_a_missed_budget_is_marked():
    page = html(budget={**QUANTISED["budget"], "met": False})
    assert '<span class="bad">the budget of 0.5 points is MISSED</span>' in page
    assert '<span class="good">the budget of 0.5 points holds</span>' in html()


def test_random_calibration_a_lost_race_and_a_lost_fusion_are_loud():
    page = html(
        data={**QUANTISED["data"], "kind": "random"},
        latency={"time_ratio": 1.2, "time_ratio_low": 1.1, "time_ratio_high": 1.3, "against": "fp32"},
        xray={
            **QUANTISED["xray"],
            "attention_lost": [["/blocks/3/scores", "/blocks/3/mix"]],
            "in_name_only": {"/fc": ["fp16"]},
        },
    )
    loud = re.findall(r'<p><span class="bad">(.*?)</span></p>', page)
    assert len(loud) == 4
    assert loud[0].startswith("CALIBRATED WITH RANDOM NUMBERS") and "--data" in loud[0]
    assert loud[1] == "int8 LOST on the machine that made this: time ratio 1.20 (1.10 to 1.30) to fp32."
    assert loud[2] == "FUSION LOST against fp16: attention of /blocks/3/scores, /blocks/3/mix"
    assert loud[3].startswith("QUANTISED IN NAME ONLY") and loud[3].endswith(": /fc")
    assert not re.findall(r'<p><span class="bad">', html())


@pytest.mark.parametrize(
    ("latency", "said"),
    [
        ({"time_ratio": 1.01, "time_ratio_low": 0.97, "time_ratio_high": 1.06}, "is no faster within the spread"),
        ({"ratio": 0.97, "low": 0.9, "high": 1.04}, "is no faster within the spread"),  # as version 0.1.0 wrote it
        ({"ratio": 1.3, "low": 1.2, "high": 1.4}, "LOST"),
        ({"ratio": 1.3}, "LOST"),
        ({"ratio": 0.8, "low": 0.7, "high": 0.9}, ""),
    ],
)
def test_a_race_within_the_spread_is_not_lost(latency: dict, said: str):
    loud = warnings({"precision": "int8", "latency": {**latency, "against": "fp32"}})
    assert [one.split(" on the machine")[0] for one in loud] == ([f"int8 {said}"] if said else [])


def test_agreement_is_not_called_accuracy():
    drop = {"points": 0.8, "n": 500, "low": 0.3, "high": 2.0, "lost": 4, "won": 0}
    accuracy = {**QUANTISED["accuracy"], "metric": "agreement", "drop": drop}
    text = said(accuracy=accuracy)
    assert "0.80 % of the answers are others than before" in text and "top-1" not in text
    assert "float model" not in summary({"accuracy": accuracy}) or not summary({"accuracy": accuracy})["float model"]


def test_the_worst_node_comes_first_and_a_scan_decides_where_there_is_one():
    nodes = copy.deepcopy(QUANTISED["nodes"])
    assert [one["node"] for one in worst(nodes)] == ["/blocks/0/qkv/MatMul", "/blocks/0/fc2/MatMul"]
    nodes[1]["output_sqnr_db"], nodes[2]["output_sqnr_db"] = 50.0, 40.0
    assert [one["node"] for one in worst(nodes)] == ["/blocks/0/fc2/MatMul", "/blocks/0/qkv/MatMul"]
    assert len(worst(nodes, 1)) == 1


def test_the_noise_of_two_factors_adds():
    assert loss_db({"activation_sqnr_db": 30.0, "weight_sqnr_db": 30.0}) == pytest.approx(26.99, abs=0.01)
    assert loss_db({"activation_sqnr_db": "inf", "weight_sqnr_db": 30.0}) == pytest.approx(30.0)
    assert loss_db({"types": "fp16 x fp16"}) is None


def test_the_rule_says_by_how_much_it_won():
    assert rule_words({"rule": "mse", "tried": {"mse": 0.5, "minmax": 1.0}}) == "mse (minmax 2 x)"
    assert rule_words({"rule": "mse", "tried": {"mse": 0.0, "minmax": 1.0}}) == "mse"


def test_the_curve_is_drawn_where_the_figures_are():
    drawn = curve([(1.0, 0.9), (0.8, 0.1), (0.6, 0.0)], 1, 0.3, "drop", "caption")
    dots = [(float(x), float(y), int(r)) for x, y, r in re.findall(r'cx="([\d.]+)%" cy="([\d.]+)" r="(\d)"', drawn)]
    assert [dot[2] for dot in dots] == [4, 6, 4], "the chosen one is large"
    assert dots[0][0] > dots[1][0] > dots[2][0] and dots[1][0] - dots[2][0] == pytest.approx(dots[0][0] - dots[1][0])
    assert dots[0][1] < dots[1][1] < dots[2][1], "a larger drop is drawn higher"
    budget = float(re.search(r'y1="([\d.]+)"[^/]*stroke-dasharray', drawn)[1])
    assert dots[0][1] < budget < dots[1][1], "the budget lies between what fails and what holds"
    assert curve([(1.0, 0.1)], 0, 0.3, "drop", "one point is no curve") == ""


def test_names_fit_a_phone():
    name = "/model/stages.3/blocks.1/attention/qkv/MatMul"
    assert len(shortened(name)) == 30 and shortened(name).endswith("/qkv/MatMul")
    assert shortened("/qkv") == "/qkv"


def poison(value):
    if isinstance(value, dict):
        return {key: poison(item) for key, item in value.items()}
    if isinstance(value, list):
        return [poison(item) for item in value]
    return value + "<script>alert('x')</script>\"&" if isinstance(value, str) else value


def test_nothing_in_the_data_becomes_markup():
    page = write_report({"name": "vit", "quantisation": poison(QUANTISED)})
    assert "script" not in Reader(page).tags and "&lt;script&gt;" in page


def test_figures_that_are_words_do_not_break_the_page():
    nodes = [{**one, "activation_sqnr_db": "inf", "scale": "nan", "weight_sqnr_db": None} for one in QUANTISED["nodes"]]
    assert "/stem/Conv" in said(nodes=nodes, accuracy={**QUANTISED["accuracy"], "sqnr_db": None})
