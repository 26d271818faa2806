"""Decoding against boxes worked out by hand, and through torch.export with a free batch."""

import itertools

import numpy as np
import pytest
import torch
from torch.export import Dim, export

from edgesmith.models.families.damo_yolo.head import STRIDES, Decode
from edgesmith.models.families.damo_yolo.network import build

BINS = 17
GRIDS = ((4, 6), (2, 3), (1, 2))  # cells, (height, width), level by level


def one_hot_sides(bins, batch, height, width):
    """(B, 4*BINS, h, w) whose softmax is 1 at ``bins`` (left, top, right, bottom) in every cell."""
    sides = torch.full((batch, 4, BINS, height, width), -1e4)
    for side, position in enumerate(bins):
        sides[:, side, position] = 0.0
    return sides.flatten(1, 2)


def levels_of(bins=(1, 2, 3, 4), batch=2, classes=5):
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(batch, classes, height, width, generator=generator), one_hot_sides(bins, batch, height, width))
        for height, width in GRIDS
    ]


def test_decoded_boxes_are_those_worked_out_by_hand():
    """From the cell's top-left corner: 1 cell left, 2 up, 3 right, 4 down; levels 8, 16, 32, each row by row."""
    boxes, _ = Decode(BINS)(levels_of())
    expected = [
        [(x - 1) * stride, (y - 2) * stride, (x + 3) * stride, (y + 4) * stride]
        for (height, width), stride in zip(GRIDS, STRIDES, strict=True)
        for y, x in itertools.product(range(height), range(width))
    ]
    assert boxes.shape == (2, len(expected), 4)
    np.testing.assert_array_equal(boxes[0].numpy(), np.array(expected, np.float32))
    np.testing.assert_array_equal(boxes[1].numpy(), boxes[0].numpy())


def test_a_side_is_the_expectation_of_its_distribution():
    decode = Decode(BINS).double()
    probabilities = torch.zeros(4, BINS, dtype=torch.float64) + 1e-300
    for side, (low, share) in enumerate([(0, 0.25), (3, 0.5), (7, 0.75), (15, 0.1)]):
        probabilities[side, low], probabilities[side, low + 1] = 1 - share, share
    distances = decode.distances(probabilities.log().reshape(1, 1, -1))
    np.testing.assert_allclose(distances.numpy(), [[[0.25, 3.5, 7.75, 15.1]]], rtol=1e-12)


def test_scores_are_sigmoids_in_the_order_of_the_boxes():
    levels = levels_of()
    _, scores = Decode(BINS)(levels)
    start = 0
    for (logits, _), (height, width) in zip(levels, GRIDS, strict=True):
        for y, x in itertools.product(range(height), range(width)):
            torch.testing.assert_close(
                scores[:, start + y * width + x], logits[:, :, y, x].sigmoid(), rtol=0, atol=1e-7
            )
        start += height * width
    assert start == scores.shape[1]


@pytest.fixture(scope="module")
def small_model():
    torch.manual_seed(0)
    return build(7, (64, 96), variant="nano_small").eval()


def test_classes_and_candidates_of_a_model(small_model):
    with torch.inference_mode():
        boxes, scores = small_model(torch.full((1, 3, 64, 96), 114.0))
    assert boxes.shape == (1, 96 + 24 + 6, 4) and scores.shape == (1, 126, 7)
    assert 0.005 < scores.mean() < 0.02  # an untrained head says 1 % of every class


def test_the_batch_stays_free(small_model):
    image = 255 * torch.rand(5, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        program = export(small_model, (image[:2],), dynamic_shapes=({0: Dim("batch", min=1, max=8)},)).module()
        for batch in (1, 5):
            for found, expected in zip(program(image[:batch]), small_model(image[:batch]), strict=True):
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_the_image_size_stays_free(small_model):
    """Multiples of 32, told to the exporter as 32 times something."""
    height, width = Dim("height", min=2, max=20), Dim("width", min=2, max=20)
    with torch.no_grad():
        program = export(
            small_model, (torch.zeros(1, 3, 64, 96),), dynamic_shapes=({2: 32 * height, 3: 32 * width},)
        ).module()
        image = 255 * torch.rand(1, 3, 160, 128, generator=torch.Generator().manual_seed(1))
        for found, expected in zip(program(image), small_model(image), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
