"""What a checkpoint or its folder records of pictures, sizes and classes is read, without torch, and by nobody's code."""

import argparse
import dataclasses
import json
import os
import pickle
import subprocess
import sys

import pytest
import timm
import torch
from reference_weights import reference_state
from safetensors.torch import save_file
from timm.data import resolve_data_config

from edgesmith.models import as_recorded, find, prepare
from edgesmith.models.weights.light_pickle import beside_tensors
from edgesmith.models.weights.recorded import recorded
from edgesmith.models.weights.said import check_units, fraction_of, three_numbers, transformers_says
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.contract import ImageContract

TENSORS = {"a.weight": torch.ones(2, 2)}
HALF = [0.5, 0.5, 0.5]


@dataclasses.dataclass
class Options:
    mean: list
    std: list
    img_size: int = 96


class Config(dict):
    __getattr__ = dict.get


ARGS = {
    "a namespace": lambda **said: argparse.Namespace(lr=0.1, **said),
    "a dict": lambda **said: {"lr": 0.1, **said},
    "a class of theirs": lambda **said: Options(**said),
    "a dict of theirs": lambda **said: Config(lr=0.1, **said),
}


@pytest.fixture(params=["zip", "legacy"])
def written(request, tmp_path):
    def write(content):
        path = tmp_path / "net.pth.tar"
        torch.save(content, path, _use_new_zipfile_serialization=request.param == "zip")
        return path

    return write


@pytest.mark.parametrize("kind", ARGS)
def test_the_arguments_of_a_training_are_read_out_of_its_checkpoint(written, kind):
    found = recorded(written({"state_dict": TENSORS, "args": ARGS[kind](mean=HALF, std=[0.2], img_size=96)}))
    assert found.fields["mean"] == (0.5, 0.5, 0.5) and found.fields["std"] == (0.2, 0.2, 0.2)
    assert found.fields["size"] == (96, 96)
    assert found.origins["mean"] == "net.pth.tar (args)"


