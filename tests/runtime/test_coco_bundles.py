"""Bundles on an annotated set: the figures, the table, the results file, and what is refused."""

import contextlib
import io
import json
import sys

import numpy as np
import pytest
from coco_patches import write_patches
from detection_bundle import write_detection_bundle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from small_bundle import write_small_bundle

from edgesmith.runtime.commands import cli
from edgesmith.runtime.commands.evaluation.evaluate import evaluate, show
from edgesmith.runtime.errors import BackendUnavailable, UserMistake
from edgesmith.runtime.tasks.detection import evaluate as module
from edgesmith.runtime.tasks.evaluation import Asked, table


@pytest.fixture
def bundle(tmp_path):
    return write_detection_bundle(tmp_path / "colours.edge", batch="batch")


@pytest.mark.parametrize("scale", [1, 5])
def test_a_detector_that_is_right_everywhere(tmp_path, bundle, scale):
    file = write_patches(tmp_path, scale=scale)
    (row,) = evaluate([bundle], file)["rows"]
    assert row["map"] == pytest.approx(100) and (row["low"], row["high"]) == (pytest.approx(100), pytest.approx(100))
    assert (row["pictures"], row["boxes"], row["found"]) == (12, 24, 24) and "ms_per_picture" not in row
    assert row["per_class"]["green"] == {"map": None, "map50": None, "boxes": 0}
    assert (row["small"] is None, row["medium"] is None) == ((False, True) if scale == 1 else (True, False))


@pytest.mark.parametrize("nms", ["runtime", "graph", "none"])
def test_the_figures_are_the_same_wherever_the_suppression_is(tmp_path, nms):
    bundle = write_detection_bundle(tmp_path / "colours.edge", nms=nms)
    assert evaluate([bundle], write_patches(tmp_path))["rows"][0]["map"] == pytest.approx(100)


def test_what_is_not_found_costs_its_class(tmp_path, bundle):
    (row,) = evaluate([bundle], write_patches(tmp_path, missed=3))["rows"]
    assert row["map"] == pytest.approx(200 / 3) and row["per_class"]["green"] == {"map": 0, "map50": 0, "boxes": 3}
    # a draw without a green thing has two classes, both right; turned round the value that is 33 points below it
    assert (row["low"], row["high"]) == (pytest.approx(100 / 3), pytest.approx(200 / 3))


def test_thresholds_are_the_bundles_or_those_asked_for(tmp_path, bundle):
    file = write_patches(tmp_path)
    result = evaluate([bundle], file)
    assert result["rows"][0]["score"] == 0.5 and "below a score of 0.5 are left out" in result["notes"][-1]
    low = evaluate([bundle], file, Asked(score=0.02))
    assert low["rows"][0]["score"] == 0.02 and not any("left out" in note for note in low["notes"])
    assert evaluate([bundle], file, Asked(score=1.0))["rows"][0]["map"] == 0, "no detection at all is a figure, too"


def test_the_results_file_is_cocos(tmp_path, bundle):
    file = write_patches(tmp_path, missed=2)
    (row,) = evaluate([bundle], file, save=tmp_path / "results.json")["rows"]
    saved = json.loads((tmp_path / "results.json").read_text())
    assert {one["category_id"] for one in saved} == {4, 90} and {one["image_id"] for one in saved} == set(
        range(100, 112)
    )
    annotated = json.loads(file.read_text())
    for one in annotated["annotations"]:
        # numbers from 1: COCO's code takes the annotation 0 for "not matched", which costs the set's mAP 5.5 points here
        one |= {"area": one["bbox"][2] * one["bbox"][3], "iscrowd": 0, "id": one["id"] + 1}
    file.write_text(json.dumps({**annotated, "info": {}}))
    with contextlib.redirect_stdout(io.StringIO()):
        api = COCO(file)
        judge = COCOeval(api, api.loadRes(saved), "bbox")
        judge.evaluate(), judge.accumulate(), judge.summarize()
    assert 100 * judge.stats[0] == pytest.approx(
        row["map"], abs=0.01
    )  # coordinates are written to a thousandth of a pixel
    assert not list(tmp_path.glob(".*part*"))


