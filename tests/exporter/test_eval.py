"""``edgesmith eval`` as it is typed: detectors with PyTorch beside them, classifiers on folders, mistakes in words."""

import json
import sys

import cv2
import numpy as np
import pytest
from coco_patches import write_patches
from command_line import edgesmith
from detection_bundle import LABELS, judge, write_detection_bundle
from small_bundle import write_small_bundle

from edgesmith import models


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def detector(tmp_path):
    return str(write_detection_bundle(tmp_path / "colours.edge", batch="batch"))


def colours(folder, wrong: int = 0, names=("red", "green", "blue"), count: int = 10):
    """``count`` pictures of each colour; the first ``wrong`` red ones are blue."""
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = np.zeros((20, 20, 3), np.uint8)
            pixels[..., 2 if number == 0 and index < wrong else number] = 200
            cv2.imwrite(str(folder / name / f"{index}.png"), pixels[..., ::-1])
    return folder


def test_a_detector_is_evaluated_on_coco_annotations(tmp_path, detector):
    write_patches(tmp_path)
    found = edgesmith("eval", detector, "--data", "coco.json", "--images", "images", "--json")
    assert found.code == 0, found.err
    (row,) = json.loads(found.out)["rows"]
    assert row["map"] == pytest.approx(100) and row["backend"] == "onnxruntime"
    text = edgesmith("eval", detector, "data=coco.json", "--per-class", "--save", "results.json")
    assert text.code == 0 and "100.00" in text.out and "class" in text.out
    assert len(json.loads((tmp_path / "results.json").read_text())) == 24


def test_pytorch_has_a_row_of_its_own_beside_the_bundle(tmp_path, detector, monkeypatch):
    """The module behind the bundle, its red and blue exchanged: the row of PyTorch is its own, not the bundle's."""
    import torch

    class Colours(torch.nn.Module):
        def forward(self, images):
            found = torch.from_numpy(judge(images.numpy()))
            return found[..., :4], found[..., 4:].flip(-1)

    asked = []
    monkeypatch.setattr(models, "create", lambda *words, **_: asked.append(words) or Colours())
    write_patches(tmp_path)
    found = edgesmith("eval", detector, "--data", "coco.json", "--weights", "w.pth", "--json", "--threads", "1")
    assert found.code == 0, found.err
    rows = json.loads(found.out)["rows"]
    assert [(row["name"], row["map"]) for row in rows] == [("PyTorch eager", 0), ("colours.edge", pytest.approx(100))]
    assert asked == [("small_detector", "w.pth", len(LABELS), (32, 32))]


def test_pytorch_agrees_with_the_bundle(tmp_path, detector, monkeypatch):
    import torch

    class Colours(torch.nn.Module):
        def forward(self, images):
            found = torch.from_numpy(judge(images.numpy()))
            return found[..., :4], found[..., 4:]

    monkeypatch.setattr(models, "create", lambda *words, **_: Colours())
    write_patches(tmp_path, missed=4, scale=3)
    found = edgesmith("eval", detector, "--data", "coco.json", "--weights", "w.pth", "--json", "--score", "0.02")
    first, second = json.loads(found.out)["rows"]
    assert first["map"] == pytest.approx(second["map"]) and first["found"] == second["found"]
    assert first["score"] == second["score"] == 0.02


def test_a_wrong_checkpoint_ends_it_at_once(tmp_path, detector):
    write_patches(tmp_path)
    found = edgesmith("eval", detector, "--data", "coco.json", "--weights", "gone.pth")
    assert found.code == 2 and "edgesmith:" in found.err


def test_a_classifier_is_evaluated_on_folders_of_classes(tmp_path):
    bundle = str(write_small_bundle(tmp_path / "small.edge"))
    colours(tmp_path / "photos", wrong=3)
    found = edgesmith("eval", bundle, "--data", "photos", "--json")
    assert found.code == 0, found.err
    (row,) = json.loads(found.out)["rows"]
    assert (row["top1"], row["top5"], row["pictures"]) == (90.0, 100.0, 30)
    assert (row["low"], row["high"]) == (
        pytest.approx(74.4, abs=0.1),
        pytest.approx(96.5, abs=0.1),
    )  # Wilson's of 27 of 30
    text = edgesmith("eval", bundle, "--data", "photos", "--limit", "12")
    assert text.code == 0 and text.out.splitlines()[1].split()[-1] == "12" and "drawn with a fixed seed" in text.out


