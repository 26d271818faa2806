"""Every layout a checkpoint comes in loads; every file that cannot be used is answered in one screen."""

import argparse
import pickle
import re

import numpy as np
import pytest
import torch
from reference_weights import davit_official, reference_state
from safetensors.torch import save_file

from edgesmith.models import create, find, prepare
from edgesmith.models.families.davit import network as davit
from edgesmith.models.families.van import network as van_module
from edgesmith.runtime.errors import UserMistake

IMAGE = torch.linspace(-2, 2, 2 * 3 * 64 * 64).reshape(2, 3, 64, 64)


@pytest.fixture(scope="module")
def van_state():
    return reference_state("van_mnist")


@pytest.fixture(scope="module")
def van_logits(van_state):
    model = find("van_mnist").build()
    model.load_state_dict(van_state)
    return logits(model.eval())


def logits(model):
    with torch.inference_mode():
        return model(IMAGE)


def refusal(*args, **options):
    with pytest.raises(UserMistake) as caught:
        create(*args, **options)
    text = str(caught.value)
    assert caught.value.exit_code == 2
    assert len(text.splitlines()) <= 24 and max(map(len, text.splitlines())) <= 200, "an error fits one screen"
    return text


# ---- layouts and wrappers -------------------------------------------------------------------------------------------


def to_transformers(state):
    """What transformers' VAN calls the same tensors, its unused last LayerNorm included (written from its source)."""
    block = {
        "norm1": "pre_normomalization",
        "norm2": "post_normalization",
        "attn.proj_1": "attention.pre_projection.conv",
        "attn.spatial_gating_unit.conv0": "attention.attention_layer.attention.depth_wise",
        "attn.spatial_gating_unit.conv_spatial": "attention.attention_layer.attention.depth_wise_dilated",
        "attn.spatial_gating_unit.conv1": "attention.attention_layer.attention.point_wise",
        "attn.proj_2": "attention.post_projection",
        "mlp.fc1": "mlp.in_dense",
        "mlp.dwconv.dwconv": "mlp.depth_wise",
        "mlp.fc2": "mlp.out_dense",
    }
    out = {"van.layernorm.weight": torch.ones(128), "van.layernorm.bias": torch.zeros(128)}
    for name, value in state.items():
        if match := re.fullmatch(r"block(\d)\.(\d+)\.layer_scale_(\d)", name):
            scale = "attention_scaling" if match[3] == "1" else "mlp_scaling"
            new = f"van.encoder.stages.{int(match[1]) - 1}.layers.{match[2]}.{scale}.weight"
        elif match := re.fullmatch(r"block(\d)\.(\d+)\.(.+)\.(\w+)", name):
            new = f"van.encoder.stages.{int(match[1]) - 1}.layers.{match[2]}.{block[match[3]]}.{match[4]}"
        elif match := re.fullmatch(r"patch_embed(\d)\.(proj|norm)\.(\w+)", name):
            part = {"proj": "convolution", "norm": "normalization"}[match[2]]
            new = f"van.encoder.stages.{int(match[1]) - 1}.embeddings.{part}.{match[3]}"
        elif match := re.fullmatch(r"norm(\d)\.(\w+)", name):
            new = f"van.encoder.stages.{int(match[1]) - 1}.normalization.{match[2]}"
        else:
            new = name.replace("head.", "classifier.")
        out[new] = value
    return out


WRAPPED = {
    "plain": lambda s: s,
    "model": lambda s: {"model": s, "epoch": 3},
    "state_dict": lambda s: {"state_dict": s, "arch": "van", "args": argparse.Namespace(lr=1e-3)},
    "ema beside": lambda s: {"model": {k: torch.zeros_like(v) for k, v in s.items()}, "model_ema": s},
    "ema as a shadow": lambda s: {
        "model": {k: torch.zeros_like(v) for k, v in s.items()},
        "ema": {"decay": 0.9, "shadow": s},
    },
    "only ema": lambda s: {"model_ema": s},
    "nested": lambda s: {"state_dict": {"model": s}},
    "module prefix": lambda s: {"model": {f"module.{k}": v for k, v in s.items()}},
    "compiled and parallel": lambda s: {f"module._orig_mod.{k}": v for k, v in s.items()},
    "lightning": lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}},
    "numpy figures beside": lambda s: {"model": s, "metric": np.float64(0.9), "best": np.array([1, 2])},
    "half precision names": lambda s: {k: v.double() if v.is_floating_point() else v for k, v in s.items()},
    "no step counters": lambda s: {k: v for k, v in s.items() if not k.endswith("num_batches_tracked")},
    "transformers": to_transformers,
}