@pytest.mark.parametrize(
    ("place", "words"),
    [("coco.json", "holds the annotations"), (".", "found     a folder"), ("gone/results.json", "found     no folder")],
)
def test_places_that_cannot_be_written(tmp_path, bundle, place, words):
    file = write_patches(tmp_path)
    before = file.read_bytes()
    with pytest.raises(UserMistake, match=words):
        evaluate([bundle], file, save=tmp_path / place)
    assert file.read_bytes() == before


def test_results_of_two_bundles_have_no_place(tmp_path, bundle):
    with pytest.raises(UserMistake, match="2 bundles"):
        evaluate([bundle, bundle], write_patches(tmp_path), save=tmp_path / "results.json")


def test_an_interrupt_leaves_nothing_half_written(tmp_path, bundle):
    def stop(name, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate([bundle], write_patches(tmp_path), save=tmp_path / "results.json", progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coco.json", "colours.edge", "images"]


def test_progress_counts_no_more_pictures_than_the_limit(tmp_path, bundle):
    steps = []
    result = evaluate([bundle], write_patches(tmp_path), Asked(limit=5), progress=lambda *step: steps.append(step))
    # the bundle takes up to four pictures at a time
    assert steps == [("colours.edge", 4, 5), ("colours.edge", 5, 5)] and result["rows"][0]["pictures"] == 5


def test_a_bundle_that_does_not_run_here_is_a_row(tmp_path, bundle, monkeypatch):
    other, file, run = (
        write_detection_bundle(tmp_path / "gpu.edge", target="rtx"),
        write_patches(tmp_path),
        module.run_bundle,
    )

    def some(found, *rest):
        if found.target == "rtx":
            raise BackendUnavailable("TensorRT-RTX is not here", found="no GPU")
        return run(found, *rest)

    monkeypatch.setattr(module, "run_bundle", some)
    result = evaluate([other, bundle], file)
    assert result["rows"][0]["why_not"] == "TensorRT-RTX is not here" and result["rows"][1]["map"] == pytest.approx(100)
    text = show(result, per_class=True)
    assert "gpu.edge      fp32       TensorRT-RTX is not here" in text
    with pytest.raises(BackendUnavailable):
        evaluate([other], file)


def test_the_table_has_a_row_for_the_bundle_and_for_each_class(tmp_path, bundle):
    result = evaluate([bundle], write_patches(tmp_path, missed=3))
    lines = show(result, per_class=True).splitlines()
    assert lines[0].split() == [
        "precision",
        "mAP",
        "95",
        "%",
        "AP50",
        "AP75",
        "small",
        "medium",
        "large",
        "pictures",
    ]
    assert lines[1].split()[:3] == ["colours.edge", "fp32", "66.67"] and lines[1].split()[-1] == "12"
    assert lines[3].split() == ["average", "recall", "AR@1", "AR@10", "AR@100", "small", "medium", "large"]
    assert lines[4].split()[0] == "colours.edge" and lines[4].split()[3] == "66.7" and not lines[5]
    assert [line.split() for line in lines[6:10]] == [
        ["class", "boxes", "mAP", "colours.edge"], ["red", "12", "100.0"], ["green", "3", "0.0"], ["blue", "12", "100.0"],
    ]  # fmt: skip
    assert lines[10].startswith("note: pictures of") and json.dumps(result)
    assert table(("", "n"), [("a", "1"), ("bcd", "22")]) == ["      n", "a     1", "bcd  22"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Asked(score=1.5), "--score is out of range"),
        (Asked(iou=-0.1), "--iou is out of range"),
        (Asked(limit=0), "--limit is out of range"),
        (Asked(images="gone"), "there are no pictures in gone"),
        (Asked(backend="abacus"), "abacus"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_words(tmp_path, bundle, asked, words):
    with pytest.raises(UserMistake, match=words):
        evaluate([bundle], write_patches(tmp_path), asked)


def test_bundles_that_cannot_be_evaluated(tmp_path, bundle):
    file = write_patches(tmp_path)
    with pytest.raises(UserMistake, match="does not detect"):
        evaluate([write_small_bundle(tmp_path / "small.edge")], file)
    with pytest.raises(UserMistake, match="cannot open the bundle"):
        evaluate([tmp_path / "gone.edge"], file)
    graph = write_detection_bundle(tmp_path / "graph.edge", nms="graph")
    with pytest.raises(UserMistake, match="score cannot be 0.1"):
        evaluate([graph], file, Asked(score=0.1))


def test_bundles_of_other_classes_have_categories_of_their_own(tmp_path, bundle):
    names = write_detection_bundle(tmp_path / "b.edge", files={"labels.json": b'["a", "b", "c"]'})
    rows = evaluate([bundle, names], write_patches(tmp_path))["rows"]
    assert [row["map"] for row in rows] == [pytest.approx(100)] * 2 and list(rows[1]["per_class"]) == ["a", "b", "c"]
    few = write_detection_bundle(tmp_path / "c.edge", files={"labels.json": b'["red", "pink", "green"]'})
    with pytest.raises(UserMistake, match="not the classes of the model"):
        evaluate([few], write_patches(tmp_path))


def test_a_broken_picture_is_named(tmp_path, bundle):
    file = write_patches(tmp_path)
    path = tmp_path / "images" / "7.png"
    path.write_bytes(path.read_bytes()[:-16])
    with pytest.raises(UserMistake, match="7.png is cut off"):
        evaluate([bundle], file)


def test_scores_that_are_no_numbers_are_an_error(tmp_path, bundle, monkeypatch):
    def broken(self, feeds):
        found = infer(self, feeds)
        return {name: np.full_like(array, np.nan) for name, array in found.items()}

    from edgesmith.runtime.backends.onnxruntime import OnnxRuntimeSession

    infer = OnnxRuntimeSession.infer
    monkeypatch.setattr(OnnxRuntimeSession, "infer", broken)
    with pytest.raises(UserMistake, match="NaN"):
        evaluate([bundle], write_patches(tmp_path))


def device(*words):
    with pytest.raises(SystemExit) as left:
        cli.main(["eval", *map(str, words)])
    return left.value.code


def test_the_command_of_a_device(tmp_path, bundle, capsys):
    file = write_patches(tmp_path, missed=3)
    assert device(bundle, "--data", file, "--per-class", "--save", tmp_path / "r.json", "--limit", "11") == 0
    shown = capsys.readouterr()
    assert "green" in shown.out and shown.out.splitlines()[1].split()[-1] == "11" and (tmp_path / "r.json").exists()
    assert device(bundle, "--data", file, "--images", tmp_path / "images", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["map"] == pytest.approx(200 / 3)
    assert device(bundle, "--data", tmp_path / "gone.json") == 2
    assert "cannot read the annotations" in capsys.readouterr().err


def test_progress_of_a_device_is_for_people_only(tmp_path, bundle, capsys, monkeypatch):
    file = write_patches(tmp_path)
    assert device(bundle, "--data", file) == 0 and capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert device(bundle, "--data", file) == 0
    assert capsys.readouterr().err.endswith("colours.edge: 12 of 12 pictures\n")


def test_ctrl_c_on_a_device(tmp_path, bundle, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "evaluate_boxes", stop)
    assert device(bundle, "--data", write_patches(tmp_path), "--save", tmp_path / "r.json") == 130
    assert len(json.loads((tmp_path / "r.json").read_text())) == 24, (
        "the boxes were found already: they are kept, whole"
    )
