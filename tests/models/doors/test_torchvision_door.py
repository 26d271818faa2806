"""A model of torchvision: the metadata of its weights becomes the contract."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision import models

from edgesmith.models import prepare
from edgesmith.models.registry import find
from edgesmith.runtime.errors import UserMistake

NAMES = [
    "resnet18",
    "mobilenet_v3_small",
    "squeezenet1_1",
    "vit_b_16",
    "swin_t",
    "inception_v3",
    "resnet50.IMAGENET1K_V1",
]


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_prepared_as_the_weights_say(name: str):
    spec = find(f"torchvision:{name}")
    plain, _, tag = name.partition(".")
    sets = models.get_model_weights(plain)
    weights = sets[tag] if tag else sets.DEFAULT
    said, contract = weights.transforms(), spec.contract
    assert contract.size == (said.crop_size[0], said.crop_size[0])
    assert math.floor(contract.size[0] / contract.crop_fraction) == said.resize_size[0]
    assert (contract.mean, contract.std) == (tuple(said.mean), tuple(said.std))
    assert (contract.resize, contract.antialias) == (said.interpolation.value, said.antialias)
    assert spec.labels() == weights.meta["categories"]
    assert spec.parameters == weights.meta["num_params"] or "inception" in name
    assert spec.pretrained == weights.url


def test_a_network_answers_with_one_tensor_under_torchvisions_names():
    made = prepare("torchvision:googlenet", "random", num_classes=4)
    assert made.module(torch.zeros(1, 3, 224, 224)).shape == (1, 4)
    theirs = models.googlenet(num_classes=4, init_weights=False).state_dict()
    assert made.module.state_dict().keys() == theirs.keys()


def test_a_fine_tune_of_mobilenet_is_read(tmp_path):
    torch.manual_seed(0)
    state = models.mobilenet_v3_small(num_classes=6).state_dict()
    torch.save({"model": {f"module.{name}": value for name, value in state.items()}, "epoch": 1}, tmp_path / "net.pth")
    made = prepare("torchvision:mobilenet_v3_small", tmp_path / "net.pth", num_classes=6)
    assert all(torch.equal(value, state[name]) for name, value in made.module.state_dict().items())


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("torchvision:resnt18", "resnet18"),
        ("torchvision:resnet50.V3", "IMAGENET1K_V2"),
        ("torchvision:fasterrcnn_resnet50_fpn", "another task"),
    ],
)
def test_what_torchvision_does_not_have_is_told(word: str, says: str):
    with pytest.raises(UserMistake, match=says):
        find(word)