@pytest.mark.parametrize("form", WRAPPED)
def test_every_wrapping_loads_to_the_same_model(tmp_path, van_state, van_logits, form):
    torch.save(WRAPPED[form](van_state), tmp_path / "x.pth.tar")
    assert torch.equal(logits(create("van_mnist", weights=tmp_path / "x.pth.tar")), van_logits)


def test_safetensors_loads_whatever_the_file_is_called(tmp_path, van_state, van_logits):
    for name in ("x.safetensors", "x.bin"):
        save_file(van_state, tmp_path / name)
        assert torch.equal(logits(create("van_mnist", weights=tmp_path / name)), van_logits)


def test_an_old_style_pickle_of_tensors_loads(tmp_path, van_state, van_logits):
    torch.save(van_state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(logits(create("van_mnist", weights=tmp_path / "old.pth")), van_logits)


def test_half_precision_weights_are_read_as_float32(tmp_path, van_state):
    half = {k: v.half() if v.is_floating_point() else v for k, v in van_state.items()}
    save_file(half, tmp_path / "half.safetensors")
    model = create("van_mnist", weights=tmp_path / "half.safetensors")
    assert model.head.weight.dtype == torch.float32
    assert torch.equal(model.head.weight, van_state["head.weight"].half().float())


def test_transformers_names_of_van_are_recognised_one_by_one(van_state):
    renamed = van_module.rename(to_transformers(van_state))
    assert renamed.keys() == van_state.keys()
    assert all(torch.equal(renamed[name], value) for name, value in van_state.items())


@pytest.mark.parametrize("layout", ["official", "timm"])
def test_davit_loads_in_both_layouts(tmp_path, layout):
    official = reference_state("davit_mnist")
    timm_names = davit.rename(official)
    assert davit_official(timm_names).keys() == official.keys()
    assert not timm_names.keys() & official.keys()
    torch.save({"state_dict": official if layout == "official" else timm_names}, tmp_path / "x.pth")
    model = create("davit_mnist", weights=tmp_path / "x.pth")
    assert model.state_dict().keys() == timm_names.keys()
    assert torch.equal(
        model.state_dict()["stages.1.blocks.0.1.cpe2.proj.weight"], official["main_blocks.1.0.1.cpe.1.proj.weight"]
    )


def test_where_the_weights_came_from_is_told(tmp_path, van_state):
    import hashlib

    path = tmp_path / "mine.pth"
    torch.save(WRAPPED["ema beside"](van_state), path)
    prepared = prepare("van_mnist", weights=path)
    assert prepared.source == "mine.pth"
    assert prepared.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert any("model_ema" in note for note in prepared.notes)
    assert prepare("van_mnist").source == "random, seed 0"


# ---- what differs from the variant ----------------------------------------------------------------------------------


def test_smt_small_takes_the_depth_of_the_checkpoint(tmp_path):
    for depth in (1, 2):
        state = {k: v for k, v in reference_state("smt_small").items() if depth == 2 or not k.startswith("block4.1.")}
        save_file(state, tmp_path / "x.safetensors")
        prepared = prepare("smt_small", weights=tmp_path / "x.safetensors")
        assert len(prepared.module.block4) == depth
        assert any("one block in stage 4" in note for note in prepared.notes) == (depth == 1)


def test_another_class_count_names_the_option(tmp_path):
    torch.save(reference_state("smt_mnist", num_classes=37), tmp_path / "x.pth")
    assert "--num-classes 37" in refusal("smt_mnist", weights=tmp_path / "x.pth")
    assert "--num-classes 37" in refusal("smt_mnist", weights=tmp_path / "x.pth", num_classes=5)
    assert create("smt_mnist", weights=tmp_path / "x.pth", num_classes=37).head.out_features == 37


@pytest.mark.parametrize("layout", ["official", "timm"])
def test_a_ten_class_fine_tune_loads(tmp_path, layout):
    state = reference_state("davit_tiny", num_classes=10)
    torch.save(state if layout == "official" else davit.rename(state), tmp_path / "x.pth")
    assert create("davit", weights=tmp_path / "x.pth", num_classes=10).head.fc.out_features == 10


def test_a_plain_vit_keeps_the_first_exponents_and_says_so(tmp_path):
    state = {k: v for k, v in reference_state("vit_ggem_mnist").items() if k != "ggem.p"}
    save_file(state, tmp_path / "x.safetensors")
    prepared = prepare("vit_ggem_mnist", weights=tmp_path / "x.safetensors")
    assert torch.equal(prepared.module.ggem.p, torch.full((4, 1), 3.0))
    assert any("exponents start at 3" in note for note in prepared.notes)


def test_a_vit_position_embedding_is_resampled(tmp_path):
    from timm.layers import resample_abs_pos_embed

    state = reference_state("vit_ggem_mnist")
    save_file(state, tmp_path / "x.safetensors")
    prepared = prepare("vit_ggem_mnist", weights=tmp_path / "x.safetensors", image_size=(42, 56))
    expected = resample_abs_pos_embed(state["pos_embed"], [6, 8], [4, 4], num_prefix_tokens=1)
    assert torch.equal(prepared.module.pos_embed, expected)
    assert any("resampled from 16 patches" in note for note in prepared.notes)
    with torch.inference_mode():
        assert prepared.module(torch.zeros(1, 3, 42, 56)).shape == (1, 10)


# ---- what does not fit ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("saved", "asked"),
    [("smt_tiny", "smt_small"), ("van_b1", "van_b0"), ("davit_tiny", "convit_tiny"), ("convit_tiny", "convit_small")],
)
def test_the_variant_that_fits_is_named(tmp_path, saved, asked):
    save_file(reference_state(saved), tmp_path / "x.safetensors")
    text = refusal(asked, weights=tmp_path / "x.safetensors")
    assert f"--model {saved}: it fits" in text


