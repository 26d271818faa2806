"""A model of timm: what its pretrained_cfg says becomes the contract, and checkpoints of any wrapping fill its network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.data import resolve_data_config

from edgesmith.models import prepare
from edgesmith.models.registry import find
from edgesmith.runtime.errors import UserMistake

NARROW = {"depth": 2, "embed_dim": 48, "num_heads": 3}
NAMES = [
    "resnet18", "resnet18.tv_in1k", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "mobilenetv3_small_050",
    "convnext_atto", "beit_base_patch16_224.in22k_ft_in22k", "levit_128s", "edgenext_xx_small", "vit_tiny_patch16_224.augreg_in21k",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_prepared_as_timms_own_evaluation_does(name: str):
    spec = find(f"timm:{name}")
    config = timm.get_pretrained_cfg(name)
    said = resolve_data_config(pretrained_cfg=config.to_dict(), use_test_size=True)
    contract = spec.contract
    assert contract.size == tuple(said["input_size"][1:])
    assert (contract.mean, contract.std) == (tuple(said["mean"]), tuple(said["std"]))
    assert (contract.resize, contract.crop_fraction) == (said["interpolation"], said["crop_pct"])
    assert contract.fit == {"center": "crop", "border": "letterbox", "squash": "stretch"}[said["crop_mode"]]
    assert contract.scale == 1 / 255 and contract.antialias and contract.colour == "RGB"


@pytest.mark.parametrize("name", NAMES[:6])
def test_the_facts_are_those_of_the_network(name: str):
    spec = find(f"timm:{name}")
    network = timm.create_model(name)
    assert spec.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert spec.num_classes == network.num_classes and spec.task == "classification"
    assert network.get_classifier() is network.get_submodule(spec.classifier[0])


@pytest.mark.parametrize(
    ("name", "convolutional"),
    [
        ("resnet18", True), ("mobilenetv3_small_050", True), ("vit_tiny_patch16_224", False), ("convnext_tiny", False),
        ("mobileone_s1", True),  # each of its blocks has a place for attention, with nothing in it
        ("mobilevit_xxs", False),
    ],
)  # fmt: skip
def test_what_is_made_of_convolutions_takes_the_int8_form_for_them(name: str, convolutional: bool):
    assert find(f"timm:{name}").convolutional == convolutional


def test_imagenets_names_are_those_of_a_thousand_only():
    assert find("timm:resnet18").labels()[0].startswith("tench")
    assert find("timm:vit_tiny_patch16_224.augreg_in21k").labels()[21842] == "class 21842"


def test_a_network_without_a_classifier_is_one_for_features_until_it_gets_classes():
    spec = find("timm:eva02_tiny_patch14_224")
    assert (spec.task, spec.num_classes) == ("features", 0)
    assert spec.with_classes(7).task == "classification"
    assert prepare(spec, "random", num_classes=7).module(torch.zeros(1, 3, 224, 224)).shape == (1, 7)


def test_a_trunk_that_a_classifier_wraps_is_read_as_the_network_with_the_classifier(tmp_path: Path):
    small = {**NARROW, "out_features": 32}
    trained = timm.create_model(
        "deepseek_vit_412m", num_classes=7, **small
    )  # encoder.* and head.*; without one: blocks.*
    torch.save(trained.state_dict(), tmp_path / "tuned.pth")
    made = prepare(find("timm:deepseek_vit_412m", small), tmp_path / "tuned.pth", num_classes=7, image_size=126)
    assert torch.equal(made.module.state_dict()["head.weight"], trained.head.weight)


def test_arguments_make_a_network_of_ones_own_widths():
    spec = find("timm:vit_tiny_patch16_224", NARROW)
    network = timm.create_model("vit_tiny_patch16_224", **NARROW)
    assert spec.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert dict(spec.asked) == NARROW


def test_families_take_arguments_too():
    spec = find("davit", {"depths": (1, 1, 1, 1), "embed_dims": (48, 96, 192, 384)})
    assert spec.parameters < find("davit").parameters / 4
    with pytest.raises(UserMistake, match="did you mean depths"):
        find("davit", {"depht": (1, 1, 1, 1)})


@pytest.mark.parametrize(
    ("word", "arguments", "says"),
    [
        ("timm:resnt18", {}, "resnet18"),
        ("timm:resnet18.fb_in1k", {}, "a1_in1k"),
        ("timm:vit_tiny_patch16_224", {"dept": 2}, "did you mean depth"),
        ("timm:vit_tiny_patch16_224", {"embed_dim": 50, "num_heads": 3}, "go together"),
        ("timm:resnet18", {"pretrained": True}, "--weights"),
        ("timm:resnet18", {"num_classes": 7}, "--num-classes"),
        ("timm:resnet18", {"checkpoint_path": "net.pth"}, "--weights"),
    ],
)
def test_what_timm_does_not_have_is_told(word: str, arguments: dict[str, Any], says: str):
    with pytest.raises(UserMistake, match=says):
        find(word, arguments)


def test_a_size_that_the_network_cannot_see_is_told_with_one_that_it_can():
    assert find("timm:resnet18").check_size(96) == (96, 96)
    assert find("timm:vit_tiny_patch16_224", NARROW).check_size((256, 192)) == (256, 192)
    with pytest.raises(UserMistake, match="cannot see this image size") as caught:
        find("timm:levit_128s").check_size(250)
    height, width = map(int, caught.value.attempt.removeprefix("--image-size ").split())
    assert find("timm:levit_128s").check_size((height, width)) == (height, width)


@pytest.fixture(scope="module")
def seven() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    state: dict[str, torch.Tensor] = timm.create_model("resnet18", num_classes=7).state_dict()
    return state


def _shifted(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value + 1 if value.is_floating_point() else value for name, value in state.items()}


WRAPPINGS: dict[str, Callable[[dict[str, torch.Tensor]], Any]] = {
    "plain": dict,
    "module.": lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 3},
    "_orig_mod.": lambda state: {"model": {f"_orig_mod.{name}": value for name, value in state.items()}},
    "EMA": lambda state: {
        "model": {f"_orig_mod.{name}": value for name, value in _shifted(state).items()},
        "model_ema": {f"module.{name}": value for name, value in state.items()},
    },
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_fine_tune_with_seven_classes_is_read_in_any_wrapping(wrapping: str, seven, tmp_path: Path):
    file = tmp_path / "tuned.pth"
    torch.save(WRAPPINGS[wrapping](seven), file)
    made = prepare("timm:resnet18", file, num_classes=7)
    assert made.averaged == (wrapping == "EMA")
    assert all(torch.equal(value, seven[name]) for name, value in made.module.state_dict().items())


def test_the_number_of_classes_is_told_where_it_was_not_said(seven, tmp_path: Path):
    torch.save(dict(seven), tmp_path / "tuned.pth")
    with pytest.raises(UserMistake, match="--num-classes 7"):
        prepare("timm:resnet18", tmp_path / "tuned.pth")


def test_weights_of_another_network_are_refused(seven, tmp_path: Path):
    torch.save(dict(seven), tmp_path / "tuned.pth")
    with pytest.raises(UserMistake, match="does not fit timm:resnet34") as caught:
        prepare("timm:resnet34", tmp_path / "tuned.pth", num_classes=7)
    assert "tensors agree" in caught.value.attempt
    with pytest.raises(UserMistake, match="does not fit timm:mobilenetv3_small_050"):
        prepare("timm:mobilenetv3_small_050", tmp_path / "tuned.pth", num_classes=7)


def test_a_folder_of_save_for_hf_says_the_arguments_of_its_network(tmp_path: Path):
    torch.manual_seed(4)
    trained = timm.create_model("vit_tiny_patch16_224", num_classes=5, **NARROW)
    timm.models.save_for_hf(trained, tmp_path / "mine", model_args=NARROW)
    made = prepare("timm:vit_tiny_patch16_224", tmp_path / "mine")
    assert made.num_classes == 5
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    assert torch.equal(made.module(image), trained.eval()(image))


def test_positions_are_resampled_for_another_size_as_timm_does(tmp_path: Path):
    torch.manual_seed(2)
    trained = timm.create_model("vit_tiny_patch16_224", **NARROW)
    torch.save(trained.state_dict(), tmp_path / "vit.pth")
    spec = find("timm:vit_tiny_patch16_224", NARROW)
    made = prepare(spec, tmp_path / "vit.pth", image_size=192)
    theirs = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=192,
        pretrained=True,
        pretrained_cfg_overlay={"file": str(tmp_path / "vit.pth")},
        **NARROW,
    )
    image = torch.randn(1, 3, 192, 192, generator=torch.Generator().manual_seed(0))
    assert torch.equal(made.module(image), theirs.eval()(image))
    assert any("resampled for 192x192" in note for note in made.notes)


def test_pretrained_weights_come_from_the_hub_of_the_tag(monkeypatch, tmp_path: Path):
    """The hub's file stands in: no network is asked."""
    from safetensors.torch import save_file

    asked = []
    torch.manual_seed(3)
    state = timm.create_model("resnet18").state_dict()
    save_file(state, tmp_path / "model.safetensors")

    def hub(repository: str, file: str, **_: Any) -> str:
        asked.append((repository, file))
        return str(tmp_path / file)

    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub)
    made = prepare("timm:resnet18", "pretrained")
    assert asked == [("timm/resnet18.a1_in1k", "model.safetensors")]
    assert made.source == "timm:resnet18.a1_in1k"
    assert all(torch.equal(value, state[name]) for name, value in made.module.state_dict().items())


