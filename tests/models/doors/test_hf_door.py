"""A folder of transformers: its files say the contract, and transformers reads the weights, every one of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from edgesmith.models import prepare
from edgesmith.models.registry import find
from edgesmith.runtime.errors import UserMistake

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture(scope="module")
def vit(tmp_path_factory) -> Path:
    import transformers

    folder = tmp_path_factory.mktemp("hf") / "vit"
    torch.manual_seed(0)
    config = transformers.ViTConfig(**SMALL, image_size=32, patch_size=8, id2label={0: "cat", 1: "dog", 2: "owl"})
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    processor = {
        "image_processor_type": "ViTImageProcessor", "do_resize": True, "size": {"height": 32, "width": 32}, "resample": 3,
        "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.4, 0.5, 0.6],
        "image_std": [0.2, 0.3, 0.4],
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return folder


def test_the_files_say_the_contract_and_the_names_of_the_classes(vit: Path):
    spec = find(f"hf:{vit}")
    contract = spec.contract
    assert (contract.size, contract.fit, contract.crop_fraction, contract.resize) == (
        (32, 32),
        "stretch",
        1.0,
        "bicubic",
    )
    assert (contract.mean, contract.std, contract.scale) == ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4), 1 / 255)
    assert spec.labels() == ["cat", "dog", "owl"] and spec.task == "classification"
    assert spec.recorded_name == "hf:vit" and spec.file_name == "vit"


def test_the_network_answers_as_transformers_does(vit: Path):
    import transformers

    made = prepare(f"hf:{vit}")
    theirs = transformers.ViTForImageClassification.from_pretrained(vit).eval()
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(made.module(image), theirs(image).logits)
    assert made.source == "vit" and made.sha256


def _changed(vit: Path, place: Path, file: str, **words: object) -> Path:
    import shutil

    folder = place / "changed"
    shutil.copytree(vit, folder)
    told = json.loads((folder / file).read_text(encoding="utf-8"))
    (folder / file).write_text(json.dumps({**told, **words}), encoding="utf-8")
    return folder


def test_weights_that_are_not_those_of_the_config_are_refused(vit: Path, tmp_path: Path):
    folder = _changed(vit, tmp_path, "config.json", num_hidden_layers=3)
    with pytest.raises(UserMistake, match="not those of config.json"):
        prepare(f"hf:{folder}")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"architectures": ["BertForMaskedLM"]}, "not exported"),
        ({"architectures": ["PipeModel"], "model_type": "pipe"}, "does not know it"),
        ({"auto_map": {"AutoModel": "modeling.Net"}}, "code of a folder is not run"),
    ],
)
def test_a_network_that_is_not_exported_is_told(vit: Path, tmp_path: Path, words: dict[str, object], says: str):
    with pytest.raises(UserMistake, match=says):
        find(f"hf:{_changed(vit, tmp_path, 'config.json', **words)}")


def test_a_step_of_the_preprocessing_that_is_not_done_is_told(vit: Path, tmp_path: Path):
    with pytest.raises(UserMistake, match="do_pad"):
        find(f"hf:{_changed(vit, tmp_path, 'preprocessor_config.json', do_pad=True)}")


def test_a_folder_without_its_files_is_told(vit: Path, tmp_path: Path):
    with pytest.raises(UserMistake, match="There is no folder of transformers") as caught:
        find(f"hf:{vit.parent}")
    assert f"hf:{vit}" in caught.value.attempt
    folder = _changed(vit, tmp_path, "config.json")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(UserMistake, match="does not say how pictures are prepared"):
        find(f"hf:{folder}")


def test_a_size_for_which_it_has_no_positions_is_told(vit: Path):
    with pytest.raises(UserMistake, match="cannot see this image size"):
        find(f"hf:{vit}").check_size(64)


def test_a_folder_of_timm_is_timms_network_with_its_weights_and_arguments(tmp_path: Path):
    import timm

    narrow = {"depth": 1, "embed_dim": 24, "num_heads": 3}
    torch.manual_seed(0)
    trained = timm.create_model("vit_tiny_patch16_224", num_classes=5, **narrow)
    timm.models.save_for_hf(trained, tmp_path / "mine", model_args=narrow)
    made = prepare(f"hf:{tmp_path / 'mine'}")
    assert made.num_classes == 5
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    assert torch.equal(made.module(image), trained.eval()(image))


@pytest.mark.parametrize("stages", [["stage2"], ["stage1", "stage2"]])
def test_a_backbone_gives_one_map_of_features(vit: Path, tmp_path: Path, stages: list[str]):
    """Of several the folder or the user says which."""
    import shutil

    import transformers

    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    config = transformers.ResNetConfig(**sizes, out_features=stages)
    transformers.ResNetBackbone(config).save_pretrained(tmp_path / "net")
    shutil.copy(vit / "preprocessor_config.json", tmp_path / "net")
    if len(stages) > 1:
        with pytest.raises(UserMistake, match="2 tensors in feature_maps(.|\n)*--model-arg out_features"):
            prepare(f"hf:{tmp_path / 'net'}").module(torch.zeros(1, 3, 32, 32))
    spec = find(f"hf:{tmp_path / 'net'}", {"out_features": ("stage2",)})
    assert (spec.task, spec.num_classes) == ("features", 0)
    assert prepare(spec).module(torch.zeros(1, 3, 32, 32)).shape == (1, 16, 4, 4)


def test_a_segmenter_gives_a_map_of_its_classes(vit: Path, tmp_path: Path):
    import shutil

    import transformers

    sizes = {"hidden_sizes": [8, 16, 24, 32], "num_attention_heads": [1, 2, 3, 4], "depths": [1] * 4}
    config = transformers.SegformerConfig(**sizes, decoder_hidden_size=16, id2label={0: "road", 1: "sky", 2: "tree"})
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(tmp_path / "net")
    shutil.copy(vit / "preprocessor_config.json", tmp_path / "net")
    spec = find(f"hf:{tmp_path / 'net'}")
    assert (spec.task, spec.num_classes, spec.labels()) == ("segmentation", 3, ["road", "sky", "tree"])
    assert prepare(spec).module(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 8, 8)
