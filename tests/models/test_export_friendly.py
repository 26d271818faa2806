"""A model may be traced as it comes: nothing is written by forward, no batch or image size is fixed on the way."""

import copy

import pytest
import torch
from torch.export import Dim, export

from edgesmith.models import MODELS, create, families, find

FIXTURES = [f"{family}_mnist" for family in families("classification")]


def image_of(name, batch=2, size=None):
    height, width = size or find(name).contract.size
    return torch.linspace(-2, 2, batch * 3 * height * width).reshape(batch, 3, height, width)


def attributes(model):
    """Everything a module carries outside of its parameters, buffers and children, by module."""
    return {
        (name, key): value
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if not key.startswith("_")
    }


@pytest.mark.parametrize("name", FIXTURES)
def test_forward_writes_no_attribute_and_no_buffer(name):
    model = create(name)
    before = attributes(model)
    buffers = {key: value.clone() for key, value in model.named_buffers()}
    identities = {key: id(value) for key, value in model.named_buffers()}
    with torch.inference_mode():
        model(image_of(name))
    assert before == attributes(model)
    assert identities == {key: id(value) for key, value in model.named_buffers()}
    assert all(torch.equal(value, buffers[key]) for key, value in model.named_buffers())


@pytest.mark.parametrize("name", FIXTURES)
def test_the_batch_stays_free_and_the_model_stays_whole(name):
    model = create(name)
    with torch.no_grad():
        expected = {batch: model(image_of(name, batch)) for batch in (1, 5)}
        program = export(model, (image_of(name),), dynamic_shapes=({0: Dim("batch", min=1, max=8)},)).module()
        for batch, logits in expected.items():
            torch.testing.assert_close(program(image_of(name, batch)), logits, rtol=0, atol=2e-6)
        assert type(model(image_of(name, 1))) is torch.Tensor  # ConViT would give a fake tensor, had it kept its table
        assert torch.equal(copy.deepcopy(model)(image_of(name, 1)), expected[1])


DYNAMIC = [n for n in FIXTURES if find(n).dynamic_size]


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n == "smt_mnist" else ()) for n in DYNAMIC])
def test_the_image_size_stays_free(name):
    model = create(name)
    sides = {0: Dim("batch", min=1, max=8), 2: Dim("height", min=64, max=512), 3: Dim("width", min=64, max=512)}
    program = export(model, (image_of(name, 2, (96, 128)),), dynamic_shapes=(sides,)).module()
    with torch.no_grad():
        for batch, size in ((1, (64, 64)), (3, (70, 91)), (1, (125, 165))):
            image = image_of(name, batch, size)
            torch.testing.assert_close(program(image), model(image), rtol=0, atol=2e-6)


def test_davit_at_a_size_that_pads_windows_and_patches_keeps_the_batch_free():
    """One export a size: with free sides, torch.export works on DaViT's two kinds of padding without coming to an end."""
    model = create("davit_mnist", image_size=(70, 90))
    image = image_of("davit_mnist", 2, (70, 90))
    with torch.no_grad():
        program = export(model, (image,), dynamic_shapes=({0: Dim("batch", min=1, max=8)},)).module()
        for batch in (1, 3):
            image = image_of("davit_mnist", batch, (70, 90))
            torch.testing.assert_close(program(image), model(image), rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", [n for n, spec in MODELS.items() if spec.family == "convit"])
def test_convit_has_its_positions_before_the_first_forward(name):
    with torch.device("meta"):
        model = find(name).build()
    blocks = [module for module in model.modules() if hasattr(module, "get_rel_indices")]
    assert blocks and all(block.rel_indices.shape == (1, model.num_patches, model.num_patches, 3) for block in blocks)


def test_convit_positions_are_column_row_and_squared_distance():
    table = next(module.rel_indices for module in create("convit_mnist").modules() if hasattr(module, "rel_indices"))
    assert table[0, 1, 6].tolist() == [1, 1, 2]  # from row 0 column 1 to row 1 column 2 of the 4x4 patches
    assert table[0, 6, 1].tolist() == [-1, -1, 2]
