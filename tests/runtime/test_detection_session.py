"""Pictures in, boxes in their own pixels out: every form of graph, any batch, any size of picture, thresholds, the self-test."""

import json

import cv2
import numpy as np
import pytest
from detection_bundle import LABELS, RULES, golden_images, judge, paint, write_detection_bundle
from openvino_here import openvino_or_skip
from sealed import edit_manifest

import edgesmith
from edgesmith.runtime.backends.load import load
from edgesmith.runtime.bundle.bundle import open_bundle
from edgesmith.runtime.bundle.golden import golden_bytes
from edgesmith.runtime.errors import BundleRefused, UserMistake
from edgesmith.runtime.pictures.preprocess import ImageContract
from edgesmith.runtime.tasks.detection.detection import Detections

FORMS = {
    "every cell": {},
    "four candidates": {"candidates": 4},
    "suppressed in the graph": {"nms": "graph"},
    "no suppression": {"nms": "none"},
}


@pytest.fixture(params=FORMS)
def form(request):
    return FORMS[request.param]


def told(detections):
    return [(d.label, round(d.score, 3), tuple(round(edge, 3) for edge in d.box)) for d in detections]


@pytest.mark.parametrize("batch", [1, 2, "batch"])
def test_boxes_are_in_the_pixels_of_each_picture(tmp_path, form, batch):
    """Twice as wide and three times as high as the network's input; a box that leaves the picture ends at its edge."""
    pictures = [
        paint((0, 0, 16, 24, "red"), (48, 48, 64, 72, "blue"), size=(96, 64)),
        paint(),
        paint((8, 8, 16, 16, "green")),
    ]
    with edgesmith.load(write_detection_bundle(tmp_path / "d.edge", batch, **form)) as session:
        answers = session(pictures)
        assert all(isinstance(answer, Detections) for answer in answers) and session([]) == []
        assert told(answers[0]) == [("red", 1.0, (0, 0, 24, 36)), ("blue", 1.0, (40, 36, 64, 84))]
        assert len(answers[1]) == 0 and answers[1].boxes.shape == (0, 4)
        assert told(answers[2]) == [("green", 1.0, (4, 4, 20, 20))]
        assert [answer.image_size for answer in answers] == [(96, 64), (32, 32), (32, 32)]
        assert told(session(pictures[2])) == told(answers[2]) == told(session(np.stack(pictures[1:]))[1])
        times = answers[0].preprocess_ms, answers[0].infer_ms, answers[0].postprocess_ms
        assert min(times) > 0 and max(times) < 60_000


def test_openvino_gives_the_same_boxes(tmp_path, form):
    openvino_or_skip()
    picture = paint((0, 0, 16, 24, "red"), (24, 16, 32, 24, "blue"))
    bundle = write_detection_bundle(tmp_path / "d.edge", "batch", **form)
    with load(bundle) as session, load(bundle, backend="openvino", precision="fp32") as other:
        for threshold in (None, 0.7):
            ours, theirs = session([picture] * 3, score=threshold), other([picture] * 3, score=threshold)
            for mine, its in zip(ours, theirs, strict=True):  # sorted: TopK orders equal scores as it likes
                assert sorted(told(mine)) == sorted(told(its)) and len(mine) > 1
        assert other.self_test()[0].passed


def test_a_path_is_a_picture_too(tmp_path):
    cv2.imwrite(str(tmp_path / "p.png"), paint((8, 8, 16, 16, "green"))[:, :, ::-1])
    with load(write_detection_bundle(tmp_path / "d.edge")) as session:
        assert [d.label for d in session(tmp_path / "p.png")] == ["green"]
        assert [d.label for d in session([str(tmp_path / "p.png")])[0]] == ["green"]


def test_a_letterboxed_picture_finds_its_boxes_back(tmp_path):
    """64 x 128 fitted into 32 x 32: 16 rows of it, in the middle or at the top; the patch is at the same place in both."""
    picture = paint((32, 0, 64, 32, "red"), size=(64, 128))
    for anchor, expected in (("centre", (16, 0, 80, 48)), ("corner", (16, 0, 80, 48))):
        contract = ImageContract((32, 32), "bilinear", False, 1.0, "letterbox", (0, 0, 0), (1, 1, 1), anchor=anchor)
        bundle = write_detection_bundle(tmp_path / "d.edge", input_contract=contract.to_json())
        with load(bundle) as session:
            assert told(session(picture)) == [("red", 1.0, expected)]


def test_thresholds_are_those_of_the_bundle_until_others_are_chosen(tmp_path):
    """A patch of two cells, and one that covers half a cell."""
    picture = paint((0, 0, 16, 8, "red"), (24, 24, 28, 32, "blue"))
    with load(write_detection_bundle(tmp_path / "d.edge")) as session:
        assert [d.label for d in session(picture)] == ["red"]  # the cells overlap by a third, the rule is 0.3
        assert [d.label for d in session(picture, iou=0.4)] == ["red", "red"]
        assert [d.label for d in session(picture, score=0.4)] == ["red", "blue"]
        assert [d.label for d in session(picture, score=0.4, iou=0.4, max_detections=2)] == ["red", "red"]
        assert [len(d) for d in session([picture] * 2, score=0.4)] == [2, 2]
        assert [d.label for d in session(picture)] == ["red"]  # a choice is for one call
        with pytest.raises(UserMistake, match="score is not usable"):
            session(picture, score=50)
    with load(write_detection_bundle(tmp_path / "d.edge", nms="none")) as session:
        assert [d.label for d in session(picture)] == ["red", "red"]
        with pytest.raises(UserMistake, match="does not suppress"):
            session(picture, iou=0.5)