def test_older_repositories_have_pytorchs_own_format_only(monkeypatch, tmp_path: Path):
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    asked = []
    state = timm.create_model("resnet18").state_dict()
    torch.save(state, tmp_path / "pytorch_model.bin")

    def hub(repository: str, file: str, **_: Any) -> str:
        asked.append(file)
        if file.endswith(".safetensors"):
            raise EntryNotFoundError(file)
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub)
    prepare("timm:resnet18", "pretrained")
    assert asked == ["model.safetensors", "pytorch_model.bin"]


def test_weights_at_an_address_are_downloaded_once(monkeypatch, tmp_path: Path):
    """torchvision's weights have an address; a file of this disk stands in for it."""
    from torchvision import models

    state = models.shufflenet_v2_x0_5().state_dict()
    torch.save(state, tmp_path / "there.pth")
    fetched = []

    def stand_in(url: str, place: str, **_: Any) -> None:
        fetched.append(url)
        Path(place).write_bytes((tmp_path / "there.pth").read_bytes())

    monkeypatch.setattr(torch.hub, "download_url_to_file", stand_in)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    for _ in range(2):
        made = prepare("torchvision:shufflenet_v2_x0_5", "pretrained")
    assert fetched == [models.get_model_weights("shufflenet_v2_x0_5").DEFAULT.url] == [made.source]
    assert all(torch.equal(value, state[name]) for name, value in made.module.state_dict().items())
