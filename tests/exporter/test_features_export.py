"""Networks without a classifier through the commands: exported, kept, compared, judged by neighbours, quantised."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import edgesmith

from edgesmith.exporter.tasks.features.evaluate import neighbours

SMALL = ("--model-arg", "depth=2", "--num-classes", "0")
SIZED = ("--image-size", "64", "--model-arg", "patch_size=8")


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for number in range(40):
        colours = np.random.default_rng(number).integers(0, 256, (5, 5, 3), np.uint8)
        colours[..., 0] //= 1 + 7 * (number % 2)  # half of them without blue
        folder = tmp_path / "photos" / ("blue", "brown")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(colours, (40, 40), interpolation=cv2.INTER_NEAREST))
    return tmp_path


def test_neighbours_vote_by_cosine_and_leave_the_picture_itself_out():
    """Two directions of three vectors each, and one whose class is that of the other direction."""
    vectors = np.array([[1, 0], [1, 0.1], [2, 0.1], [0, 1], [0.1, 1], [0.1, 3], [0, 2]], float)
    told = neighbours(vectors, np.array([0, 0, 0, 1, 1, 1, 0]))
    assert told["top1"] == pytest.approx(600 / 7)
    assert neighbours(vectors[:2], np.array([0, 1]))["top1"] == 0.0, "it does not vote for itself"


@pytest.mark.slow
def test_a_network_of_timm_without_its_classifier(here: Path):
    made = edgesmith("export", "vit_tiny_patch16_224", *SMALL, *SIZED, "--out", "f.edge")
    assert made.code == 0, made.err
    manifest = json.loads(Path("f.edge/manifest.json").read_text(encoding="utf-8"))
    assert (manifest["task"], manifest["num_classes"], manifest["outputs"][0]["shape"]) == ("features", 0, [1, 192])
    assert "top1" not in manifest["parity"][0]
    assert edgesmith("test", "f.edge").code == 0
    assert "192 features" in edgesmith("run", "f.edge", "photos/blue/0.png", "--save", "v.npy").out
    assert np.load("v.npy").shape == (192,)
    assert edgesmith("bench", "f.edge", "--against", "eager", "--rounds", "2").code == 0
    quantised = ("--precision", "int8", "--data", "photos", "--max-drop", "5", "--out", "q.edge")
    made = edgesmith("export", "vit_tiny_patch16_224", *SMALL, *SIZED, *quantised)
    assert made.code == 0, made.err
    accuracy = json.loads(Path("q.edge/manifest.json").read_text(encoding="utf-8"))["quantisation"]["accuracy"]
    assert accuracy["reference"]["metric"] == "cosine" and accuracy["quantised"]["value"] > 95
    assert edgesmith("test", "q.edge").code == 0
    compared = edgesmith("compare", "f.edge", "q.edge", "-p", "int8")
    assert compared.code == 0 and "cosine" in compared.out
    judged = json.loads(edgesmith("eval", "f.edge", "q.edge", "--data", "photos", "--json").out)
    assert [row["pictures"] for row in judged["rows"]] == [40, 40] and judged["rows"][0]["top1"] > 80
    assert judged["rows"][1]["least_cosine"] > 0.95
    alone = edgesmith("eval", "f.edge", "--data", "photos/blue")
    assert alone.code == 2 and "Features alone are not right or wrong" in alone.err
    assert edgesmith("eval", "f.edge", "--data", "photos", "--score", "0.5").code == 2
    assert edgesmith("eval", "f.edge", "--data", "photos", "--ignore-label", "0").code == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("torchvision:resnet18", "--num-classes", "0"), "no form without its classes"),
        (("timm:resnet10t", "--num-classes", "-1"), "not a number of classes"),
        (("timm:resnet10t", "--task", "segmentation"), "not made for segmentation"),
        (("timm:resnet10t", "--task", "feature"), "--task features"),
    ],
)
def test_what_has_no_features_is_told(here: Path, words: tuple[str, ...], says: str):
    answer = edgesmith("export", *words, "--dry-run")
    assert answer.code == 2 and says in answer.err