def test_thresholds_in_the_graph_can_only_be_tightened(tmp_path):
    picture = paint((0, 0, 16, 8, "red"), (24, 24, 30, 32, "blue"))
    with load(write_detection_bundle(tmp_path / "d.edge", nms="graph")) as session:
        assert [d.label for d in session(picture)] == ["red", "red", "blue"]
        assert [d.label for d in session(picture, score=0.8)] == ["red", "red"]
        assert [d.label for d in session(picture, max_detections=1)] == ["red"]
        for choice in ({"score": 0.2}, {"iou": 0.5}, {"max_detections": 9}):
            with pytest.raises(UserMistake, match="(?s)thresholds are in the graph.*--nms runtime"):
                session(picture, **choice)


def test_a_classifier_takes_no_thresholds(tiny):
    with load(tiny) as session, pytest.raises(UserMistake, match="(?s)classifies and takes no score.*score=0.5"):
        session(np.zeros((8, 8, 3), np.uint8), score=0.5)


def test_run_gives_the_outputs_of_the_graph(tmp_path):
    with load(write_detection_bundle(tmp_path / "d.edge", batch=2)) as session:
        results = session.run({"images": golden_images()[:2]})
        np.testing.assert_allclose(results["scores"], judge(golden_images()[:2])[..., 4:], atol=1e-6)
        assert results["boxes"].shape == (2, 16, 4)


def test_labels_that_do_not_fit(tmp_path):
    for form, labels in (({}, ["a", "b", "c", "d"]), ({"nms": "graph"}, ["a"])):
        bundle = write_detection_bundle(tmp_path / "d.edge", files={"labels.json": json.dumps(labels).encode()}, **form)
        with load(bundle) as session, pytest.raises(UserMistake, match="do not fit the labels"):
            session(paint((0, 0, 8, 8, "blue")))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"detection": None}, "which of its boxes count(?s:.*)export it again"),
        ({"detection": [1]}, "which of its boxes count"),
        ({"detection": {"nms": "runtime", "score": 0.5}}, "missing"),
        ({"detection": {**RULES["runtime"], "score": "high"}}, "'high'"),
        ({"detection": {**RULES["runtime"], "nms": "elsewhere"}}, "'elsewhere'"),
        ({"detection": {**RULES["runtime"], "later": 1}}, "later"),
        ({"detection": RULES["graph"]}, "contradicts itself(?s:.*)nms graph and the outputs boxes, scores"),
    ],
)
def test_a_manifest_that_does_not_say_how_to_detect_is_refused(tmp_path, changes, said):
    place = tmp_path / "d.edge"
    write_detection_bundle(place)
    edit_manifest(place, **changes)
    with pytest.raises(BundleRefused, match=said):
        open_bundle(place)


def test_the_self_test_holds_for_every_form(tmp_path, form):
    for batch in (1, 2, "batch"):
        with load(write_detection_bundle(tmp_path / "d.edge", batch, **form)) as session:
            (row,) = session.self_test()
            assert row.passed and row.output == "detections" and row.cases == 3 and row.top1 == 1.0
            assert row.figures["detections"] == 3 and "100 % of 3 detections matched" in row.told
            assert (row.figures["cosine"] is None) == (form not in ({}, {"nms": "none"}))


def test_the_self_test_fails_for_the_right_reason(tmp_path, form):
    """The judge's boxes read as centre and size; its labels from 1; a score off by a hundredth."""
    right = judge(golden_images())
    centre = np.concatenate([(right[..., :2] + right[..., 2:4]) / 2, right[..., 2:4] - right[..., :2]], axis=-1)
    shifted, higher = np.roll(right[..., 4:], 1, axis=-1), np.where(right[..., 4:] > 0.5, 0.99, right[..., 4:])
    for boxes, scores in ((centre, right[..., 4:]), (right[..., :4], shifted), (right[..., :4], higher)):
        golden = golden_bytes({"images": golden_images()}, {"boxes": boxes, "scores": scores.astype(np.float32)})
        with load(write_detection_bundle(tmp_path / "d.edge", files={"golden.npz": golden}, **form)) as session:
            assert not session.self_test()[0].passed


def test_a_golden_file_without_the_judge_s_cells_is_refused(tmp_path):
    golden = golden_bytes({"images": golden_images()}, {"logits": np.zeros((3, 2), np.float32)})
    with (
        load(write_detection_bundle(tmp_path / "d.edge", files={"golden.npz": golden})) as session,
        pytest.raises(BundleRefused, match="(?s)golden file does not fit.*images, boxes, scores"),
    ):
        session.self_test()


def test_the_command_shows_the_self_test(tmp_path, capsys):
    from edgesmith.runtime.commands.cli import main

    with pytest.raises(SystemExit) as done:
        main(["test", str(write_detection_bundle(tmp_path / "d.edge"))])
    text = capsys.readouterr().out
    assert done.value.code == 0 and "detections: holds, 100 % of 3 detections matched" in text and "limit" in text


def test_the_classes_of_the_answer_are_those_of_the_labels(tmp_path):
    with load(write_detection_bundle(tmp_path / "d.edge")) as session:
        for index, label in enumerate(LABELS):
            (only,) = session(paint((0, 0, 8, 8, label)))
            assert (only.label, only.index) == (label, index)
