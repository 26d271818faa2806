"""``edgesmith run`` of a segmenter: shares of classes, the drawn picture, masks as files; the self-test."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from segmentation_bundle import painted, write_segmentation_bundle
from small_bundle import write_small_bundle

from edgesmith.runtime.backends.load import load
from edgesmith.runtime.bundle.report import write_report
from edgesmith.runtime.commands.cli import main
from edgesmith.runtime.errors import BundleRefused, UserMistake
from edgesmith.runtime.tasks.detection.draw import class_colour
from edgesmith.runtime.tasks.segmentation.draw import draw
from edgesmith.runtime.tasks.segmentation.masks import read_mask
from edgesmith.runtime.tasks.segmentation.segments import Segments

HALVES = np.array([[0, 1]]).repeat(48, axis=0).repeat(40, axis=1)  # (48, 80): not the shape of the input


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_segmentation_bundle(tmp_path / "s.edge")
    for name in ("a", "b"):
        cv2.imwrite(f"{name}.png", painted(HALVES)[..., ::-1])
    return tmp_path


def run(capsys, *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["run", *words])
    told = capsys.readouterr()
    return int(left.value.code or 0), told.out, told.err


def test_a_session_answers_with_the_class_of_each_pixel(here: Path):
    with load("s.edge", threads=1) as session:
        one, two = session(["a.png", painted(HALVES * 2)])
        assert isinstance(one, Segments) and one.image_size == (48, 80)
        assert (one.classes[:, :35] == 0).all() and (one.classes[:, 45:] == 1).all()
        assert [share.label for share in one.shares] == ["red", "green"]
        assert sum(share.share for share in one.shares) == 1.0 and one.unseen == 0.0
        assert {share.label for share in two.shares} == {"red", "blue"} and "%  blue" in str(two)
        assert all(row.passed for row in session.self_test())
        with pytest.raises(UserMistake, match="takes no score"):
            session("a.png", score=0.5)


def test_the_command_tells_shares_and_keeps_pictures_and_masks(here: Path, capsys):
    code, out, err = run(capsys, "s.edge", "a.png", "b.png", "--save", "drawn", "--masks", "classes")
    assert code == 0 and "%  red" in out and "saved drawn: 2 pictures, classes: 2 .png files" in err
    mask = read_mask("classes/b.png")
    assert mask.shape == (48, 80) and set(np.unique(mask)) == {0, 1}
    assert cv2.imread("drawn/a.png").shape == (48, 80, 3)
    code, out, _ = run(capsys, "s.edge", "a.png", "--masks", "one.png", "--json", "--top", "1")
    (told,) = json.loads(out)
    assert code == 0 and told["file"] == "one.png" and told["size"] == [48, 80]
    assert [one["label"] for one in told["classes"]] == ["red"] and told["classes"][0]["share"] == pytest.approx(
        0.5, abs=0.05
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("s.edge", "a.png", "--masks", "m.jpg"), "--masks m.jpg: the suffix"),
        (("s.edge", "a.png", "b.png", "--masks", "m.png"), "--masks m.png: one .png file is too few"),
        (("s.edge", "a.png", "--masks", "b.png"), "--masks b.png: that place is taken"),
        (("s.edge", "a.png", "--masks", "a.png", "--force"), "--masks would replace its own source"),
        (("s.edge", "a.png", "--masks", "x.png", "--save", "./x.png"), "--save and --masks name one place"),
        (("s.edge", "a.png", "--score", "0.5"), "takes no --score"),
        (("c.edge", "a.png", "--masks", "m.png"), "takes no --masks"),
    ],
)
def test_what_cannot_be_kept_is_told(here: Path, capsys, words: tuple[str, ...], says: str):
    write_small_bundle(here / "c.edge")
    code, out, err = run(capsys, *words)
    assert code == 2 and says in err and not out
    assert not Path("m.png").exists() and not Path("m.jpg").exists()


def test_colours_lie_over_the_picture_and_not_over_what_was_not_seen():
    picture = np.full((64, 64, 3), 100, np.uint8)
    found = np.zeros((64, 64), np.uint8)
    found[32:, :32] = 2
    found[32:, 32:] = 255
    drawn = draw(picture, Segments(found, ["red", "green", "blue"], 0.0, 0.0, 0.0))
    expected = np.array([0.45 * 100 + 0.55 * channel for channel in class_colour(2)])
    assert np.abs(drawn[40, 10] - expected).max() <= 1 and (drawn[40, 40] == 100).all()
    assert (picture == 100).all(), "a copy is drawn on"
    with pytest.raises(UserMistake, match="not of this picture"):
        draw(picture[:32], Segments(found, ["red", "green", "blue"], 0.0, 0.0, 0.0))


def test_a_bundle_whose_labels_are_too_few_or_whose_report_is_none_is_refused(tmp_path: Path):
    with (
        load(write_segmentation_bundle(tmp_path / "few.edge", labels=["red", "green"])) as session,
        pytest.raises(UserMistake, match="do not fit its labels"),
    ):
        session(painted(HALVES))
    with pytest.raises(BundleRefused, match="segmentation_report"):
        load(write_segmentation_bundle(tmp_path / "x.edge", segmentation_report={"pictures": "all"}))


def test_the_report_shows_pictures_of_the_bundle_and_nothing_else(tmp_path: Path):
    told = {"pictures": [{"file": "pictures/1.jpg", "name": "cat", "size": [8, 8], "same": 0.875},
                         {"file": "../1.jpg", "name": "dog", "size": [8, 8], "same": 1.0}]}  # fmt: skip
    rows = [{"stage": "bundle", "max_abs": 1e-7, "cosine": 1.0, "top1": 0.75, "passed": True}]
    page = write_report({"name": "s", "task": "segmentation", "parity": rows, "segmentation_report": told})
    assert "pictures/1.jpg" in page and "87.50%" in page and "../1.jpg" not in page
    assert "share of places with the same best class" in page and "top-5" not in page
