"""What an export puts into golden.npz can tell a right graph from a wrong one, or a note says that it cannot."""

from types import SimpleNamespace

import numpy as np
import pytest

from edgesmith.exporter.bundle.golden import golden_images, golden_picture
from edgesmith.exporter.tasks.known import find_export
from edgesmith.runtime.pictures.contract import ImageContract
from edgesmith.runtime.session.pixels import pixel_row, prepared
from edgesmith.runtime.tasks.detection.detection import DetectionRule

SIDE = 8
RULE = DetectionRule("runtime", 0.5, 0.6)


class Judge:
    """Scores are the mean of a picture, so what it holds is known by hand."""

    def __init__(self, **inputs):
        self._inputs = inputs

    def inputs(self, shape):
        return self._inputs

    def answer(self, kind, images, shape):
        scores = images.mean(axis=(1, 2, 3))
        return np.concatenate([np.zeros((len(images), 1, 4)), scores[:, None, None]], axis=2)


def plan(precision="fp32", batch=1):
    shapes = SimpleNamespace(opt=(batch, 3, SIDE, SIDE))
    return SimpleNamespace(
        shapes=shapes,
        task=find_export("detection"),
        precision=precision,
        rule=RULE,
        contract=ImageContract((SIDE, SIDE)),
    )


def pictures(*levels):
    return np.stack([np.full((3, SIDE, SIDE), level, np.float32) for level in levels])


def test_pictures_with_something_in_them_come_first():
    images, notes = golden_images(plan(), Judge(seeded=pictures(0.0), pictures=pictures(0.1, 0.9, 0.2, 0.8, 0.7)))
    assert images.mean(axis=(1, 2, 3)) == pytest.approx([0.9, 0.8]) and notes == []


def test_numbers_do_where_no_picture_shows_anything():
    judge = Judge(seeded=pictures(0.1, 0.9), pictures=pictures(0.1, 0.2))
    images, notes = golden_images(plan(), judge)
    assert images.mean(axis=(1, 2, 3)) == pytest.approx([0.9, 0.1]) and notes == []


def test_ranges_that_were_fitted_to_pictures_are_tested_on_pictures_and_the_note_is_loud():
    judge = Judge(seeded=pictures(0.9), pictures=pictures(0.1, 0.2))
    images, (note,) = golden_images(plan("int8"), judge)
    assert images.mean(axis=(1, 2, 3)) == pytest.approx([0.1, 0.2])
    assert "PyTorch finds nothing in the golden pictures" in note and "--data" in note


def test_a_whole_batch_is_filled():
    images, _ = golden_images(plan(batch=4), Judge(pictures=pictures(0.1, 0.9)))
    assert images.mean(axis=(1, 2, 3)) == pytest.approx([0.9, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (224, 224), (640, 384), (1280, 1280)])
def test_the_golden_picture_sees_every_part_of_the_contract(size):
    from dataclasses import replace

    picture = golden_picture(size)
    assert picture.shape[0] != size[0] and picture.shape[1] != size[1] and picture.nbytes < 700_000
    contract = ImageContract(size)
    there = prepared(picture, contract)
    assert there.shape[1] <= 64 and there.shape[2] <= 64
    assert pixel_row(picture, there, contract).passed
    changes = (
        {"scale": 1 / 250}, {"colour": "BGR"}, {"resize": "bilinear"}, {"crop_fraction": 0.75}, {"fit": "stretch"},
        {"fit": "letterbox"}, {"mean": (0.5, 0.456, 0.406)}, {"std": (0.229, 0.2, 0.225)},
    )  # fmt: skip
    for change in changes:
        assert not pixel_row(picture, there, replace(contract, **change)).passed, change
