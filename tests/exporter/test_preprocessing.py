"""Pictures are prepared as the checkpoint records it, or as a flag says, from the plan to the device; and it is told."""

import argparse
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from timm.data import create_transform, resolve_data_config

from edgesmith import export
from edgesmith.exporter.plan.plan import make_plan
from edgesmith.models import find
from edgesmith.models.fixtures.digits import digits
from edgesmith.models.fixtures.fixtures import TRAINED
from edgesmith.models.loading import prepare
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.preprocess import preprocess

CORRECT = json.loads((TRAINED / "accuracy.json").read_text())["vit_ggem_mnist"]["correct"]  # of 1000
PREPARED = {"mean 0, std 1": ([0.0] * 3, [1.0] * 3), "halves": ([0.5] * 3, [0.5] * 3), "one": ([0.3], [0.2])}


def folded(mean, std):
    """The trained fixture, changed so that it answers pictures of another mean and std as it did those of its own."""
    state, contract = load_file(TRAINED / "vit_ggem_mnist.safetensors"), find("vit_ggem_mnist").contract
    weight = state["patch_embed.proj.weight"].double()  # (C', 3, 7, 7), without padding, so that this is exact
    own_mean, own_std, mean, std = (
        torch.tensor(values, dtype=torch.float64).expand(3) for values in (contract.mean, contract.std, mean, std)
    )
    state["patch_embed.proj.bias"] += (weight * ((mean - own_mean) / own_std)[:, None, None]).sum(dim=(1, 2, 3)).float()
    state["patch_embed.proj.weight"] = (weight * (std / own_std)[:, None, None]).float()
    return state


def correct(plan):
    module = prepare(plan.spec, plan.weights, plan.num_classes, plan.contract.size, ema=plan.ema).module
    pictures, labels = digits("held_out")
    with torch.inference_mode():
        answers = module(torch.from_numpy(preprocess(list(pictures), plan.contract))).argmax(dim=1).numpy()
    return int((answers == labels).sum())


def records(kind, path, mean, std):
    """Write the checkpoint with its record of one kind; what --weights says."""
    state = folded(mean, std)
    said = {"mean": mean, "std": std}
    if kind == "args":
        torch.save({"state_dict": state, "args": argparse.Namespace(**said, img_size=28)}, path / "last.pth.tar")
        return path / "last.pth.tar"
    if kind in ("pretrained_cfg", "default_cfg"):
        torch.save({"state_dict": state, kind: {**said, "input_size": (3, 28, 28)}}, path / "last.pth.tar")
        return path / "last.pth.tar"
    save_file(state, path / "model.safetensors")
    if kind == "config.json":
        text = json.dumps({"architecture": "vit_tiny_patch16_224", "num_classes": 10, "pretrained_cfg": said})
    elif kind == "preprocessor_config.json":
        text = json.dumps({"image_processor_type": "ViTImageProcessor", "image_mean": mean, "image_std": std})
    else:
        text = "model: vit\nlr: 1.0e-05\n" + "".join(
            f"{k}:\n" + "".join(f"- {x}\n" for x in v) for k, v in said.items()
        )
    (path / kind).write_text(text)
    return path


@pytest.mark.parametrize("which", PREPARED)
@pytest.mark.parametrize(
    "kind", ["args", "pretrained_cfg", "default_cfg", "config.json", "preprocessor_config.json", "args.yaml"]
)
def test_what_is_recorded_keeps_the_accuracy(tmp_path, which, kind):
    plan = make_plan("vit_ggem_mnist", str(records(kind, tmp_path, *PREPARED[which])), out=tmp_path / "x.edge")
    assert abs(correct(plan) - CORRECT) <= 2
    assert any("mean" in note and "vit_ggem usually: mean 0.13 0.13 0.13" in note for note in plan.notes)


@pytest.mark.parametrize("which", PREPARED)
def test_a_flag_keeps_it_where_nothing_is_recorded(tmp_path, which):
    mean, std = PREPARED[which]
    save_file(folded(mean, std), tmp_path / "x.safetensors")
    plan = make_plan("vit_ggem_mnist", str(tmp_path / "x.safetensors"), out=tmp_path / "x.edge", mean=mean, std=std)
    assert abs(correct(plan) - CORRECT) <= 2
    without = make_plan("vit_ggem_mnist", str(tmp_path / "x.safetensors"), out=tmp_path / "x.edge")
    assert correct(without) < CORRECT - 100, "otherwise nothing was tested"


def test_a_flag_wins_over_what_is_recorded_and_that_is_told(tmp_path):
    said = {"mean": [0.9] * 3, "std": [0.9] * 3, "crop_pct": 0.5, "interpolation": "lanczos"}
    path = tmp_path / "x.pth"
    torch.save({"state_dict": folded([0.0], [1.0]), "args": said}, path)
    flags = {"mean": "0", "std": "1,1,1", "crop": 1, "resize": "bilinear"}
    plan = make_plan("vit_ggem_mnist", str(path), out=tmp_path / "x.edge", **flags)
    assert (plan.contract.mean, plan.contract.std) == ((0.0,) * 3, (1.0,) * 3)
    assert (plan.contract.crop_fraction, plan.contract.resize) == (1.0, "bilinear")
    with pytest.raises(UserMistake, match="lanczos"):
        make_plan("vit_ggem_mnist", str(path), out=tmp_path / "x.edge", **{**flags, "resize": None})
    plan = make_plan("vit_ggem_mnist", str(path), out=tmp_path / "x.edge", **{**flags, "mean": None})
    assert plan.contract.mean == (0.9,) * 3 and plan.contract.std == (1.0,) * 3