def test_nothing_is_imported_to_read_them(tmp_path):
    """A plan is made before torch is imported."""
    torch.save({"state_dict": TENSORS, "args": argparse.Namespace(mean=HALF)}, tmp_path / "net.pth")
    code = (
        "import sys; from edgesmith.models.weights.recorded import recorded; "
        f"print(recorded({str(tmp_path / 'net.pth')!r}).fields['mean'], sorted({{'torch', 'timm'}} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "(0.5, 0.5, 0.5) []"


class Call:
    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("hostile", [
    lambda mark: Call(os.system, f"touch {mark}"),
    lambda mark: Call(eval, f"open({mark!r}, 'w')"),
    lambda mark: Call(getattr, Call(__import__, "os"), "system"),
])  # fmt: skip
def test_nothing_of_the_file_runs(written, tmp_path, hostile):
    mark = str(tmp_path / "ran")
    path = written({"args": {"mean": HALF, "std": HALF, "x": hostile(mark)}, "state_dict": TENSORS})
    assert recorded(path).fields["mean"] == (0.5, 0.5, 0.5)
    path.write_bytes(pickle.dumps(hostile(mark)))
    assert beside_tensors(path) is None and not os.path.exists(mark)


def test_a_state_dict_whose_tensors_have_such_names_records_nothing(written):
    assert recorded(written({"mean": torch.zeros(3), "std": torch.ones(3), "args": torch.ones(1)})).fields == {}


@pytest.mark.parametrize("said", [
    {"mean": HALF, "std": HALF},
    {"mean": [0.1], "std": [0.2], "crop_pct": 1.0, "interpolation": "bilinear", "img_size": 160},
    {"input_size": [3, 96, 160], "crop_mode": "border", "crop_pct": 0.95},
    {"mean": [0.1, 0.2, 0.3], "std": [0.3, 0.2, 0.1], "crop_mode": "squash", "interpolation": "", "crop_pct": None},
    {"mean": None, "std": None, "img_size": None, "input_size": None},
])  # fmt: skip
@pytest.mark.parametrize("model", ["davit_tiny", "convit_tiny", "vit_tiny_patch16_224"])
def test_args_mean_what_timm_makes_of_them(tmp_path, said, model):
    """The expected values are ``resolve_data_config``'s."""
    torch.save({"state_dict": TENSORS, "args": argparse.Namespace(**said)}, tmp_path / "net.pth")
    cfg = timm.get_pretrained_cfg(model).to_dict()
    expected = resolve_data_config(said, pretrained_cfg=cfg)
    found = as_recorded(model.replace("vit_tiny_patch16_224", "vit_ggem_tiny"), tmp_path / "net.pth").contract
    assert found.mean == pytest.approx(expected["mean"]) and found.std == pytest.approx(expected["std"])
    assert (3, *found.size) == tuple(expected["input_size"])
    assert found.resize == expected["interpolation"] and found.crop_fraction == expected["crop_pct"]
    assert {"crop": "center", "stretch": "squash", "letterbox": "border"}[found.fit] == expected["crop_mode"]
    assert found.scale == 1 / 255


def test_where_each_stands_and_which_counts(tmp_path):
    """The nearest to the tensors: args in the file, its pretrained_cfg, args.yaml, config.json, preprocessor_config.json."""
    path = tmp_path / "net.pth"
    places = [
        ("preprocessor_config.json", lambda value: (tmp_path / "preprocessor_config.json").write_text(
            json.dumps({"image_processor_type": "ViTImageProcessor", "image_mean": [value] * 3}))),
        ("config.json", lambda value: (tmp_path / "config.json").write_text(
            json.dumps({"architecture": "x", "pretrained_cfg": {"mean": [value] * 3}}))),
        ("args.yaml", lambda value: (tmp_path / "args.yaml").write_text(
            f"lr: 1.0e-05\nmean:\n- {value}\n- {value}\n- {value}\nmodel_kwargs: {{}}\nstd: null\n")),
        ("net.pth (pretrained_cfg)", lambda value: torch.save(
            {"state_dict": TENSORS, "pretrained_cfg": {"mean": (value,) * 3}}, path)),
        ("net.pth (args)", lambda value: torch.save(
            {"state_dict": TENSORS, "args": {"mean": [value] * 3}, "default_cfg": {"mean": (0.9,) * 3}}, path)),
    ]  # fmt: skip
    torch.save({"state_dict": TENSORS}, path)
    assert recorded(path).fields == {}
    for count, (origin, write) in enumerate(places, start=1):
        write(count / 10)
        found = recorded(path)
        assert found.fields["mean"] == (count / 10,) * 3 and found.origins["mean"] == origin
        assert bool(found.notes) == (count > 1), "that they differ is told"


PROCESSORS = {
    "ViT": (
        {"image_processor_type": "ViTImageProcessor", "size": {"height": 192, "width": 256}, "resample": 2, "image_mean": HALF,
         "image_std": HALF, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "do_resize": True},
        {"size": (192, 256), "fit": "stretch", "crop_fraction": 1.0, "resize": "bilinear", "mean": (0.5,) * 3, "std": (0.5,) * 3,
         "scale": 1 / 255},
    ),
    "ConvNeXT, VAN": (
        {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.9, "resample": 3},
        {"size": (224, 224), "fit": "crop", "crop_fraction": 0.9, "resize": "bicubic"},
    ),
    "ConvNeXT from 384 on": (
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}, "crop_pct": 0.9},
        {"size": (384, 384), "fit": "stretch", "crop_fraction": 1.0},
    ),
    "shortest edge, then a crop": (
        {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 256}, "do_center_crop": True,
         "crop_size": {"height": 224, "width": 224}},
        {"size": (224, 224), "fit": "crop", "crop_fraction": 0.875},
    ),
    "both sides, then a crop": (
        {"image_processor_type": "DeiTImageProcessor", "size": {"height": 256, "width": 256}, "do_center_crop": True,
         "crop_size": {"height": 224, "width": 224}},
        {"size": (224, 224), "fit": "stretch", "crop_fraction": 0.875},
    ),
    "not normalised": (
        {"image_processor_type": "X", "do_normalize": False, "image_mean": HALF, "image_std": HALF},
        {"mean": (0.0,) * 3, "std": (1.0,) * 3, "scale": 1 / 255},
    ),
    "neither normalised nor rescaled": (
        {"image_processor_type": "X", "do_normalize": False, "do_rescale": False},
        {"mean": (0.0,) * 3, "std": (1.0,) * 3, "scale": 1.0},
    ),
    "other factor": (
        {"image_processor_type": "X", "rescale_factor": 1 / 127.5, "image_mean": [1.0], "image_std": [1.0]},
        {"mean": (1.0,) * 3, "std": (1.0,) * 3, "scale": 1 / 127.5},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", PROCESSORS)
def test_an_image_processor_of_transformers(kind):
    words, expected = PROCESSORS[kind]
    found = transformers_says(words, "preprocessor_config.json")
    assert expected.items() <= found.items()


@pytest.mark.parametrize(
    ("seen", "resized"), [(224, 256), (224, 249), (299, 342), (7, 10), (49, 56), (200, 201), (99, 100)]
)
def test_a_crop_in_pixels_is_kept_to_the_pixel(seen, resized):
    assert int(seen / fraction_of(seen, resized)) == resized


@pytest.mark.parametrize("said", [
    {"std": [0.2, 0.0, 0.2]}, {"std": [float("nan")] * 3}, {"mean": [0.5, 0.5]}, {"mean": "grey"}, {"mean": [True] * 3},
    {"interpolation": "lanczos"}, {"crop_pct": 1.5}, {"crop_mode": "corner"},
    {"mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4]},
])  # fmt: skip
def test_what_cannot_be_used_is_refused_and_the_flag_is_named(tmp_path, said):
    torch.save({"state_dict": TENSORS, "args": {"mean": HALF, **said}}, tmp_path / "net.pth")
    with pytest.raises(UserMistake) as caught:
        as_recorded("davit_tiny", tmp_path / "net.pth")
    assert "net.pth" in str(caught.value) and (caught.value.attempt.startswith("--") or "crop_mode" in said)


def test_units_of_pictures_of_255_are_named():
    with pytest.raises(UserMistake, match=r"--mean 0\.485,0\.456,0\.406 --std 0\.229,0\.224,0\.225"):
        check_units(ImageContract((8, 8), mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)), "x")
    with pytest.raises(UserMistake, match="--std 58"):
        check_units(ImageContract((8, 8), scale=1.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)), "x")
    for mean, std in (((0.0,) * 3, (1.0,) * 3), ((0.0,) * 3, (1 / 255,) * 3), ((0.5,) * 3, (0.5,) * 3)):
        check_units(ImageContract((8, 8), mean=mean, std=std), "x")


