"""The committed fixtures have the accuracy that is written beside them, through the path a user takes."""

import json

import numpy as np
import pytest
import torch

from edgesmith.models import families, find, prepare
from edgesmith.models.fixtures.digits import digits
from edgesmith.models.fixtures.fixtures import TRAINED
from edgesmith.runtime.pictures.preprocess import preprocess

RECORDS = {
    name: record for name, record in json.loads((TRAINED / "accuracy.json").read_text()).items() if "accuracy" in record
}  # the detector's line has figures of its own, test_trained_detector.py


def test_every_family_of_classifiers_has_a_fixture():
    assert set(RECORDS) == {f"{family}_mnist" for family in families("classification")}
    assert all(record["accuracy"] >= 0.93 for record in RECORDS.values())
    assert all((TRAINED / f"{name}.safetensors").stat().st_size <= 3e6 for name in RECORDS)


@pytest.mark.parametrize("name", RECORDS)
def test_the_recorded_accuracy_is_the_accuracy(name):
    prepared = prepare(name, weights=TRAINED / f"{name}.safetensors")
    assert prepared.sha256 == RECORDS[name]["sha256"]
    pictures, labels = digits("held_out")
    assert len(labels) == RECORDS[name]["held_out"] == 1000
    correct = 0
    with torch.inference_mode():
        for start in range(0, 1000, 250):
            images = preprocess(list(pictures[start : start + 250]), find(name).contract)
            answers = prepared.module(torch.from_numpy(images)).argmax(1).numpy()
            correct += int((answers == labels[start : start + 250]).sum())
    assert abs(correct - RECORDS[name]["correct"]) <= 2  # digits on the edge may fall otherwise on another processor


def test_the_split_is_fixed_and_apart():
    train, held_out = digits("train"), digits("held_out")
    assert train[0].shape == (4000, 28, 28, 3) and held_out[0].shape == (1000, 28, 28, 3)
    assert train[0].dtype == np.uint8 and train[1].dtype == np.int64
    seen = {picture.tobytes() for picture in train[0]}
    assert sum(picture.tobytes() in seen for picture in held_out[0]) == 0
    assert np.bincount(held_out[1]).min() > 70