def test_broken_pictures_of_a_classifier_do_not_count(tmp_path):
    bundle = str(write_small_bundle(tmp_path / "small.edge"))
    (colours(tmp_path / "photos") / "red" / "3.png").write_bytes(b"no picture")
    found = edgesmith("eval", bundle, "--data", "photos")
    assert found.code == 0 and "1 pictures cannot be read" in found.out and "100.00" in found.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("small.edge", "--data", "coco.json"), "does not detect"),
        (("small.edge", "--data", "photos", "--score", "0.3"), "--score belongs to a detector"),
        (("small.edge", "--data", "photos", "--images", "images"), "--images belongs to a detector"),
        (("small.edge", "--data", "other"), "does not say what the pictures show"),
        (("small.edge", "--data", "random"), "does not say what the pictures show"),
        (("small.edge", "--data", "gone"), "nothing at that path"),
        (("small.edge", "colours.edge", "--data", "photos"), "different tasks"),
        (("colours.edge", "--data", "photos"), "--data annotations.json --images photos"),
        (("colours.edge", "--data", "gone.json"), "No such file"),
        (("colours.edge", "--data", "coco.json", "--images", "photos"), "12 of 12 pictures"),
        (("colours.edge", "--data", "coco.json", "--score", "2"), "--score is out of range"),
        (("colours.edge", "--data", "coco.json", "--limit", "0"), "limit"),
        (("colours.edge",), "--data"),
        (("gone.edge", "--data", "coco.json"), "cannot open the bundle"),
        (("colours.edge", "colours.edge", "--data", "coco.json", "--save", "a.json"), "2 bundles"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_words_ends_with_2_and_says_what_to_try(tmp_path, detector, words, said):
    write_small_bundle(tmp_path / "small.edge")
    colours(tmp_path / "photos", count=1)
    colours(tmp_path / "other", names=("x", "y"), count=1)
    write_patches(tmp_path)
    found = edgesmith("eval", *words)
    assert found.code == 2 and said in found.err and "try" in found.err, found.err
    assert not (tmp_path / "a.json").exists()


def test_an_interrupt_ends_an_evaluation_without_a_traceback(tmp_path, detector, monkeypatch):
    from edgesmith.runtime.tasks.detection import evaluate

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "evaluate_boxes", stop)
    write_patches(tmp_path)
    found = edgesmith("eval", detector, "--data", "coco.json", "--save", "results.json")
    assert found.code == 130 and "nothing half-written" in found.err
    assert len(json.loads((tmp_path / "results.json").read_text())) == 24, "the boxes were found: they are kept, whole"


def test_without_pycocotools_it_ends_before_the_first_picture(tmp_path, detector, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    monkeypatch.setattr("edgesmith.runtime.tasks.detection.evaluate.run_all", lambda *_: pytest.fail("a picture ran"))
    write_patches(tmp_path)
    found = edgesmith("eval", detector, "--data", "coco.json", "--save", "results.json")
    assert found.code == 2 and "pip install 'edgesmith[eval]'" in found.err, found.err


def test_boxes_that_cannot_be_saved_after_all_do_not_lose_the_figures(tmp_path, detector, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgesmith.runtime.tasks.detection.evaluate.replacing", full)
    write_patches(tmp_path)
    found = edgesmith("eval", detector, "--data", "coco.json", "--save", "results.json")
    assert found.code == 1 and "100.00" in found.out and "NOT saved: [Errno 28] No space left" in found.out, found.err


def test_boxes_are_not_saved_into_a_bundle(tmp_path, detector):
    write_patches(tmp_path)
    found = edgesmith("eval", detector, "--data", "coco.json", "--save", detector + "/results.json")
    assert found.code == 2 and "inside the bundle" in found.err and edgesmith("test", detector).code == 0


def test_no_row_has_a_time(tmp_path, detector):
    """PyTorch's row ran in batches of 8 on threads of its own, the bundles' one by one: their times ranked the wrong way."""
    bundle = str(write_small_bundle(tmp_path / "small.edge"))
    colours(tmp_path / "photos", count=1)
    write_patches(tmp_path)
    for words in ((bundle, "--data", "photos"), (detector, "--data", "coco.json")):
        found = edgesmith("eval", *words)
        assert found.code == 0 and "ms" not in found.out.splitlines()[0], found.err
        (row,) = json.loads(edgesmith("eval", *words, "--json").out)["rows"]
        assert not [key for key in row if "ms" in key.split("_")]