def test_numbers_as_text_a_list_or_one():
    for value in ("0.1,0.2,0.3", "0.1 0.2 0.3", [0.1, 0.2, 0.3], ("0.1", "0.2", "0.3")):
        assert three_numbers(value, "--mean", "export") == (0.1, 0.2, 0.3)
    assert three_numbers(0.5, "--mean", "export") == three_numbers("0.5", "--mean", "export") == (0.5, 0.5, 0.5)


NAMES = ("cat", "dog", "owl")
MAPS = {
    "class_to_idx": ({"class_to_idx": {"dog": 1, "cat": 0, "owl": 2}}, None, None),
    "class_map in args": ({"args": {"class_map": {"owl": 2, "cat": 0, "dog": 1}}}, None, None),
    "a list": ({"classes": list(NAMES)}, None, None),
    "of OpenMMLab": ({"meta": {"dataset_meta": {"classes": NAMES}}}, None, None),
    "a file beside it": ({"args": argparse.Namespace(class_map="/there/map.txt")}, "map.txt", "cat\ndog\nowl\n"),
    "label_names": ({}, "config.json", json.dumps({"architecture": "x", "label_names": NAMES, "pretrained_cfg": {}})),
    "label_names with numbers": ({}, "config.json", json.dumps({"label_names": {"0": "cat", "2": "owl", "1": "dog"}})),
    "id2label": ({}, "config.json", json.dumps({"id2label": {"2": "owl", "0": "cat", "1": "dog"}})),
}  # fmt: skip