def test_the_nearest_variant_is_named_with_its_class_count(tmp_path):
    save_file(reference_state("smt_tiny", num_classes=10), tmp_path / "x.safetensors")
    assert "--model smt_tiny --num-classes 10: it fits" in refusal(
        "smt_small", weights=tmp_path / "x.safetensors", num_classes=10
    )


def test_of_a_wrong_family_the_family_is_told_not_the_class_count(tmp_path):
    save_file(reference_state("van_mnist"), tmp_path / "x.safetensors")
    assert "--model van_mnist: it fits" in refusal("smt_tiny", weights=tmp_path / "x.safetensors")


def test_missing_unexpected_and_misshaped_are_listed(tmp_path, van_state):
    state = {k: v for k, v in van_state.items() if not k.startswith("block3.1.mlp")}
    state["extra.weight"] = torch.zeros(3)
    state["norm1.weight"] = torch.zeros(17)
    torch.save(state, tmp_path / "x.pth")
    text = refusal("van_mnist", weights=tmp_path / "x.pth")
    assert "6 missing" in text and "block3.1.mlp.fc1.weight" in text and "and 2 more" in text
    assert "1 unexpected" in text and "extra.weight" in text
    assert "1 mis-shaped" in text and "norm1.weight (17,), expected (16,)" in text
    assert "already the nearest" in text


def test_weights_of_another_world_are_near_to_nothing(tmp_path):
    torch.save({f"layer{i}.conv.weight": torch.zeros(4, 4) for i in range(30)}, tmp_path / "x.pth")
    assert "no model here is near" in refusal("smt", weights=tmp_path / "x.pth")


def test_a_backbone_without_a_head_says_that_the_head_is_missing(tmp_path, van_state):
    torch.save({k: v for k, v in van_state.items() if not k.startswith("head")}, tmp_path / "x.pth")
    assert "2 missing:\n              head.weight" in refusal("van_mnist", weights=tmp_path / "x.pth")


# ---- files that are no checkpoints ----------------------------------------------------------------------------------


