"""All seven variants: sizes as published, and the re-parameterisation changes the tensors but not the function."""

import damo_yolo_reference as reference
import numpy as np
import pytest
import torch
from damo_yolo_reference import VARIANTS
from torch import nn

from edgesmith.models import create, find
from edgesmith.models.families.damo_yolo.deploy import is_training_form, to_deploy
from edgesmith.models.families.damo_yolo.network import LAYOUTS, DamoYolo, build, deployed
from edgesmith.models.families.damo_yolo.settle import picture_like

# Parameters in training and deploy form, 80 classes, counted on the authors' code; GFLOPs at the variant's own size,
# counted there with thop, which adds BatchNorm and activations to the convolutions.
PUBLISHED = {
    "tiny": (8_875_727, 8_479_631, 18.12),
    "small": (16_935_647, 16_251_631, 37.78),
    "medium": (29_241_727, 28_178_175, 61.89),
    "large": (43_861_759, 42_058_111, 97.46),
    "nano_small": (1_405_691, 1_405_691, 1.62),
    "nano_medium": (2_707_219, 2_707_219, 3.80),
    "nano_large": (5_688_579, 5_688_579, 6.17),
}
ALL = list(PUBLISHED)


def shapes(variant, deploy, classes=80):
    with torch.device("meta"):
        return DamoYolo(LAYOUTS[variant], classes, deploy)


def convolution_gflops(module, size):
    """Two operations a multiplication, counted on the meta device."""
    total = 0

    def count(layer, _, output):
        nonlocal total
        total += 2 * output.numel() * layer.weight[0].numel()

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    module.eval()(torch.empty(1, 3, size, size, device="meta"))
    return total / 1e9


def test_every_variant_is_in_the_table():
    assert set(LAYOUTS) == set(PUBLISHED)


@pytest.mark.parametrize("variant", ALL)
def test_both_forms_have_the_published_number_of_parameters(variant):
    counts = [sum(p.numel() for p in shapes(variant, deploy).parameters()) for deploy in (False, True)]
    assert tuple(counts) == PUBLISHED[variant][:2]


@pytest.mark.parametrize("variant", ALL)
def test_operations_at_the_size_the_authors_use(variant):
    """Between 0.985 and 1 of thop's count, in the nano models from 0.9, where activations are a larger part."""
    side = find(f"damo_yolo_{variant}").contract.size[0]
    share = convolution_gflops(shapes(variant, deploy=True), side) / PUBLISHED[variant][2]
    assert (0.90 if LAYOUTS[variant].nano else 0.985) < share < 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_operations_of_the_convolutions_are_the_authors(variant):
    for size, counted in reference.facts(variant)["flops"]["measured_on_deploy_form"].items():
        found = convolution_gflops(shapes(variant, deploy=True), int(size))
        assert abs(found - counted["conv_only_gflops"]) <= 5e-4  # the file has three decimals


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("deploy", [False, True])
def test_tensor_names_are_the_official_ones(variant, deploy):
    described = reference.facts(variant)
    official = described["tensors_deploy" if deploy and "tensors_deploy" in described else "tensors"]
    ours = {name: list(value.shape) for name, value in shapes(variant, deploy).state_dict().items()}
    assert ours == {name: shape for name, shape, *_ in official}


@pytest.mark.parametrize("variant", ALL)
def test_training_form_is_deploy_form_on_random_weights(variant):
    """1e-9 in float64, boxes in pixels, scores and head maps; the two forms share no kernel in a re-parameterised block."""
    training = create(f"damo_yolo_{variant}", seed=3).double()
    deploy = deployed(training)
    assert not is_training_form(deploy.state_dict())
    assert is_training_form(training.state_dict()) == (not LAYOUTS[variant].nano)
    image = picture_like(torch.Generator().manual_seed(1))[:2, :, :96, :64].double()
    with torch.inference_mode():
        one, other = reference.outputs(training, image), reference.outputs(deploy, image)
    assert one.keys() == other.keys() and len(one) == 15
    for name, value in one.items():
        assert np.abs(value - other[name]).max() <= 1e-9, name
        assert value.std() > 1e-4, name  # something to compare: most scores are near 0


def test_to_deploy_again_changes_nothing():
    deploy = to_deploy(reference.model("tiny").state_dict())
    again = to_deploy(deploy)
    assert again.keys() == deploy.keys() and all(again[name] is value for name, value in deploy.items())


def test_the_training_form_is_left_as_it_was():
    training = reference.model("tiny")
    before = {name: value.clone() for name, value in training.state_dict().items()}
    deployed(training)
    after = training.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], value) for name, value in before.items())


def test_the_deploy_form_keeps_type_and_mode():
    training = build(3, (64, 64), variant="tiny").half().train()
    deploy = deployed(training)
    assert deploy.training and deploy.num_classes == 3
    assert {value.dtype for value in deploy.parameters()} == {torch.float16}


@pytest.mark.parametrize(("deploy", "count"), [(False, 48), (True, 0)])
def test_branches_are_gone_from_the_deploy_form(deploy, count):
    """24 re-parameterised blocks in tiny, two branches each."""
    names = [name for name, _ in shapes("tiny", deploy).named_modules()]
    assert sum(name.endswith(("rbr_dense", "rbr_1x1")) for name in names) == count
    assert sum(name.endswith("rbr_reparam") for name in names) == 24 - count // 2


def test_a_shortcut_between_unequal_widths_is_refused():
    from edgesmith.models.families.damo_yolo.backbone import ResBlock

    with pytest.raises(ValueError, match="32 -> 64 channels beside a shortcut"):
        ResBlock(32, 64, 16, 1, 1, "relu", deploy=False)