@pytest.mark.parametrize("kind", MAPS)
def test_the_names_of_the_classes_in_the_order_of_the_outputs(tmp_path, kind):
    content, name, text = MAPS[kind]
    torch.save({"state_dict": TENSORS, **content}, tmp_path / "net.pth")
    if name:
        (tmp_path / name).write_text(text)
    spec = as_recorded("davit_tiny", tmp_path / "net.pth")
    assert spec.num_classes == 3 and spec.labels() == list(NAMES)


def test_names_that_nobody_gave_and_names_too_many_are_not_taken(tmp_path):
    torch.save({"state_dict": TENSORS, "args": {"num_classes": 10}}, tmp_path / "net.pth")
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {str(i): f"LABEL_{i}" for i in range(10)}}))
    assert as_recorded("davit_tiny", tmp_path / "net.pth").labels() == [f"class {i}" for i in range(10)]
    (tmp_path / "config.json").write_text(json.dumps({"label_names": [f"n{i}" for i in range(12)]}))
    found = recorded(tmp_path / "net.pth")
    assert found.labels == () and found.num_classes == 10 and "12 classes" in found.notes[0]


def test_one_output_may_have_the_names_of_two_classes(tmp_path):
    content = {"state_dict": TENSORS, "args": {"num_classes": 1}, "class_to_idx": {"good": 0, "broken": 1}}
    torch.save(content, tmp_path / "net.pth")
    spec = as_recorded("davit_tiny", tmp_path / "net.pth")
    assert spec.num_classes == 1 and spec.labels() == ["good", "broken"]


# ---- a folder as timm writes it -------------------------------------------------------------------------------------


def save_for_hf(folder, name, safe=True, seed=0, **config):
    torch.manual_seed(seed)
    model = timm.create_model(name, **config).eval()
    timm.models.save_for_hf(model, folder, safe_serialization=safe)
    return folder


SMALL_VIT = {"patch_size": 7, "embed_dim": 64, "depth": 4, "num_heads": 4}
FOLDERS = {
    "davit": ("davit_mnist", "davit_tiny", {"depths": (1, 1, 1, 1), "embed_dims": (32, 64, 64, 96), "num_heads": (1, 2, 2, 3)}),
    "davit of other windows": ("davit_mnist", "davit_tiny", {
        "depths": (1, 1, 1, 1), "embed_dims": (32, 64, 64, 96), "num_heads": (2, 2, 4, 3), "window_size": 4}),
    "davit of another depth": ("davit_mnist", "davit_tiny", {
        "depths": (1, 2, 1, 1), "embed_dims": (32, 64, 64, 96), "num_heads": (1, 2, 2, 3), "drop_path_rate": 0.1}),
    "convit": ("convit_mnist", "convit_tiny", {
        "patch_size": 7, "embed_dim": 16, "depth": 4, "num_heads": 4, "local_up_to_layer": 3, "img_size": 28}),
    "convit of another size": ("convit_mnist", "convit_tiny", {
        "patch_size": 7, "embed_dim": 16, "depth": 4, "num_heads": 4, "local_up_to_layer": 2, "img_size": 42}),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize("safe", [True, False])
def test_a_folder_of_save_for_hf_is_the_network_that_timm_loads(tmp_path, kind, safe):
    ours, theirs, config = FOLDERS[kind]
    folder = save_for_hf(tmp_path / "x", theirs, safe, num_classes=7, **config)
    made = prepare(ours, folder)
    size = (config["img_size"],) * 2 if "img_size" in config else (224, 224)
    assert (made.image_size, made.num_classes) == (size, 7)
    judge = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images = torch.linspace(-2, 2, 3 * size[0] * size[1]).reshape(1, 3, *size)
    with torch.inference_mode():
        assert torch.equal(made.module(images), judge(images))


def test_positions_learned_on_a_grid_that_is_not_square_stay_as_they_are(tmp_path):
    """28x112 has 4x16 patches, as many as 56x56: config.json says which."""
    folder = save_for_hf(tmp_path / "x", "vit_tiny_patch16_224", num_classes=10, img_size=(28, 112), **SMALL_VIT)
    made = prepare("vit_ggem_mnist", folder)
    judge = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert made.image_size == (28, 112) and torch.equal(made.module.pos_embed, judge.pos_embed)
    other = prepare("vit_ggem_mnist", folder, image_size=(56, 56)).module
    judge = timm.create_model(f"local-dir:{folder}", pretrained=True, img_size=(56, 56))
    assert torch.equal(other.pos_embed, judge.pos_embed)


@pytest.mark.parametrize(("told", "word"), [
    ({"in_chans": 1}, "in_chans"), ({"act_layer": "relu"}, "act_layer"), ({"class_token": False}, "class_token"),
    ({"num_heads": {"a": 1}}, "num_heads"), ({"checkpoint_path": "/x"}, "checkpoint_path"),
])  # fmt: skip
def test_a_network_that_ours_is_not_is_refused_by_the_argument(tmp_path, told, word):
    save_file(reference_state("davit_tiny", 10), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "x", "model_args": told, "pretrained_cfg": {}}))
    with pytest.raises(UserMistake, match=f"{word} = "):
        as_recorded("davit_tiny", tmp_path)


