"""What somebody says that answers mean, and networks that lose their classifier."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from edgesmith.models import prepare
from edgesmith.models.doors.kinds import as_made, as_task
from edgesmith.models.registry import find, find_recorded
from edgesmith.runtime.errors import UserMistake

FILE = """
import torch
from torch import nn

class Tokens(nn.Module):
    def forward(self, x):
        return x.flatten(2).transpose(1, 2)[:, :5]

def tokens():
    return Tokens()

def vector(num_classes=4):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, num_classes))
"""
MAP = """
<ir_version: 10, opset_import: ["" : 18]>
net (float[1, 3, 32, 32] x) => (float[1, 3, 16, 16] y) { y = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(x) }
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch) -> str:
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    (tmp_path / "net.py").write_text(FILE, encoding="utf-8")
    return str(tmp_path / "net.py")


def test_a_network_of_timm_leaves_its_classifier_out():
    spec = find("timm:resnet10t")
    for without in (spec.with_classes(0), as_task(spec, "features")):
        assert (without.task, without.num_classes, without.labels()) == ("features", 0, [])
        made = prepare(without, "random", image_size=64)
        assert made.module(torch.zeros(2, 3, 64, 64)).shape == (2, 512)
    assert without.with_classes(7).task == "classification"


def test_an_unpooled_network_has_no_classifier():
    spec = find("timm:resnet10t", {"global_pool": ""})
    assert (spec.task, spec.num_classes) == ("features", 0)
    assert prepare(spec, "random", image_size=64).module(torch.zeros(1, 3, 64, 64)).shape == (1, 512, 2, 2)


def test_a_checkpoint_with_a_classifier_is_read_without_it(tmp_path: Path):
    import timm

    torch.manual_seed(0)
    theirs = timm.create_model("resnet10t", num_classes=7).eval()
    torch.save({"model": {f"module.{name}": value for name, value in theirs.state_dict().items()}}, tmp_path / "t.pth")
    made = prepare("timm:resnet10t", tmp_path / "t.pth", num_classes=0)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    theirs.reset_classifier(0)
    with torch.no_grad():
        assert torch.equal(made.module(image), theirs(image))
    assert any("classifier is left out: fc.weight, fc.bias" in note for note in made.notes)


@pytest.mark.parametrize("name", ["torchvision:resnet18", "smt"])
def test_others_cannot_do_without_and_say_so(name: str):
    with pytest.raises(UserMistake, match="no form without its classes(.|\n)*timm:NAME --num-classes 0"):
        find(name).with_classes(0)


def test_a_function_may_give_features(file: str):
    spec = as_task(find(f"{file}:vector"), "features")
    assert spec.task == "features" and spec.label_names == ()
    assert any("taken for features" in note for note in spec.assumed)
    assert not any("numbered classes" in note for note in spec.assumed)
    assert prepare(spec, "own").module(torch.zeros(1, 3, 224, 224)).shape == (1, 4)


def test_answers_that_say_nothing_are_features(file: str):
    assert as_task(find(f"{file}:tokens"), None).task == "features"


def test_an_onnx_file_may_be_a_segmenter_or_give_features(tmp_path: Path):
    path = str(tmp_path / "net.onnx")
    onnx.save(onnx.parser.parse_model(MAP), path)
    assert find(path).task == "tensors"
    told = as_task(find(path), "segmentation")
    assert (told.task, told.num_classes, told.contract.size) == ("segmentation", 3, (32, 32)) and told.fixed_size
    assert as_task(find(path), "features").num_classes == 0


@pytest.mark.parametrize(
    ("function", "task", "says"),
    [
        ("vector", "segmentation", "not made for segmentation(.|\n)*features or classification"),
        ("vector", "featurs", "no such task(.|\n)*--task features"),
        ("vector", "detection", "no such task"),
    ],
)
def test_a_task_that_it_cannot_be_of_is_told(file: str, function: str, task: str, says: str):
    with pytest.raises(UserMistake, match=says):
        as_task(find(f"{file}:{function}"), task)


def test_a_bundle_says_what_its_network_was_made_for():
    assert find_recorded({"model": "timm:resnet10t", "task": "features"}).num_classes == 0
    spec = find("torchvision:resnet18")
    assert as_made(spec, "features") is spec, "it cannot be, so nothing is asked of it"
