"""One export through the command for each door: the bundle runs, tests itself and is measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import edgesmith
from own_networks import write_file

PAGE = Path(__file__).parents[3] / "docs" / "own_model.md"


def exported(*words: str) -> dict[str, object]:
    """The manifest of a bundle that tests itself."""
    answer = edgesmith("export", *words, "--out", "made.edge")
    assert answer.code == 0, answer.err
    assert edgesmith("test", "made.edge").code == 0
    manifest: dict[str, object] = json.loads(Path("made.edge/manifest.json").read_text(encoding="utf-8"))
    return manifest


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    return tmp_path


@pytest.mark.slow
def test_a_fine_tune_of_timm(here: Path):
    import timm

    torch.manual_seed(0)
    state = timm.create_model("resnet18", num_classes=7).state_dict()
    torch.save({"model_ema": {f"module.{name}": value for name, value in state.items()}}, "tuned.pth")
    (here / "names.txt").write_text("\n".join("abcdefg"), encoding="utf-8")
    manifest = exported(
        "timm:resnet18", "--weights", "tuned.pth", "--num-classes", "7", "--labels", "names.txt", "--image-size", "64"
    )
    assert (manifest["model"], manifest["family"], manifest["num_classes"]) == ("timm:resnet18", "timm", 7)
    assert json.loads(Path("made.edge/labels.json").read_text(encoding="utf-8")) == list("abcdefg")
    assert edgesmith("bench", "made.edge", "--against", "eager", "--rounds", "2", "--no-memory").code == 0


@pytest.mark.slow
def test_widths_of_ones_own_are_built_again_from_the_bundle(here: Path):
    words = ("--model-arg", "depth=1", "--model-arg", "embed_dim=24", "--model-arg", "num_heads=3")
    manifest = exported("vit_tiny_patch16_224", *words, "--num-classes", "3")
    assert manifest["model_args"] == {"depth": 1, "embed_dim": 24, "num_heads": 3}
    assert edgesmith("bench", "made.edge", "--against", "eager", "--rounds", "2").code == 0


@pytest.mark.slow
def test_a_network_of_torchvision(here: Path):
    manifest = exported("torchvision:shufflenet_v2_x0_5", "--image-size", "64")
    assert manifest["model"] == "torchvision:shufflenet_v2_x0_5"
    assert manifest["input_contract"]["resize"] == "bilinear"  # type: ignore[index]


@pytest.mark.slow
def test_a_folder_of_transformers(here: Path):
    import transformers

    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], id2label={0: "cat", 1: "dog"}
    )
    transformers.ResNetForImageClassification(config).save_pretrained("net")
    processor = {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}, "crop_pct": 0.875,
                 "do_resize": True, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # fmt: skip
    Path("net/preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    manifest = exported("hf:net")
    assert (manifest["model"], manifest["weights"]["source"]) == ("hf:net", "net")  # type: ignore[index]
    assert json.loads(Path("made.edge/labels.json").read_text(encoding="utf-8")) == ["cat", "dog"]


@pytest.mark.slow
def test_the_function_on_the_page(here: Path):
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert code
    (here / "net.py").write_text(code[1], encoding="utf-8")
    manifest = exported("net.py:make", "--model-arg", "width=32", "--image-size", "64", "--num-classes", "7")
    assert (manifest["model"], manifest["model_args"], manifest["num_classes"]) == ("net.py:make", {"width": 32}, 7)
    assert str(here) not in Path("made.edge/manifest.json").read_text(encoding="utf-8")
    assert any("assumed" in note for note in manifest["notes"])  # type: ignore[attr-defined]
    answer = edgesmith("bench", "made.edge", "--rounds", "2", "--no-memory")
    assert answer.code == 0 and "--model names it" in answer.out
    answer = edgesmith("bench", "made.edge", "--rounds", "2", "--against", "eager", "--model", "net.py:make")
    assert answer.code == 0 and "not measured" not in answer.out


@pytest.mark.slow
def test_a_dict_and_a_network_without_parameters(here: Path):
    import edgesmith as package

    write_file(here)
    exported("net.py:make", "--image-size", "32")
    answer = edgesmith("export", "net.py:means", "--image-size", "32", "--out", "means.edge")
    assert answer.code == 0, answer.err
    with package.load("means.edge") as session:
        (logits,) = session.infer({"images": np.ones((1, 3, 32, 32), np.float32)}).values()
    assert np.allclose(logits, 1.0)
