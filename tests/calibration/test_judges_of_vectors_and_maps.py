"""What judges quantised features and segmenters, on answers whose distance is known by hand."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgesmith.calibration.judge.evaluation import Evaluation
from edgesmith.calibration.judge.features import MOST, FeaturesJudge, Vectors
from edgesmith.calibration.judge.segmentation import Places, SegmentationJudge
from edgesmith.calibration.pictures.images import open_data
from edgesmith.runtime.pictures.contract import ImageContract


class Pictures:
    """So many pictures, each of which holds its own number."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def batches(self, size: int, start: int = 0):
        for at in range(start, self.count, size):
            yield np.arange(at, min(at + size, self.count), dtype=np.float32).reshape(-1, 1, 1, 1)


def vectors(images: np.ndarray) -> np.ndarray:
    """(n, 2): along the first axis."""
    return np.stack([images.ravel() + 1, np.zeros(len(images))], axis=1).astype(np.float32)


def turned(images: np.ndarray) -> np.ndarray:
    """The last of four pictures is at right angles."""
    found = vectors(images)
    last = images.ravel() == 3
    found[last] = found[last][:, ::-1]
    return found


def test_features_lose_a_point_for_a_hundredth_of_the_mean_cosine():
    evaluation = Evaluation(Pictures(4), vectors, batch=3, view=Vectors())
    assert evaluation.expected.value == 100.0 and evaluation.metric.name == "cosine"
    figures = evaluation.evaluate(turned)
    assert figures.drop.points == pytest.approx(25.0) and figures.agreement == 75.0 and figures.cosine == 0.0
    assert math.isinf(evaluation.evaluate(vectors).sqnr_db)
    assert evaluation.evaluate(lambda images: vectors(images) * np.nan).score.value == -100.0
    assert any("hundredth" in note for note in evaluation.notes())


def test_of_large_maps_every_so_many_th_number_is_kept():
    kept = Vectors().keep(np.zeros((2, 8, 96, 96), np.float32), 0)
    assert len(kept) == 2 and MOST / 2 < len(kept[0]) <= MOST


def maps(images: np.ndarray) -> np.ndarray:
    """(n, 3, 2, 2): class 1 everywhere."""
    found = np.zeros((len(images), 3, 2, 2), np.float32)
    found[:, 1] = 1
    return found


def one_place_off(images: np.ndarray) -> np.ndarray:
    found = maps(images)
    found[:, 2, 0, 0] = 2
    return found


def test_maps_lose_a_point_for_a_point_of_places():
    evaluation = Evaluation(Pictures(4), maps, batch=3, view=Places())
    figures = evaluation.evaluate(one_place_off)
    assert figures.drop.points == 25.0 and figures.agreement == 75.0 and figures.score.metric == "same places"
    assert evaluation.evaluate(maps).drop.points == 0.0
    assert evaluation.evaluate(lambda images: maps(images) * np.nan).agreement == 0.0
    assert any("class 1 everywhere" in note for note in evaluation.notes())


def test_one_channel_is_judged_by_its_sign():
    sign = Evaluation(Pictures(2), lambda images: np.full((len(images), 1, 2, 2), 0.5, np.float32), view=Places())
    assert sign.evaluate(lambda images: np.full((len(images), 1, 2, 2), 0.1, np.float32)).agreement == 100.0
    assert sign.evaluate(lambda images: np.full((len(images), 1, 2, 2), -0.1, np.float32)).agreement == 0.0


def test_one_answer_for_all_is_doubted():
    assert FeaturesJudge().doubts(np.ones((4, 8)))[0].startswith("ONE ANSWER FOR ALL")
    assert not FeaturesJudge().doubts(np.random.default_rng(0).random((4, 8)))
    assert SegmentationJudge().doubts(np.repeat(maps(np.zeros(1)), 8, axis=0))[0].startswith("ONE ANSWER FOR ALL")
    assert not SegmentationJudge().doubts(one_place_off(np.zeros(8)))


def test_of_a_folder_with_masks_the_pictures_calibrate(tmp_path: Path):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for number in range(3):
            cv2.imwrite(str(tmp_path / kind / f"{number}.png"), np.full((8, 8, 3), 40 * number, np.uint8))
    data = open_data(tmp_path, ImageContract((8, 8)), labels=("a", "b"), truths=SegmentationJudge.truths)
    assert len(data.calibration) == 3 and data.calibration.labels is None
    everything = open_data(tmp_path, ImageContract((8, 8)), labels=("a", "b"), truths=FeaturesJudge.truths)
    assert len(everything.calibration) == 6 and everything.calibration.labels is None