def test_a_folder_without_or_with_several_checkpoints_is_refused(tmp_path):
    with pytest.raises(UserMistake, match="no checkpoint in this folder"):
        prepare("davit_mnist", tmp_path)
    for name in ("last.pth", "best.pth"):
        torch.save(TENSORS, tmp_path / name)
    with pytest.raises(UserMistake, match=r"best\.pth, last\.pth"):
        prepare("davit_mnist", tmp_path)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "args.yaml"])
def test_a_file_beside_it_that_cannot_be_read_is_refused(tmp_path, name):
    save_file(reference_state("davit_mnist"), tmp_path / "model.safetensors")
    (tmp_path / name).write_text('{"mean": [')
    with pytest.raises(UserMistake, match=name):
        as_recorded("davit_mnist", tmp_path)


# ---- averaged weights -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights():
    plain = reference_state("van_mnist")
    return plain, {name: value * 2 if value.is_floating_point() else value for name, value in plain.items()}


EMA = {
    "timm": lambda plain, mean: {"state_dict": plain, "state_dict_ema": mean},
    "model_ema": lambda plain, mean: {"model": plain, "model_ema": mean},
    "ema": lambda plain, mean: {"model": plain, "ema": mean},
    "ema in a module": lambda plain, mean: {"model": plain, "ema": {"module": mean, "decay": 0.999}},
    "ema_state_dict": lambda plain, mean: {"state_dict": plain, "ema_state_dict": mean},
    "torchvision": lambda plain, mean: {
        "model": plain, "model_ema": {"n_averaged": torch.tensor(3), **{f"module.{k}": v for k, v in mean.items()}}},
    "in one wrapper": lambda plain, mean: {"model": {"state_dict": plain, "ema_state_dict": mean}},
}  # fmt: skip


@pytest.mark.parametrize("form", EMA)
def test_averaged_weights_come_first_as_in_timm(tmp_path, weights, form):
    torch.save(EMA[form](*weights), tmp_path / "x.pth")
    for ema, expected in ((None, weights[1]), (True, weights[1]), (False, weights[0])):
        made = prepare("van_mnist", tmp_path / "x.pth", ema=ema)
        assert torch.equal(made.module.head.weight, expected["head.weight"])
        assert made.averaged is (ema is not False)
        assert any("averaged" in note for note in made.notes)
    if form in ("timm", "model_ema"):
        theirs = timm.models.load_state_dict(tmp_path / "x.pth")
        assert torch.equal(theirs["head.weight"], weights[1]["head.weight"])


