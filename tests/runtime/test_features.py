"""Features on the device: a summary, .npy files, the cosine of two pictures; pooled vectors, tokens and maps."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from edgesmith.runtime.backends.load import load
from edgesmith.runtime.bundle.bundle import write_bundle
from edgesmith.runtime.bundle.golden import golden_bytes
from edgesmith.runtime.bundle.report import write_report
from edgesmith.runtime.commands.cli import main
from edgesmith.runtime.commands.evaluation.evaluate import evaluate
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.preprocess import ImageContract
from edgesmith.runtime.tasks.features import Features, pooled

GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
small (float[1, 3, 8, 8] images) => (float[1, 3] features)
<int64[2] sides = {2, 3}> { features = ReduceMean<keepdims = 0>(images, sides) }
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).random((1, 3, 8, 8), dtype=np.float32)
    files = {
        "model.onnx": onnx.parser.parse_model(GRAPH).SerializeToString(),
        "labels.json": b"[]",
        "golden.npz": golden_bytes({"images": images}, {"features": images.mean(axis=(2, 3))}),
    }
    manifest = {
        "name": "small", "task": "features", "target": "cpu", "precision": "fp32", "num_classes": 0,
        "inputs": [{"name": "images", "dtype": "float32", "shape": [1, 3, 8, 8]}],
        "outputs": [{"name": "features", "dtype": "float32", "shape": [1, 3]}], "labels": "labels.json",
        "input_contract": ImageContract((8, 8), crop_fraction=1.0, mean=(0, 0, 0), std=(1, 1, 1)).to_json(),
    }  # fmt: skip
    write_bundle(tmp_path / "f.edge", files, manifest)
    for name, colour in (("red", (0, 0, 255)), ("blue", (255, 0, 0))):
        cv2.imwrite(f"{name}.png", np.full((8, 8, 3), colour, np.uint8))
    return tmp_path


def run(capsys, *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["run", *words])
    told = capsys.readouterr()
    return int(left.value.code or 0), told.out, told.err


def test_a_session_gives_features_and_how_near_two_pictures_are(here: Path):
    with load("f.edge", threads=1) as session:
        red, blue = session(["red.png", "blue.png"])
        np.testing.assert_allclose(red.values, [1, 0, 0], atol=1e-6)
        assert red.cosine(red) == pytest.approx(1.0) and red.cosine(blue) == pytest.approx(0.0) and red.norm == 1.0
        assert all(row.passed for row in session.self_test())
        with pytest.raises(UserMistake, match="takes no score"):
            session("red.png", score=0.5)


def test_the_command_summarises_them_and_keeps_one_file_a_picture(here: Path, capsys):
    code, out, err = run(capsys, "f.edge", "red.png", "blue.png", "--save", "kept")
    assert code == 0 and "3 features, norm 1, 0 to 1" in out and "saved kept: 2 .npy files" in err
    np.testing.assert_allclose(np.load("kept/blue.npy"), [0, 0, 1], atol=1e-6)
    code, out, _ = run(capsys, "f.edge", "red.png", "--save", "red.npy", "--json")
    (told,) = json.loads(out)
    assert code == 0 and told["shape"] == [3] and told["norm"] == 1.0 and told["file"] == "red.npy"
    assert np.load("red.npy").dtype == np.float32


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("f.edge", "red.png", "--save", "out.jpg"), "a file as .npy, or a folder"),
        (("f.edge", "red.png", "blue.png", "--save", "out.npy"), "one .npy file is too few"),
        (("f.edge", "red.png", "--masks", "out.png"), "takes no --masks"),
        (("f.edge", "red.png", "--top", "3"), "takes no --top"),
    ],
)
def test_what_features_are_not_is_told(here: Path, capsys, words: tuple[str, ...], says: str):
    code, out, err = run(capsys, *words)
    assert code == 2 and says in err and not out


def test_tokens_and_maps_are_averaged_to_one_vector():
    tokens = np.arange(24, dtype=np.float32).reshape(1, 4, 6)
    np.testing.assert_allclose(pooled(tokens), tokens.mean(axis=1))
    maps = np.arange(24, dtype=np.float32).reshape(1, 6, 2, 2)
    np.testing.assert_allclose(pooled(maps), maps.mean(axis=(2, 3)))
    vector = np.ones((2, 5), np.float32)
    np.testing.assert_array_equal(pooled(vector), vector)
    with pytest.raises(UserMistake, match="of two networks"):
        Features(tokens[0], 0.0, 0.0).cosine(Features(vector[0], 0.0, 0.0))


def test_a_device_does_not_judge_features_and_the_report_ranks_nothing(here: Path):
    with pytest.raises(UserMistake, match="does not detect or segment(.|\n)*sub-folders are the classes"):
        evaluate(["f.edge"], "photos")
    rows = [{"stage": "bundle", "max_abs": 1e-7, "cosine": 1.0, "passed": True}]
    page = write_report({"name": "f", "task": "features", "parity": rows})
    assert "top-1" not in page and "--save features.npy" in page
