"""What judges, reads and reports, with inputs of which the answer is known: values of arrays, boxes, foreign files, budgets."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graph_asserts import parse
from quantised_graphs import HEAD, IMAGES, QDQ, S1, W1, network, rounded

from edgesmith.calibration.budget import hold
from edgesmith.calibration.judge.accuracy import Metric, sqnr_db
from edgesmith.calibration.judge.classification import judge_logits
from edgesmith.calibration.judge.detection import Boxes, mean_ap
from edgesmith.calibration.judge.detection import sqnr_db as box_sqnr_db
from edgesmith.calibration.nouns import Recipe, Site
from edgesmith.calibration.pictures.arrays import check_values
from edgesmith.calibration.pictures.iterables import open_iterable
from edgesmith.calibration.precisions import PRECISIONS, register_precision
from edgesmith.calibration.quantise import quantise
from edgesmith.calibration.report.file_figures import measure_places
from edgesmith.calibration.report.quantised_file import Rounded, read_places
from edgesmith.calibration.sites.sites import find_sites
from edgesmith.runtime.coco.annotations import Truth
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.preprocess import ImageContract
from edgesmith.runtime.tasks.detection.boxes import Kept
from edgesmith.runtime.tasks.detection.detection import DetectionRule


class Named(list):
    """Pictures of which only the number, the kind and the source are told."""

    kind, source = "arrays", "noise"


def facts(cache, **recipe):
    data = SimpleNamespace(calibration=Named([0] * 16), held_out=Named([0] * 40), skipped=(), notes=())
    wanted = hold.Calibration(Recipe(**recipe), data, None, cache)
    return hold.Facts("net", "int8", "fp32", wanted, False, None, sqnr_db)


USUAL = ImageContract((4, 4))  # -2.12 to 2.64
HALVES = ImageContract((4, 4), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))  # -1 to 1
SHARES = ImageContract((4, 4), mean=(0, 0, 0), std=(1, 1, 1))  # 0 to 1
FIVE = ImageContract((4, 4), mean=(0, 0, 0), std=(1, 1, 1), scale=5 / 255)  # 0 to 5
LEVELS = ImageContract((4, 4), mean=(0, 0, 0), std=(1, 1, 1), scale=1.0)  # 0 to 255
BELOW = ImageContract((4, 4), mean=(255, 255, 255), std=(1, 1, 1), scale=1.0)  # -255 to 0


@pytest.mark.parametrize(
    ("contract", "low", "high", "end"),
    [
        (USUAL, -2.1, 2.6, "fits"), (USUAL, -4.4, 5.0, "fits"), (USUAL, -4.6, 2.6, "noted"), (USUAL, -2.1, 5.1, "noted"),
        (USUAL, 0, 255, "are not preprocessed,"), (USUAL, 0, 1, "as the model's are"), (USUAL, -1, 1, "as the model's are"),
        (USUAL, 0.3, 0.7, "noted"), (USUAL, 0.0, 0.7, "as the model's are"), (USUAL, 0.3, 1.0, "as the model's are"),
        (USUAL, -0.9, 0.9, "fits"), (USUAL, -1, 1.2, "fits"), (HALVES, -1, 1, "fits"), (HALVES, 0, 1, "as the model's are"),
        (SHARES, 0, 1, "fits"), (SHARES, 0.4, 0.6, "fits"), (SHARES, -1, 1, "as the model's are"),
        (SHARES, 0, 255, "are not preprocessed,"), (FIVE, 0, 1, "as the model's are"), (FIVE, 0, 5, "fits"),
        (LEVELS, 0, 255, "fits"), (LEVELS, 0, 1, "are not preprocessed,"), (BELOW, -255, 0, "fits"), (BELOW, -250, -3, "fits"),
        (BELOW, 0, 1, "are not preprocessed,"),
    ],
)  # fmt: skip
def test_which_ranges_of_floats_a_contract_may_have_given(contract, low, high, end):
    pictures = np.full((3, 3, 4, 4), (low + high) / 2, np.float32)
    pictures[1, 0, 0, 0], pictures[2, 2, 3, 3] = low, high
    if end in ("fits", "noted"):
        notes = check_values(pictures, "arrays", contract)
        assert [note.startswith(f"arrays: values from {low:.3g} to {high:.3g}, where") for note in notes] == (
            [True] if end == "noted" else []
        )
        return
    with pytest.raises(UserMistake) as raised:
        check_values(pictures, "arrays", contract)
    assert ("as the model's are" in str(raised.value)) == (end == "as the model's are")


def test_floats_of_an_iterable_are_looked_at_as_those_of_an_array():
    pictures = [np.full((3, 4, 4), value, np.float32) for value in (0.0, 120.0, 255.0)]
    with pytest.raises(UserMistake, match="pictures of the iterable are not preprocessed"):
        open_iterable(pictures, USUAL, ())
    opened = open_iterable([np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)], USUAL, ())
    assert opened.notes == () and list(opened.pool.names) == ["picture 0", "picture 1"]
    mixed = open_iterable([(np.zeros((4, 4, 3), np.uint8), 1), np.ones((4, 4, 3), np.uint8)], USUAL, ("a", "b"))
    assert mixed.pool.labels is None and mixed.notes == ("no labels: 1 of 2 elements of the iterable came without one",)


@pytest.mark.parametrize(("form", "asked", "block"), [
    ("weights", 32, 32), ("weights", 0, 32), ("nbits", 0, 32), ("qdq", 0, 0), ("dynamic", 0, 0), ("qdq", 64, 64),
])  # fmt: skip
def test_a_block_that_was_asked_for_stays_and_only_weights_get_one(tmp_path, form, asked, block):
    """96 input channels, of which 32 is the widest block that divides them, and 80, which nothing divides."""
    from linear_graph import feeds, linear_graph

    model = linear_graph()
    sites = find_sites(model, feeds(1))
    found = hold.fitted(facts(tmp_path, form=form, block=asked), sites, model)
    assert found.calibration.recipe.block == block


class Counted:
    """Eight pictures, each its own number; the sizes of the batches that are asked for are kept."""

    source, kind, digest, labels = "numbers", "arrays", "0" * 64, None

    def __init__(self):
        self.sizes = []

    def __len__(self):
        return 8

    def batches(self, size, start=0):
        self.sizes.append(size)
        array = np.arange(8, dtype=np.float32)[:, None, None, None] * np.ones((1, 3, 1, 1), np.float32)
        yield from (array[first : first + size] for first in range(start, 8, size))


def test_pictures_are_judged_in_batches_of_the_size_asked_for():
    pictures = Counted()
    evaluation = judge_logits(
        pictures, lambda images: np.eye(8, dtype=np.float32)[images[:, 0, 0, 0].astype(int)], batch=3
    )
    assert set(pictures.sizes) == {3} and evaluation.shape == (8,) and len(evaluation) == 8


def test_a_metric_says_its_value_in_whichever_way_it_is_given():
    outputs, truth = np.array([1, 2, 3, 4]), np.array([1, 2, 0, 4])
    assert Metric("hits", hits=lambda a, b: a == b)(outputs, truth) == 75.0
    assert Metric("value", value=lambda a, b: float((a + b).sum()))(outputs, truth) == 17.0
    drawn = Metric("drawn", drawn=lambda a, b, times: (times * (a == b)).sum(axis=1) / times.sum(axis=1) * 10)
    assert drawn(outputs, truth) == 7.5


RULE, SQUARE = DetectionRule("runtime", 0.05, 0.7), ImageContract((64, 64), fit="stretch", crop_fraction=1.0)
BOX = np.array([[8.0, 8.0, 40.0, 40.0]])


def truth_of(crowd):
    return Truth(BOX, np.zeros(1, int), np.array([crowd]), np.array([900.0]), (64, 64))


def test_one_picture_with_a_box_is_enough_to_judge_by():
    crowd, thing = truth_of(True), truth_of(False)
    kept = Kept(BOX, np.array([0.9]), np.zeros(1, int))
    metric, truth = Boxes(RULE, SQUARE).metric([kept, kept], [crowd, thing])
    assert metric.name == "mAP" and truth == [crowd, thing]
    assert mean_ap(RULE, SQUARE)([kept, kept], truth) == pytest.approx(100)
    with pytest.raises(UserMistake, match="no annotated box"):
        Boxes(RULE, SQUARE).metric([kept], [crowd])


def test_decibels_of_boxes_and_scores_by_hand():
    """One cell, score 0.5: 4.595 above the floor of 1 %. Boxes that share half of their union are 0.5 apart."""
    answer = np.array([[[0, 0, 30, 10, 0.5]]], np.float32)
    moved, doubted = answer.copy(), answer.copy()
    moved[..., :4] = (10, 0, 40, 10)
    doubted[..., 4] = 0.1
    assert box_sqnr_db(answer, moved) == pytest.approx(-10 * math.log10((0.5**2 * 0.25 / 0.5**2) / 2), abs=1e-4)
    logits = [math.log(one / (1 - one)) - math.log(0.01 / 0.99) for one in (0.5, 0.1)]
    noise = ((logits[0] - logits[1]) / logits[0]) ** 2
    assert box_sqnr_db(answer, doubted) == pytest.approx(-10 * math.log10(noise / 2), abs=1e-4)
    silent = np.array([[[0, 0, 30, 10, 0.0]]], np.float32)
    assert box_sqnr_db(silent, answer) == -math.inf, "noise where there is no signal"
    assert box_sqnr_db(silent, silent) == math.inf


def read(body: str, **arrays):
    proto = network(QDQ)
    proto.graph.CopyFrom(onnx.parser.parse_model(HEAD + body).graph)
    source = {one.name: one for one in network(QDQ).graph.initializer}
    for name in {name for node in proto.graph.node for name in node.input}:
        if name in arrays:
            proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(arrays[name]), name))
        elif name in source:
            proto.graph.initializer.append(source[name])
    for node in proto.graph.node:
        node.name = node.output[0]
    return read_places(ir.from_proto(proto))


CASTED = QDQ.replace("up = MatMul(d1, v1)", "h1 = Cast <to = 10> (d1)  k1 = Cast <to = 1> (h1)  up = MatMul(k1, v1)")


def test_a_cast_between_rounding_and_reader_is_looked_through():
    model, places = read(CASTED)
    assert [(place.node, place.types) for place in places] == [("up", "int8 x int8"), ("logits", "int8 x int8")]
    row = measure_places(model, places, IMAGES)[0]
    flat = IMAGES.reshape(len(IMAGES), -1)
    assert row["activation_sqnr_db"] == pytest.approx(sqnr_db(flat, rounded(flat, S1)), abs=1e-3)
    assert row["op"] == "MatMul" and row["kind"] == "linear" and row["quantised"] is True and row["weight_scales"] == 16


def test_a_bias_in_32_bits_is_no_place_of_its_own():
    body = QDQ.replace("up = MatMul(d1, v1)", "b1 = DequantizeLinear(bias, s1)  up = Gemm(d1, v1, b1)")
    _, places = read(body, bias=np.arange(16, dtype=np.int32))
    assert places[0].node == "up" and places[0].types == "int8 x int8" and len(places[0].activations) == 1


def test_what_codes_can_hold():
    whole = Rounded("a", "b", "int8", scale=0.5, zero_point=-28)
    assert whole.bounds() == ((-128 + 28 - 0.5) * 0.5, (127 + 28 + 0.5) * 0.5)
    assert replace(whole, dtype="uint8", zero_point=3).bounds() == (-3.5 * 0.5, 252.5 * 0.5)
    assert replace(whole, dtype="uint16", zero_point=0).bounds() == (-0.25, 65535.5 * 0.5)
    for change in ({"scale": None}, {"scales": 2}, {"dtype": "float8e4m3fn"}, {"dtype": "int4"}):
        assert replace(whole, **change).bounds() is None


@pytest.mark.parametrize("shape", [(16, 192), (192, 16), (192, 8), (3072,)], ids=str)
def test_a_weight_is_compared_in_either_layout_and_with_nothing_of_another_shape(shape):
    model, places = read(QDQ)
    weight = {(16, 192): W1.T, (192, 16): W1}.get(shape, np.ones(shape, np.float32))
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> net (float[N] x) => (float[p] y) { y = MatMul(x, w1) }'
    )
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(weight), "w1"))
    reference = ir.from_proto(proto)
    row = measure_places(model, places, IMAGES, reference)[0]
    assert ("weight_sqnr_db" in row) == (sorted(shape) == [16, 192])
    assert "weight_sqnr_db" not in row or 35 < row["weight_sqnr_db"] < 60


def test_only_what_quantises_and_is_like_one_of_ours_can_be_added():
    base = PRECISIONS["int8"]
    for change in ({"codes": None, "like": "int8"}, {"like": ""}, {"like": "fp16"}, {"like": "none"}):
        with pytest.raises(UserMistake, match="No engine knows the precision mine"):
            register_precision(replace(base, name="mine", spellings=("mine",), **change))
    for taken in ("int8", "half", "auto"):
        with pytest.raises(UserMistake, match=f"{taken} means another precision already"):
            register_precision(replace(base, name="mine", spellings=("mine", taken), like="int8"))
    assert "mine" not in PRECISIONS and base.engine_name == "int8" and replace(base, like="fp8").engine_name == "fp8"


def test_a_form_nobody_inserts_and_a_graph_without_statistics():
    from linear_graph import linear_graph

    from edgesmith.runtime.errors import EdgesmithError

    model = linear_graph()
    with pytest.raises(EdgesmithError, match="no form is called 'qqdq'"):
        quantise(model, None, Recipe(form="qqdq"))
    found = quantise(model, None, Recipe(form="dynamic"))
    assert found.smoothed == () and found.statistics == {} and found.scales.activations == {} and found.scales.weights


def test_words_of_what_was_calibrated(tmp_path):
    asked = facts(tmp_path)
    assert hold.calibration_words(asked, None) == "no pictures: the form needs none"
    statistics = SimpleNamespace(tensors={"a": 1, "b": 2}, from_cache=False)
    assert hold.calibration_words(asked, statistics) == "16 pictures of noise, 2 tensors, 40 others judge"
    statistics.from_cache = True
    assert (
        hold.calibration_words(asked, statistics) == "16 pictures of noise, 2 tensors, from the cache, 40 others judge"
    )
    assert (
        hold.calibration_words(asked, None, {"a": 1})
        == "16 pictures of noise, second moments of 1 tensors, 40 others judge"
    )
    asked.calibration.data.calibration.kind, asked.calibration.data.held_out = "random", ()
    assert hold.calibration_words(asked, statistics) == "16 RANDOM NUMBERS, not pictures, 2 tensors, from the cache"
    assert hold.accuracy_words(None) == ""


def test_kernels_that_ask_for_nodes_of_their_own(tmp_path):
    conv = Site("c", "Conv", "x", "w", (64, 64, 3, 3), 1, 1, 0, kind="conv")
    depthwise = replace(conv, node="d", weight_shape=(64, 1, 3, 3), groups=64, kind="depthwise")
    model = parse('<ir_version: 10, opset_import: ["" : 20]> net (float[2] x) => (float[2] y) { y = Relu(x) }')
    for form, kernels, expected in (
        ("qdq", False, ({}, ())), ("dynamic", True, ({}, ())), ("u8", True, ({}, ("d",))), ("weights", True, ({}, ())),
    ):  # fmt: skip
        asked = replace(facts(tmp_path, form=form), integer_kernels=kernels)
        assert hold.for_kernels_here(asked, (conv, depthwise), model) == expected
    keep, also = hold.for_kernels_here(replace(facts(tmp_path), integer_kernels=True), (conv, depthwise), model)
    assert set(keep) == {"c", "d"} and also == ()


def test_what_is_hardly_more_than_chance():
    """Twice what guessing gives; of few classes a quarter of the way from there to all: of two 62.5 %, not 100."""
    from edgesmith.calibration.judge.classification import _hardly_more_than_chance

    assert [_hardly_more_than_chance(classes) for classes in (2, 3, 10, 1000)] == pytest.approx([62.5, 50, 20, 0.2])


def test_a_scan_takes_as_many_pictures_as_its_work_allows():
    """Two sites, each half of a network of 2e9 multiplications; many more, and far fewer."""
    from edgesmith.calibration.judge.sensitivity import PICTURES, WORK, pictures_for

    site = Site("n", "Conv", "x", "w", (1, 1, 1, 1), 1, 1, 0, macs=10**9, share=0.5)
    fewest, most = PICTURES
    for count in (2, 3, 7):
        assert pictures_for([site] * count) == min(max(int(WORK / (2e9 * count)), fewest), most)
    assert (
        pictures_for([site] * 10**5) == fewest and pictures_for([]) == pictures_for([replace(site, share=0.0)]) == most
    )
    assert pictures_for([replace(site, macs=1)]) == most
    between = replace(site, macs=int(WORK / 2 / 2 / ((fewest + most) // 2)))
    assert pictures_for([between] * 2) == pytest.approx((fewest + most) // 2, abs=1)


def test_what_the_answers_say_against_pictures_is_not_asked_of_noise(tmp_path):
    asked = replace(facts(tmp_path), doubts=lambda answers: [f"{len(answers)} answers"])
    evaluation = SimpleNamespace(reference=SimpleNamespace(whole=[1, 2, 3]))
    assert hold.doubts(asked, None, evaluation) == ["3 answers"]
    asked.calibration.data.calibration.kind = "random"
    assert hold.doubts(asked, None, evaluation) == []


def test_agreement_where_one_side_finds_nothing_and_the_boxes_that_are_counted():
    found, nothing = Kept(BOX, np.array([0.9]), np.zeros(1, int)), Kept(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    view = Boxes(RULE, SQUARE)
    assert [view.agreement([found], [other]) for other in (found, nothing)] == [100.0, 0.0]
    assert view.agreement([nothing], [found]) == 0.0 and view.agreement([nothing], [nothing]) == 100.0
    assert view.agreement([found, found], [found, nothing]) == pytest.approx(100 * 2 / 3)

    class Set(SimpleNamespace):
        pictures = 2

        def __len__(self):
            return self.pictures

    judged = Set(truth=[truth_of(False), truth_of(False)], metric=Metric("mAP"), expected=SimpleNamespace(value=50.0))
    assert view.notes(judged, None) == [
        "2 pictures with 2 boxes: few for an mAP; some hundred pictures tell tenths of a point"
    ]
    judged.truth = [truth_of(True), truth_of(False)]
    assert "with 1 boxes" in view.notes(judged, None)[0]
    for judged.pictures, told in ((99, 1), (100, 0)):
        assert len(view.notes(judged, None)) == told, "a hundred pictures are enough"


def test_second_moments_before_there_are_enough_rows():
    """Rows wait until there are as many as channels; what is kept meanwhile goes on where it was."""
    from edgesmith.calibration.statistics.moments import Moments

    rng = np.random.default_rng(3)
    parts = [rng.standard_normal((2, 5, 1, 1)).astype(np.float32) for _ in range(7)]
    rows = np.concatenate(parts)[:, :, 0, 0].astype(np.float64)
    whole, resumed = Moments("x", 1), Moments("x", 1)
    for number, part in enumerate(parts, start=1):
        whole.add(part, 2)
        resumed.add(part, 2)
        kept = resumed.arrays()
        assert len(kept["half"]) == 15 and kept["waiting"].shape[1] == 5
        resumed = Moments("x", 1, kept)
        for one in (whole, resumed):
            np.testing.assert_allclose(
                one.mean(), rows[: 2 * number].T @ rows[: 2 * number] / (2 * number), rtol=1e-5, atol=1e-6
            )
    with pytest.raises(Exception, match="cannot be calibrated"):
        Moments("x", -1).add(np.full((6, 5), 1e30, np.float32), 1)


def test_the_shape_of_a_value_for_one_picture():
    from edgesmith.calibration.balance.labels import guess

    model = parse(
        '<ir_version: 10, opset_import: ["" : 20]> net (float[B, 3, 7] x) => (float[B, 3, 7] y) { y = Relu(x) }'
    )
    value = model.graph.inputs[0]
    assert guess(value) == (1, 3, 7) and guess(None) is None
    value.shape = ir.Shape(["9*s77", "batch", 4])
    assert guess(value) == (9, 1, 4)
    value.shape = None
    assert guess(value) is None


def test_no_statistics_where_nothing_asks_for_them(tmp_path):
    """Forms of weights alone have no ranges, and without pictures there are none."""
    for form in ("weights", "nbits"):
        assert hold.collect_statistics(facts(tmp_path, form=form), None, ()) is None
    asked = facts(tmp_path)
    without = replace(asked, calibration=replace(asked.calibration, data=None))
    assert hold.collect_statistics(without, None, ()) is None
    for one in (without, asked):
        assert hold.collect_weight_moments(one, None, ()) is None
    assert hold.collect_weight_moments(facts(tmp_path, form="weights", block=32), None, ()) is None


def test_a_product_of_whole_numbers_is_no_site():
    from edgesmith.calibration.sites.sites import is_site

    text = '<ir_version: 10, opset_import: ["" : 20]> net ({kind}[2, 3] x) => ({kind}[2, 2] y) <{kind}[3, 2] w = {{1, 2, 3, 4, 5, 6}}> {{ y = MatMul(x, w) }}'
    for kind, site in (("int32", False), ("float", True), ("double", True)):
        numbers = text if kind == "int32" else text.replace("1, 2, 3, 4, 5, 6", "1.0, 2.0, 3.0, 4.0, 5.0, 6.0")
        assert is_site(parse(numbers.format(kind=kind)).graph[0]) is site


def test_what_a_dry_run_prints_of_the_calibration(tmp_path):
    pictures = type("Pictures", (list,), {"source": "photos", "digest": "ab"})
    data = SimpleNamespace(calibration=pictures([1, 2]), held_out=[1] * 3, skipped=[1])
    asked = hold.Calibration(Recipe(form="qdq", smooth=0.5), data, 0.5, None).to_json()
    assert asked["calibration"] == {"source": "photos", "images": 2, "skipped": 1, "held_out": 3, "sha256": "ab"}
    assert (asked["form"], asked["ranges"], asked["smooth"], asked["block"], asked["max_drop"]) == (
        "qdq",
        "best",
        0.5,
        None,
        0.5,
    )
    for form, block, told in (("weights", 32, 32), ("weights", 0, "widest that fits"), ("qdq", 32, None)):
        assert hold.Calibration(Recipe(form=form, block=block), None, None, None).to_json()["block"] == told
    assert hold.Calibration(Recipe(), None, None, None).to_json()["calibration"] is None
