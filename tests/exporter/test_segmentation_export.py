"""Segmenters through the commands: a folder of transformers, torchvision, a function; mean IoU, int8, masks in the report."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from command_line import edgesmith
from openvino_here import openvino_or_skip

import edgesmith as package
from edgesmith.exporter.tasks import rows
from edgesmith.exporter.tasks.known import find_export
from edgesmith.runtime.pictures.contract import ImageContract

NET = """
from torch import nn

def binary():
    layer = nn.Conv2d(3, 1, 4, stride=4)
    nn.init.constant_(layer.weight, 1.0)
    return layer

def three():
    inner = [layer for _ in range(2) for layer in (nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())]
    return nn.Sequential(nn.Conv2d(3, 16, 4, stride=4), nn.ReLU(), *inner, nn.Conv2d(16, 3, 1))
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    Path("net.py").write_text(NET, encoding="utf-8")
    (tmp_path / "set" / "images").mkdir(parents=True)
    (tmp_path / "set" / "masks").mkdir()
    for number in range(40):
        colours = np.random.default_rng(number).integers(0, 256, (5, 5, 3), np.uint8)
        picture = cv2.resize(colours, (60, 40), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(tmp_path / "set" / "images" / f"{number}.png"), picture)
    return tmp_path


def own_masks(bundle: str) -> None:
    """What the bundle itself sees, so that its mean IoU is 100."""
    with package.load(bundle) as session:
        for picture in Path("set/images").iterdir():
            cv2.imwrite(f"set/masks/{picture.name}", session(str(picture)).classes)


def manifest(bundle: str) -> dict:
    return json.loads(Path(bundle, "manifest.json").read_text(encoding="utf-8"))


def test_a_function_with_one_channel_tells_two_classes_apart(here: Path):
    made = edgesmith("export", "net.py:binary", "--image-size", "32", "--out", "b.edge")
    assert made.code == 0, made.err
    assert "--crop 1" in made.out, "the whole picture is seen, which is told"
    told = manifest("b.edge")
    assert (told["task"], told["num_classes"], told["outputs"][0]["shape"]) == ("segmentation", 1, [1, 1, 8, 8])
    assert told["input_contract"]["fit"] == "stretch" and told["parity"][0]["top1"] == 1.0
    assert told["segmentation_report"]["pictures"] and Path("b.edge/pictures/1.jpg").is_file()
    assert edgesmith("test", "b.edge").code == 0
    cv2.imwrite("white.png", np.full((30, 50, 3), 255, np.uint8))
    (answer,) = json.loads(edgesmith("run", "b.edge", "white.png", "--json").out)
    assert [(one["index"], one["share"]) for one in answer["classes"]] == [(1, 1.0)]


@pytest.mark.slow
def test_a_function_is_quantised_and_judged_on_masks(here: Path):
    for more in ((), ("--precision", "int8", "--data", "set")):
        out = "q.edge" if more else "n.edge"
        made = edgesmith("export", "net.py:three", "--image-size", "32", *more, "--out", out)
        assert made.code == 0, made.err
        assert edgesmith("test", out).code == 0
    accuracy = manifest("q.edge")["quantisation"]["accuracy"]
    assert accuracy["reference"]["metric"] == "same places" and accuracy["agreement"] > 90 and accuracy["sqnr_db"] > 20
    own_masks("n.edge")
    judged = json.loads(edgesmith("eval", "n.edge", "q.edge", "--data", "set", "--json").out)
    assert judged["rows"][0]["miou"] == 100.0 and 80 < judged["rows"][1]["miou"] <= 100
    assert edgesmith("compare", "n.edge", "q.edge", "-p", "int8").code == 0
    assert edgesmith("bench", "n.edge", "--model", "net.py:three", "--against", "eager", "--rounds", "2").code == 0