def test_an_average_that_lacks_tensors_is_left_and_told(tmp_path, weights):
    parameters = {name: value for name, value in weights[1].items() if "running" not in name}
    torch.save({"model": weights[0], "ema": parameters}, tmp_path / "x.pth")
    made = prepare("van_mnist", tmp_path / "x.pth")
    assert torch.equal(made.module.head.weight, weights[0]["head.weight"]) and not made.averaged
    lacking = len(weights[0]) - len(parameters)
    assert any(f"without {lacking} of their tensors" in note for note in made.notes)


def test_an_average_that_is_not_there_cannot_be_asked_for(tmp_path, weights):
    torch.save({"model": weights[0]}, tmp_path / "x.pth")
    with pytest.raises(UserMistake, match="no averaged weights"):
        prepare("van_mnist", tmp_path / "x.pth", ema=True)


def test_the_facts_of_a_family_stay_where_nothing_is_recorded(tmp_path):
    torch.save({"state_dict": TENSORS, "epoch": 3, "arch": "davit_tiny"}, tmp_path / "net.pth")
    assert as_recorded("davit_tiny", tmp_path / "net.pth") == find("davit_tiny")
    assert as_recorded("davit_tiny", "random") == find("davit_tiny")


@pytest.mark.parametrize(("content", "expected"), [
    ({"args": argparse.Namespace(input_size=112, eval_crop_ratio=0.9)}, {"size": (112, 112), "crop_fraction": 0.9}),  # DeiT
    ({"args": {"val_resize_size": 232, "val_crop_size": 192}},  # torchvision
     {"size": (192, 192), "fit": "crop", "crop_fraction": fraction_of(192, 232)}),
    ({"hyper_parameters": {"args": argparse.Namespace(mean=HALF, img_size=[112])}},  # Lightning
     {"mean": (0.5,) * 3, "scale": 1 / 255, "size": (112, 112)}),
    ({"args": {"img_size": "112"}}, {"size": (112, 112)}),
    ({"args": {"img_size": 112.0}}, {"size": (112, 112)}),
])  # fmt: skip
def test_other_trainings_say_it_in_other_words(written, content, expected):
    assert recorded(written({"state_dict": TENSORS, **content})).fields == expected


def test_a_file_of_lightning_beside_the_checkpoint(written, tmp_path):
    path = written({"state_dict": TENSORS})
    (tmp_path / "hparams.yaml").write_text("mean: [0.5, 0.5, 0.5]\n")
    assert recorded(path).fields["mean"] == (0.5,) * 3 and recorded(path).origins["mean"] == "hparams.yaml"


@pytest.mark.parametrize(("words", "expected"), [
    ({"do_rescale": False, "rescale_factor": None, "image_mean": HALF}, {"mean": (0.5,) * 3, "scale": 1 / 255}),
    ({"image_std": HALF}, {"std": (0.5,) * 3, "scale": 1 / 255}),
    ({"do_flip_channel_order": True}, {"colour": "BGR"}),  # MobileViT's
    ({"do_normalize": False, "rescale_factor": 1 / 127.5, "rescale_offset": True},  # x / 127.5 - 1
     {"mean": (1.0,) * 3, "std": (1.0,) * 3, "scale": 1 / 127.5}),
])  # fmt: skip
def test_what_else_an_image_processor_says(tmp_path, words, expected):
    (tmp_path / "preprocessor_config.json").write_text("\ufeff" + json.dumps(words), encoding="utf-8")
    torch.save({"state_dict": TENSORS}, tmp_path / "net.pth")
    assert recorded(tmp_path / "net.pth").fields == expected


def test_a_crop_mode_that_is_no_word_is_a_mistake(written):
    with pytest.raises(UserMistake, match="crop_mode"):
        recorded(written({"state_dict": TENSORS, "args": {"crop_mode": ["center"]}}))


def test_a_mean_kept_as_a_tensor_beside_the_weights_is_not_passed_over(written):
    with pytest.raises(UserMistake, match="--mean 0.5,0.5,0.5"):
        recorded(written({"state_dict": TENSORS, "mean": torch.tensor(HALF), "std": torch.tensor(HALF)}))


