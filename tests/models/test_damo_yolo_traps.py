"""What is easily got wrong about DAMO-YOLO: each mistake is made on purpose, and the golden files must see it."""

import damo_yolo_reference as reference
import numpy as np
import pytest
import torch
from torch import nn

from edgesmith.models.families.damo_yolo.backbone import CSPStage, Focus, ResBlock
from edgesmith.models.families.damo_yolo.head import Decode
from edgesmith.models.families.damo_yolo.layers import SPP
from edgesmith.models.families.damo_yolo.network import LAYOUTS, DamoYolo

CASE = "b2_320x416"


def usual_eps(module):
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = 1e-5


def spp_of_the_model(module):
    for layer in module.modules():
        if isinstance(layer, SPP):
            layer.conv1.act = layer.conv2.act = nn.ReLU()


def row_by_row(module):
    """Focus with the four pixels in reading order."""
    weight = module.backbone.block_list[0].conv.conv.weight  # (C, 12, 3, 3)
    with torch.no_grad():
        weight.copy_(weight.unflatten(1, (2, 2, 3)).transpose(1, 2).flatten(1, 3))


def half_a_cell(module):
    decode = module.head.integral

    def moved(grids):
        points, reach = Decode.priors(decode, grids)
        return points + reach.abs() / 2, reach

    decode.priors = moved


def neck_order(module):
    """merge_4 with its second and third input exchanged."""
    forward = module.neck.merge_4.forward
    down, up = 96, 384
    assert module.neck.merge_4.conv1.conv.in_channels == 192 + down + up

    def exchanged(c4, c3, x5):
        return forward(c4, torch.cat([x5, c3], dim=1))

    module.neck.merge_4.forward = exchanged


def boxes_off(mistake, prepare=lambda image: image):
    module = reference.model("tiny")
    mistake(module)
    image = torch.from_numpy(reference.picture(**reference.facts("tiny")["cases"][CASE]["input"]))
    with torch.inference_mode():
        boxes, _ = module(prepare(image))
    return np.abs(boxes.numpy() - reference.arrays("tiny")[f"{CASE}/boxes_xyxy"]).max()


def nothing(_):
    pass


def test_without_a_mistake_the_boxes_are_right():
    assert boxes_off(nothing) < 0.1


@pytest.mark.parametrize("mistake", [usual_eps, spp_of_the_model, row_by_row, half_a_cell, neck_order])
def test_a_mistake_in_the_network_moves_boxes(mistake):
    assert boxes_off(mistake) > 4  # pixels: eight times the limit of the golden test


@pytest.mark.parametrize("prepare", [lambda image: image / 255, lambda image: image.flip(1)], ids=["0..1", "BGR"])
def test_a_mistake_before_the_network_moves_boxes(prepare):
    assert boxes_off(nothing, prepare) > 4


def test_the_wrapper_of_the_csp_stages_is_relu_inside_silu_models():
    """Numbers: test_damo_yolo_golden.py, medium and large; here that the mixture is what they saw."""
    with torch.device("meta"):
        module = DamoYolo(LAYOUTS["medium"])
    stages = [layer for layer in module.modules() if isinstance(layer, CSPStage)]
    assert len(stages) == 4
    for stage in stages:
        wrapper = (stage.downsampler, stage.conv_start, stage.conv_shortcut, stage.conv_fuse)
        assert all(type(layer.act) is nn.ReLU for layer in wrapper)
        blocks = [layer for layer in stage.modules() if isinstance(layer, ResBlock)]
        assert blocks and all(type(block.act) is nn.SiLU for block in blocks)
    assert [type(stage.spp) is SPP for stage in stages] == [False, False, False, True]


@pytest.mark.parametrize("variant", list(LAYOUTS))
def test_one_spp_a_model_and_it_is_silu(variant):
    with torch.device("meta"):
        found = [layer for layer in DamoYolo(LAYOUTS[variant]).modules() if isinstance(layer, SPP)]
    assert len(found) == 1 and type(found[0].conv1.act) is type(found[0].conv2.act) is nn.SiLU


@pytest.mark.parametrize(
    ("variant", "blocks"), [("tiny", 3), ("small", 3), ("medium", 4), ("large", 6), ("nano_large", 2)]
)
def test_the_depth_of_the_neck_is_rounded_half_to_even(variant, blocks):
    """medium 4.5 -> 4, nano 1.5 -> 2."""
    with torch.device("meta"):
        assert len(DamoYolo(LAYOUTS[variant]).neck.merge_3.convs) == blocks


@pytest.mark.parametrize("variant", list(LAYOUTS))
def test_every_batch_norm_has_the_authors_epsilon(variant):
    with torch.device("meta"):
        layers = [layer for layer in DamoYolo(LAYOUTS[variant]).modules() if isinstance(layer, nn.BatchNorm2d)]
    assert layers and {layer.eps for layer in layers} == {1e-3}


def test_focus_takes_the_pixels_column_by_column():
    focus = Focus(3, 12, "relu")
    focus.conv = nn.Identity()
    image = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).reshape(2, 3, 4, 4)
    picked = focus(image)
    for position, (row, column) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
        for colour in range(3):
            assert torch.equal(picked[:, 3 * position + colour], image[:, colour, row::2, column::2])