@pytest.mark.slow
def test_a_folder_of_transformers_answers_as_transformers_does(here: Path):
    import transformers

    torch.manual_seed(0)
    names = {0: "road", 1: "sky", 2: "tree"}
    config = transformers.SegformerConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 24, 32], num_attention_heads=[1, 2, 3, 4], decoder_hidden_size=16,
        id2label=names,
    )  # fmt: skip
    network = transformers.SegformerForSemanticSegmentation(config).eval()
    with torch.no_grad():
        for parameter in network.decode_head.classifier.parameters():
            parameter.mul_(50)  # random ones hardly tell the classes apart
    network.save_pretrained("net")
    processor = {"image_processor_type": "SegformerImageProcessor", "do_resize": True, "size": {"height": 64, "width": 64},
                 "resample": 2, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
                 "image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # fmt: skip
    Path("net/preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    made = edgesmith("export", "hf:net", "--out", "s.edge")
    assert made.code == 0, made.err
    theirs = transformers.SegformerImageProcessor.from_pretrained("net")
    from PIL import Image

    picture = Image.open("set/images/0.png").convert("RGB")
    with torch.no_grad():
        answer = network(**theirs(picture, return_tensors="pt"))
    (expected,) = theirs.post_process_semantic_segmentation(answer, target_sizes=[picture.size[::-1]])
    with package.load("s.edge") as session:
        found = session("set/images/0.png")
        assert list(found.labels) == list(names.values())
        assert (found.classes == expected.numpy()).mean() > 0.995, "pixels between two classes may fall on either side"
        assert len(np.unique(found.classes)) > 1
        assert all(row.passed for row in session.self_test())


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cpu", "openvino"])
def test_a_network_of_torchvision(here: Path, target: str):
    if target == "openvino":
        openvino_or_skip()
    words = ("--image-size", "64", "--num-classes", "4", "--target", target)
    made = edgesmith("export", "torchvision:lraspp_mobilenet_v3_large", *words, "--out", "t.edge")
    assert made.code == 0, made.err
    assert manifest("t.edge")["outputs"][0]["shape"] == [1, 4, 64, 64]
    assert edgesmith("test", "t.edge").code == 0
    own_masks("t.edge")
    row = json.loads(edgesmith("eval", "t.edge", "--data", "set", "--json").out)["rows"][0]
    assert row["miou"] == 100.0


def test_an_onnx_file_is_a_segmenter_where_somebody_says_so(here: Path):
    import onnx

    graph = """
    <ir_version: 10, opset_import: ["" : 18]>
    net (float[1, 3, 32, 32] x) => (float[1, 3, 8, 8] y) { y = AveragePool<kernel_shape = [4, 4], strides = [4, 4]>(x) }
    """
    onnx.save(onnx.parser.parse_model(graph), "net.onnx")
    made = edgesmith("export", "net.onnx", "--task", "segmentation", "--out", "o.edge")
    assert made.code == 0, made.err
    assert edgesmith("test", "o.edge").code == 0
    assert edgesmith("compare", "o.edge", "net.onnx").code == 0
    (told,) = json.loads(edgesmith("run", "o.edge", "set/images/0.png", "--json").out)
    assert told["size"] == [40, 60] and sum(one["share"] for one in told["classes"]) == pytest.approx(1.0)


def test_places_are_ranked_and_pictures_of_a_map_are_not():
    judge = np.zeros((1, 3, 2, 2))
    judge[0, 1] = 1
    other = judge.copy()
    other[0, 2, 0, 0] = 2
    row = rows.agreement("bundle", "x", "seeded", (1, 3, 8, 8), judge, other, "fp32")
    assert row.top1 == 0.75 and row.top5 is None and "top5" not in row.to_json() and not row.passed
    assert rows.agreement("bundle", "x", "seeded", (1, 3, 8, 8), judge, other, "fp32", classes=False).top1 is None


def test_a_contract_that_says_something_is_kept():
    task = find_export("segmentation")
    said = ImageContract((32, 32), crop_fraction=0.9)
    assert task.fitted(said, {}) == said
    assert task.fitted(ImageContract((32, 32)), {}).crop_fraction == 1.0
