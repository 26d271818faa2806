"""Synthetic scenes: the same on every run, boxes that are exactly what shows, splits apart, files COCO's own code reads."""

import contextlib
import io
import subprocess
import sys
from hashlib import sha256

import cv2
import numpy as np
import pytest

from edgesmith.models import find
from edgesmith.models.fixtures import ground as scenes_ground
from edgesmith.models.fixtures import scenes
from edgesmith.models.fixtures import shapes as scenes_shapes
from edgesmith.models.fixtures.scenes import (
    CATEGORY_IDS,
    LEAST_BOX_PX,
    LEAST_SHOWN,
    SCENE_LABELS,
    SPLITS,
    arrange,
    scene,
)
from edgesmith.runtime.coco.annotations import read_coco

MANY = 40


def digest(*arrays: np.ndarray) -> str:
    return sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def things(count: int = MANY, size: tuple[int, int] = (256, 256)):
    return [arrange(np.random.default_rng([7, index]), size) for index in range(count)]


@pytest.mark.parametrize("split", SPLITS)
def test_a_scene_is_the_same_whatever_was_drawn_before(split):
    np.random.seed(1)
    first = scene(5, split, 128)
    scene(6, split, 128)
    np.random.seed(2)
    again = scene(5, split, 128)
    assert digest(*first) == digest(*again)
    assert digest(first[0]) != digest(scene(5, split, 128, seed=1)[0])


def test_a_scene_is_the_same_in_another_process():
    line = (
        "from hashlib import sha256; from edgesmith.models.fixtures.scenes import scene;"
        "print(sha256(b''.join(part.tobytes() for part in scene(3, 'held_out', 96))).hexdigest())"
    )
    run = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == digest(*scene(3, "held_out", 96))


def test_scenes_have_boxes_inside_the_picture_and_types_that_hold():
    seen = np.zeros(len(SCENE_LABELS), int)
    for index in range(MANY):
        picture, boxes, classes = scene(index, "calibration", (96, 160))
        assert picture.shape == (96, 160, 3) and picture.dtype == np.uint8
        assert boxes.shape == (len(classes), 4) and (boxes.dtype, classes.dtype) == (np.float32, np.int64)
        assert (boxes >= 0).all() and (boxes <= [160, 96, 160, 96]).all()
        assert len(boxes) == 0 or (boxes[:, 2:] - boxes[:, :2]).min() >= LEAST_BOX_PX
        seen += np.bincount(classes, minlength=len(seen))
    assert (seen > 0).all()
    assert find("damo_yolo_scenes").label_names == SCENE_LABELS == tuple(scenes_shapes.OUTLINES)


def test_a_box_is_tight_around_what_shows():
    for arranged in things():
        for thing in arranged:
            x1, y1, x2, y2 = thing.box
            inside = thing.visible[y1:y2, x1:x2]
            assert inside.sum() == thing.visible.sum()
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


def test_a_box_is_the_outline_where_nothing_hides_it():
    """Against the geometry, not the mask: corners of the polygon, and half a line's width around it."""
    judged = 0
    for arranged in things():
        for thing in arranged:
            points = np.concatenate(thing.contours)
            low, high = points.min(axis=0), points.max(axis=0)
            whole = (thing.visible == (thing.mask >= 128)).all() and low.min() > 4 and high.max() < 252
            if not whole:
                continue
            grown = thing.line_px / 2
            expected = [*(low - grown), *(high + grown)]
            # a sharp tip covers less than half of its last pixels; a wide line ends round or pointed there
            assert np.abs(np.array(thing.box) - expected).max() <= 2.5 + grown, (thing.box, expected)
            judged += 1
    assert judged > 50


def test_a_box_is_where_the_pixels_change():
    """A painted thing changes pixels up to the edges of its box and none beyond, but for a soft rim of one pixel."""
    for index, arranged in enumerate(things(15)):
        if not arranged:
            continue
        top = arranged[0]
        blank = np.full((256, 256, 3), 127, np.float32)
        painted = blank.copy()
        scenes._paint(np.random.default_rng(index), painted, top)
        changed = np.abs(painted - blank).max(axis=2) > 0
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        away = np.abs(found - top.box)
        # the rim reaches further along a tip that gets thinner than half a pixel
        assert away.max() <= 4 and np.median(away) <= 1


def test_what_hardly_shows_is_not_there():
    for arranged in things():
        covered = np.zeros((256, 256), bool)
        for thing in arranged:
            solid = thing.mask >= 128
            assert not (thing.visible & covered).any()
            assert thing.visible.sum() >= LEAST_SHOWN * max(solid.sum(), scenes_shapes.area(thing.contours))
            if thing.opacity == 1.0:
                covered |= solid
    assert sum(len(arranged) for arranged in things()) > 3 * MANY  # the rules leave enough


def test_splits_share_no_photograph_with_the_held_out_one():
    files = {
        split: {name for names in table.values() for name in names}
        for split, table in scenes_ground.PHOTOGRAPHS.items()
    }
    assert not files["held_out"] & (files["train"] | files["calibration"])
    assert all(len(scenes_ground.photographs(split)) == len(files[split]) for split in SPLITS)
    pictures = {digest(scene(index, split, 64)[0]) for split in SPLITS for index in range(20)}
    assert len(pictures) == 60


def test_without_photographs_the_ground_is_noise(monkeypatch):
    monkeypatch.setattr(scenes_ground.importlib.util, "find_spec", lambda name: None)
    scenes_ground.photographs.cache_clear()
    try:
        picture, boxes, _ = scene(0, "held_out", 128)
        assert picture.std() > 5 and len(boxes)
    finally:
        scenes_ground.photographs.cache_clear()


def test_coco_reads_what_is_written(tmp_path, capsys):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    scenes.main([str(tmp_path / "set"), "--count", "12", "--split", "held_out", "--size", "96x128"])
    path = tmp_path / "set" / "coco.json"
    assert str(path) in capsys.readouterr().out
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
        rows = [
            {"image_id": a["image_id"], "category_id": a["category_id"], "bbox": a["bbox"], "score": 1.0}
            for a in coco.dataset["annotations"]
        ]
        judge = COCOeval(coco, coco.loadRes(rows), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    assert judge.stats[0] == pytest.approx(1.0)  # the truth finds itself
    assert tuple(sorted(coco.getCatIds())) == CATEGORY_IDS and CATEGORY_IDS != tuple(range(1, 9))
    assert len(coco.getImgIds()) == len(list(path.parent.glob("*.png"))) == 12

    ours = read_coco(path, path.parent, SCENE_LABELS)
    for index, (file, truth) in enumerate(zip(ours.paths, ours.truths, strict=True)):
        picture, boxes, classes = scene(index, "held_out", (96, 128))
        assert np.array_equal(cv2.imread(str(file))[..., ::-1], picture)
        assert np.array_equal(truth.boxes, boxes) and np.array_equal(truth.classes, classes)