def test_colour(tmp_path):
    plan = make_plan("vit_ggem_mnist", out=tmp_path / "x.edge", colour="bgr")
    assert plan.contract.colour == "BGR"


@pytest.mark.parametrize("nonsense", [
    {"std": "0,1,1"}, {"std": "0.2,nan,0.2"}, {"std": -1}, {"mean": "0.5,0.5"}, {"mean": "nan"}, {"mean": "a,b,c"}, {"std": ""},
    {"mean": [0.1, 0.2, 0.3, 0.4]}, {"mean": True}, {"crop": 0}, {"crop": 1.01}, {"crop": float("nan")}, {"resize": "lanczos"},
    {"colour": "cmyk"}, {"mean": "123.675,116.28,103.53", "std": "58.395,57.12,57.375"}, {"std": "255"},
])  # fmt: skip
def test_nonsense_is_refused_before_anything_is_done(tmp_path, nonsense):
    with pytest.raises(UserMistake) as caught:
        make_plan("davit_tiny", out=tmp_path / "x.edge", **nonsense)
    assert f"--{next(iter(nonsense))}" in str(caught.value)


def test_zero_to_one_is_refused_where_a_detector_reads_zero_to_255(tmp_path):
    with pytest.raises(UserMistake, match="--mean 123"):
        make_plan("damo_yolo", out=tmp_path / "x.edge", mean="0.485,0.456,0.406", std="0.229,0.224,0.225")


def test_what_the_classes_are_called_and_how_many_comes_from_the_checkpoint(tmp_path):
    names = [f"nine minus {9 - number}" for number in range(10)]
    path = tmp_path / "x.pth"
    torch.save({"state_dict": folded([0.0], [1.0]), "class_to_idx": {name: i for i, name in enumerate(names)}}, path)
    assert make_plan("vit_ggem_mnist", str(path), out=tmp_path / "x.edge").labels == tuple(names)
    (tmp_path / "names.txt").write_text("\n".join(f"my {i}" for i in range(10)))
    asked = make_plan("vit_ggem_mnist", str(path), out=tmp_path / "x.edge", labels=tmp_path / "names.txt")
    assert asked.labels[3] == "my 3"


def test_an_export_prepares_as_the_checkpoint_says_and_the_bundle_tells(tmp_path):
    path = records("args", tmp_path, [0.0] * 3, [1.0] * 3)
    result = export("vit_ggem_mnist", str(path), out=tmp_path / "x.edge")
    manifest = json.loads((tmp_path / "x.edge" / "manifest.json").read_text())
    assert manifest["input_contract"]["mean"] == [0, 0, 0] and manifest["input_contract"]["std"] == [1, 1, 1]
    assert any("last.pth.tar (args) records it: mean 0 0 0, std 1 1 1" in note for note in manifest["notes"])
    assert len(set(manifest["notes"])) == len(manifest["notes"]) and manifest["weights"]["ema"] is False
    assert result.plan.contract == result.bundle.contract
    from edgesmith.runtime.backends.load import load

    pictures, labels = digits("held_out")
    with load(tmp_path / "x.edge") as session:
        right = sum(
            session(picture).logits.argmax() == label for picture, label in zip(pictures[:200], labels, strict=False)
        )
    assert right >= 190  # 98.5 % of them; with the family's mean and std 60 %


@pytest.mark.parametrize("said", [
    {"mean": [0.5] * 3, "std": [0.5] * 3, "img_size": 224, "crop_pct": 0.9, "interpolation": "bicubic"},
    {"mean": [0.0] * 3, "std": [1.0] * 3, "img_size": 192, "crop_pct": 1.0, "interpolation": "bilinear", "crop_mode": "squash"},
    {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "input_size": [3, 160, 160], "crop_pct": 0.8},
])  # fmt: skip
def test_the_pixels_are_those_of_timms_own_transform(tmp_path, said):
    """The transform is PIL's, whose resized bytes are rounded: half a level of 255 on average, and some at edges."""
    from PIL import Image

    torch.save({"state_dict": {"a": torch.ones(1)}, "args": argparse.Namespace(**said)}, tmp_path / "x.pth")
    plan = make_plan("davit_tiny", str(tmp_path / "x.pth"), out=tmp_path / "x.edge")
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    picture = np.array(small.resize((400, 300), Image.Resampling.BICUBIC))
    expected = create_transform(**resolve_data_config(said, pretrained_cfg={"crop_pct": 0.95}))(
        Image.fromarray(picture)
    ).numpy()
    found = preprocess([picture], plan.contract)[0]
    assert found.shape == expected.shape
    level = 1 / 255 / np.array(plan.contract.std)[:, None, None]
    assert (np.abs(found - expected) / level).mean() < 0.6
    assert (np.abs(found - expected) / level).max() < 4