class Trap:
    """Pickled code that would leave a mark if it ran."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def test_pickled_code_does_not_run(tmp_path):
    mark = tmp_path / "ran"
    torch.save({"model": {"head.weight": torch.zeros(1)}, "trap": Trap(mark)}, tmp_path / "x.pth")
    assert "pickled code, which is not run" in refusal("smt", weights=tmp_path / "x.pth")
    (tmp_path / "y.pth").write_bytes(pickle.dumps(Trap(mark)))
    refusal("smt", weights=tmp_path / "y.pth")
    assert not mark.exists()


def test_a_whole_pickled_module_is_refused_with_the_way_out(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "x.pth")
    text = refusal("smt", weights=tmp_path / "x.pth")
    assert "torch.nn.modules.linear.Linear" in text and "model.state_dict()" in text


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
@pytest.mark.parametrize("part", [0, 1, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, van_state, kind, part):
    path = tmp_path / f"x.{kind}"
    torch.save(van_state, path) if kind == "pth" else save_file(van_state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: part if isinstance(part, int) else int(len(whole) * part)])
    text = refusal("van_mnist", weights=path)
    assert "empty" in text or "not a whole" in text or "not a PyTorch checkpoint" in text


@pytest.mark.parametrize(
    "content",
    [
        b"hello world, this is a text",
        b"PK\x03\x04 not a zip",
        b"\x80\x02}q\x00.",
        b"\xff" * 100,
        b"\x08\x00\x00\x00\x00\x00\x00\x00{broken!",
    ],
)
@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refusal("smt", weights=tmp_path / name)


@pytest.mark.parametrize("content", [{}, [], 3, {"epoch": 1}, {"model": {}}, torch.zeros(3), {"model": "tiny"}])
def test_a_file_without_named_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    assert "no named tensors" in refusal("smt", weights=tmp_path / "x.pth")


def test_weights_that_are_not_numbers_are_refused(tmp_path, van_state):
    state = {**van_state, "norm1.bias": torch.full((16,), float("nan"))}
    torch.save(state, tmp_path / "x.pth")
    assert "norm1.bias" in refusal("van_mnist", weights=tmp_path / "x.pth")


def test_a_missing_file_and_a_folder_are_refused_as_weights(tmp_path):
    assert "no such file" in refusal("smt", weights=tmp_path / "nothing.pth")
    assert "no checkpoint in this folder" in refusal("smt", weights=tmp_path)
    assert "random, pretrained" in refusal("smt", weights="pretraned")


def test_pretrained_is_refused_where_nobody_publishes_weights():
    assert "nobody publishes" in refusal("van_b6", weights="pretrained")


@pytest.mark.parametrize("name", ["smt_tiny", "convit_tiny"])
def test_pretrained_without_a_network(monkeypatch, tmp_path, name):
    import huggingface_hub

    def no_network(*args, **options):
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", no_network)
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    text = refusal(name, weights="pretrained")
    assert "could not be downloaded" in text and "--weights FILE" in text


def test_pretrained_reads_what_was_downloaded(monkeypatch, tmp_path):
    def deliver(url, target, progress):
        assert url.endswith("/van_tiny_754.pth.tar")
        torch.save({"state_dict": reference_state("van_b0"), "args": argparse.Namespace()}, target)

    monkeypatch.setattr(torch.hub, "download_url_to_file", deliver)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    prepared = prepare("van_b0", weights="pretrained")
    assert prepared.source == find("van_b0").pretrained and prepared.sha256
    assert any("licence" in note for note in prepared.notes)


def test_pretrained_from_timms_hub_gets_first_exponents_and_the_licence(monkeypatch, tmp_path):
    import huggingface_hub

    def deliver(repository, file):
        assert (repository, file) == ("timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", "model.safetensors")
        state = reference_state("vit_ggem_tiny_patch16")
        del state["ggem.p"]
        save_file(state, tmp_path / file)
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", deliver)
    prepared = prepare("vit_ggem_tiny", weights="pretrained")
    assert prepared.source == "timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    assert any("exponents start at 3" in note for note in prepared.notes)
    assert any("nobody publishes weights trained with GGeM" in note for note in prepared.notes)
