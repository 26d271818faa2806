"""What loading changes in a checkpoint is what timm's own loader makes of it, at six image sizes with odd grids.

The judge is timm: ``create_model(..., pretrained=True, pretrained_cfg_overlay={"file": ...})`` reads the file itself.
"""

import numpy as np
import pytest
import timm
import torch
from reference_weights import davit_official, reference_array
from safetensors.torch import save_file

from edgesmith.models import create, find, prepare
from edgesmith.models.fixtures.fixtures import _SMALL_CONVIT, _SMALL_DAVIT
from edgesmith.runtime.errors import UserMistake

SMALL_VIT = {"patch_size": 7, "embed_dim": 64, "depth": 4, "num_heads": 4}  # as vit_ggem_mnist
SIZES = [(28, 112), (112, 28), (56, 56), (42, 63), (28, 28), (77, 35)]  # the first two have 64 patches, as 56x56 has
DAVIT_SIZES = [(64, 64), (32, 128), (112, 448), (60, 100), (33, 47), (224, 96)]


def filled(module):
    """A state dict under the module's names, with reference values: nothing is left at a constant."""
    return {
        name: torch.from_numpy(reference_array(name, value.shape)) if value.is_floating_point() else value
        for name, value in module.state_dict().items()
    }


def by_timm(name, path, trained=(28, 28), **config):
    overlay = {"file": str(path), "num_classes": 10, "input_size": (3, *trained), "custom_load": False}
    return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=10, **config).eval()


def image_of(size):
    return torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, *size), dtype=np.float32))


@pytest.fixture
def vit_file(tmp_path):
    """A timm ViT trained at 56x56, on 8x8 patches."""
    model = timm.create_model("vit_tiny_patch16_224", img_size=56, num_classes=10, **SMALL_VIT)
    save_file(filled(model), tmp_path / "vit.safetensors")
    return tmp_path / "vit.safetensors"


@pytest.mark.parametrize("size", SIZES)
def test_a_vit_trunk_is_what_timm_loads_at_every_grid(vit_file, size):
    ours = create("vit_ggem_mnist", weights=vit_file, image_size=size)
    theirs = by_timm("vit_tiny_patch16_224", vit_file, (56, 56), img_size=size, **SMALL_VIT)
    images = image_of(size)
    with torch.inference_mode():
        assert torch.equal(ours.forward_features(images), theirs.forward_features(images))
        tokens = theirs.forward_features(images)[:, 1:]  # without the class token, as the paper pools
        cubes = tokens.double().clamp(min=1e-6) ** 3
        expected = cubes.mean(dim=1) ** (1 / 3) @ theirs.head.weight.double().T + theirs.head.bias
        torch.testing.assert_close(ours(images).double(), expected, atol=1e-5, rtol=0)


def test_the_same_number_of_patches_on_another_grid_is_told(vit_file):
    notes = prepare("vit_ggem_mnist", weights=vit_file, image_size=(28, 112)).notes
    assert any("resampled from 64 patches (8x8) to 4x16" in note and "config.json" in note for note in notes)
    notes = prepare("vit_ggem_mnist", weights=vit_file, image_size=(56, 56)).notes
    assert not any("resampled" in note for note in notes)


def test_a_grid_that_is_not_square_loads_at_its_own_size_only(tmp_path):
    """42x56 has 48 patches: no square, so that another size has nothing to resample from."""
    path = tmp_path / "vit.safetensors"
    state = filled(timm.create_model("vit_tiny_patch16_224", img_size=(42, 56), num_classes=10, **SMALL_VIT))
    save_file(state, path)
    assert torch.equal(create("vit_ggem_mnist", weights=path, image_size=(42, 56)).pos_embed, state["pos_embed"])
    with pytest.raises(UserMistake, match=r"pos_embed \(1, 49, 64\)"):
        create("vit_ggem_mnist", weights=path, image_size=(28, 28))


@pytest.mark.slow
def test_the_published_size_at_112x448_is_what_timm_loads(tmp_path):
    path = tmp_path / "vit.safetensors"
    save_file(filled(timm.create_model("vit_tiny_patch16_224", num_classes=10)), path)
    ours = create("vit_ggem_tiny", weights=path, num_classes=10, image_size=(112, 448))
    theirs = by_timm("vit_tiny_patch16_224", path, (224, 224), img_size=(112, 448))
    images = image_of((112, 448))
    with torch.inference_mode():
        assert torch.equal(ours.forward_features(images), theirs.forward_features(images))


@pytest.mark.parametrize("layout", ["official", "timm"])
@pytest.mark.parametrize("size", DAVIT_SIZES)
def test_a_davit_is_what_timm_loads_at_every_size(tmp_path, layout, size):
    state = filled(timm.create_model("davit_tiny", num_classes=10, **_SMALL_DAVIT))
    path = tmp_path / "davit.pth"
    torch.save(davit_official(state) if layout == "official" else state, path)
    ours = create("davit_mnist", weights=path, image_size=size)
    theirs = by_timm("davit_tiny", path, **_SMALL_DAVIT)
    with torch.inference_mode():
        assert torch.equal(ours(image_of(size)), theirs(image_of(size)))


def test_a_convit_is_what_timm_loads_at_its_size_and_refused_at_others(tmp_path):
    """timm's position tables are of the square root of the number of patches, whatever the picture's sides are."""
    path = tmp_path / "convit.pth"
    model = timm.create_model("convit_tiny", img_size=28, num_classes=10, **_SMALL_CONVIT)
    torch.save(filled(model), path)
    theirs = by_timm("convit_tiny", path, img_size=28, **_SMALL_CONVIT)
    with torch.inference_mode():
        assert torch.allclose(
            create("convit_mnist", weights=path)(image_of((28, 28))), theirs(image_of((28, 28))), rtol=0, atol=1e-5
        )
    for size in (size for size in SIZES if size != (28, 28)):
        with pytest.raises(UserMistake, match="has one image size"):
            create("convit_mnist", weights=path, image_size=size)


@pytest.mark.parametrize("name", ["smt_mnist", "van_mnist", "davit_mnist", "convit_mnist", "vit_ggem_mnist"])
def test_loading_at_the_trained_size_changes_no_tensor(tmp_path, name):
    state = filled(find(name).build())
    save_file(state, tmp_path / "x.safetensors")
    loaded = create(name, weights=tmp_path / "x.safetensors").state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


@pytest.mark.parametrize("name", ["smt_mnist", "van_mnist", "davit_mnist"])
@pytest.mark.parametrize("size", [(64, 128), (96, 64), (65, 83)])
def test_where_nothing_depends_on_the_size_loading_at_another_changes_no_tensor(tmp_path, name, size):
    state = filled(find(name).build())
    save_file(state, tmp_path / "x.safetensors")
    loaded = create(name, weights=tmp_path / "x.safetensors", image_size=size).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def test_exponents_in_two_axes_are_not_flattened(tmp_path):
    state = filled(find("vit_ggem_mnist").build())
    for shape, fits in (((4,), True), ((1, 4), True), ((2, 2), False)):
        save_file({**state, "ggem.p": state["ggem.p"].reshape(shape).contiguous()}, tmp_path / "x.safetensors")
        if fits:
            loaded = create("vit_ggem_mnist", weights=tmp_path / "x.safetensors")
            assert torch.equal(loaded.ggem.p, state["ggem.p"])
        else:
            with pytest.raises(UserMistake, match=r"ggem.p \(2, 2\)"):
                create("vit_ggem_mnist", weights=tmp_path / "x.safetensors")