# ---- configurations of yacs -----------------------------------------------------------------------------------------


class CfgNode(dict):
    """As yacs pickles it: a dict whose attributes are its own bookkeeping."""

    def __init__(self, entries):
        super().__init__({k: CfgNode(v) if isinstance(v, dict) else v for k, v in entries.items()})
        self.__dict__["__immutable__"] = True


SWIN = {
    "DATA": {"IMG_SIZE": 192, "INTERPOLATION": "bicubic", "BATCH_SIZE": 128, "MEAN": HALF, "STD": [0.2]},
    "MODEL": {"NAME": "swin_tiny", "NUM_CLASSES": 7, "DROP_RATE": 0.0},
    "TEST": {"CROP": True},
}


@pytest.mark.parametrize("kind", [dict, CfgNode])
@pytest.mark.parametrize("key", ["config", "cfg"])
def test_a_configuration_of_yacs_in_the_checkpoint(written, kind, key):
    found = recorded(written({"model": TENSORS, key: kind(SWIN), "epoch": 3}))
    assert found.fields == {
        "size": (192, 192), "mean": (0.5,) * 3, "std": (0.2,) * 3, "scale": 1 / 255, "resize": "bicubic", "antialias": True,
        "fit": "crop", "crop_fraction": fraction_of(192, int(256 / 224 * 192)),
    }  # fmt: skip
    assert found.num_classes == 7 and found.origins["size"] == f"net.pth.tar ({key})"


@pytest.mark.parametrize(("said", "expected"), [
    ({"DATA": {"IMG_SIZE": 192}}, {"size": (192, 192)}),
    ({"DATA": {"IMG_SIZE": [96, 192]}}, {"size": (96, 192)}),
    ({"DATA": {"IMG_SIZE": 192}, "TEST": {"CROP": False}}, {"size": (192, 192), "fit": "stretch", "crop_fraction": 1.0}),
    ({"DATA": {"IMG_SIZE": "large"}}, {}),
    ({"DATA": 3}, {}),
])  # fmt: skip
def test_what_a_configuration_of_yacs_says_of_it(written, said, expected):
    assert recorded(written({"model": TENSORS, "config": said})).fields == expected


def test_the_size_of_yacs_is_that_of_the_network(written):
    torch.save({"model": reference_state("davit_mnist"), "config": {"DATA": {"IMG_SIZE": 96}}}, path := written({}))
    assert prepare("davit_mnist", path).image_size == (96, 96)


def test_the_configuration_that_swin_writes_into_config_json(tmp_path):
    torch.save({"model": TENSORS}, tmp_path / "net.pth")
    (tmp_path / "config.json").write_text(
        "AMP_ENABLE: true\nDATA:\n  IMG_SIZE: 192\n  DATASET: imagenet\nMODEL:\n  NUM_CLASSES: 7\n"
    )
    found = recorded(tmp_path / "net.pth")
    assert (found.fields["size"], found.num_classes, found.origins["size"]) == ((192, 192), 7, "config.json")


# ---- words that cannot be printed or counted --------------------------------------------------------------------------


def _nested(depth):
    made = 0.5
    for _ in range(depth):
        made = [made]
    return made


@pytest.mark.parametrize(
    "key", ["mean", "img_size", "interpolation", "crop_pct", "num_classes", "class_to_idx", "model_args"]
)
@pytest.mark.parametrize("value", [
    _nested(300), 10**400, "9" * 5000, "\ud800", {"a": "9" * 5000}, {"9" * 5000: "a"}, {"a": 10**400}, float("inf"), [None], "x" * 5000,
], ids=lambda value: str(type(value).__name__))  # fmt: skip
def test_words_that_nobody_would_write_are_refused_or_passed_over(written, key, value):
    path = written({"state_dict": TENSORS, "args": {key: value}, key: value})
    try:
        found = recorded(path)
        found.applied(find("davit_tiny"))
        found.told(find("davit_tiny"))
    except UserMistake as refused:
        assert len(str(refused)) < 1500
