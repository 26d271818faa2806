"""Random weights of a detector are alive: a photograph gets tens to hundreds of detections, and every seed its own."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgesmith.exporter.run.pictures import packaged_pictures
from edgesmith.models import create, find
from edgesmith.models.families.damo_yolo.network import LAYOUTS
from edgesmith.models.families.damo_yolo.settle import picture_like
from edgesmith.runtime.pictures.preprocess import preprocess
from edgesmith.runtime.tasks.detection.detection import DetectionRule, keep

PHOTOGRAPHS = [picture.path for picture in packaged_pictures()]


def answer(module, image):
    with torch.inference_mode():
        boxes, scores = module(torch.as_tensor(image))
    return boxes.numpy(), scores.numpy()


@pytest.mark.parametrize(
    ("variant", "seed"),
    [
        *((variant, 0) for variant in ("tiny", "nano_small")),
        *(pytest.param(variant, 1, marks=pytest.mark.slow) for variant in LAYOUTS),
    ],
)
def test_photographs_get_tens_to_hundreds_of_detections(variant, seed):
    """Counted on seven variants, two seeds and six photographs: 44 to 1028; without settling, none or every cell."""
    spec = find(f"damo_yolo_{variant}")
    module = create(spec.name, seed=seed)
    assert len(PHOTOGRAPHS) >= 6, "scikit-image and scikit-learn bring six"
    for path in PHOTOGRAPHS:
        boxes, scores = answer(module, preprocess([path], spec.contract))
        rule = DetectionRule(nms="runtime", score=spec.score, iou=spec.iou, max_detections=100_000)
        kept = keep(np.concatenate([boxes[0], scores[0]], axis=1), rule)
        assert 20 <= len(kept.scores) <= 2000
        assert len(set(kept.classes.tolist())) >= 8 and kept.scores.max() > 0.15
        assert (scores > spec.score).any(axis=-1).mean() < 0.3  # some cells, not all
        sides = boxes[..., 2:] - boxes[..., :2]
        assert sides.std() > 10 and np.isfinite(sides).all()


def test_the_distribution_of_a_side_is_peaked():
    """Flat, each of the 17 bins would have 0.06; the mean of the largest bin of random logits of this spread is 0.55."""
    module = create("damo_yolo")
    with torch.inference_mode():
        for _, sides in module.levels(torch.from_numpy(preprocess(PHOTOGRAPHS[:1], find("damo_yolo").contract))):
            largest = sides.unflatten(1, (4, -1)).softmax(dim=2).amax(dim=2)
            assert 0.35 < largest.mean() < 0.8


def test_statistics_are_those_of_pictures_and_momentum_is_as_it_was():
    module = create("damo_yolo_nano_small")
    layers = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert all(layer.momentum == 0.03 and not layer.training for layer in layers)
    seen = []
    layers[-1].register_forward_hook(lambda layer, given, _: seen.append(given[0]))
    answer(module, picture_like(torch.Generator().manual_seed(0)))
    torch.testing.assert_close(seen[0].mean(dim=(0, 2, 3)), layers[-1].running_mean, rtol=0, atol=0.05)


def test_the_seed_decides_and_the_callers_generator_is_left_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, same, other = (create("damo_yolo_nano_small", seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(
        torch.equal(one[name], other[name]) for name in one if name.endswith(("running_var", "gfl_cls.0.bias"))
    )


def test_what_folds_away_in_a_fresh_network_does_not_here():
    """Scales of 1, biases of 0 and statistics of 0 and 1 would hide a pass that forgets them."""
    state = create("damo_yolo").state_dict()
    assert all(state[f"head.scales.{i}.scale"] != 1 for i in (0, 2))
    for name, value in state.items():
        if value.is_floating_point() and value.numel() > 1:
            assert value.std() > 0, name


@pytest.mark.parametrize(("size", "classes"), [((64, 96), 3), ((320, 416), 1), ((32, 32), 80)])
def test_other_sizes_and_class_counts(size, classes):
    boxes, scores = answer(
        create("damo_yolo_nano_small", num_classes=classes, image_size=size), np.full((2, 3, *size), 99, np.float32)
    )
    cells = sum(size[0] * size[1] // stride**2 for stride in (8, 16, 32))
    assert boxes.shape == (2, cells, 4) and scores.shape == (2, cells, classes)


def test_noise_looks_like_pictures():
    image = picture_like(torch.Generator().manual_seed(0))
    assert image.shape == (16, 3, 128, 128) and image.min() == 0 and image.max() == 255
    assert torch.equal(image, image.round())
    means = image.mean(dim=(1, 2, 3))
    assert means.std() > 15 and 90 < means.mean() < 160  # in a light of its own each, in the middle together


def test_settling_is_less_work_than_one_answer():
    """0.5 s on an idle core: less work than the answer to one picture."""
    with FlopCounterMode(display=False) as settling:
        model = create("damo_yolo")
    with FlopCounterMode(display=False) as answering:
        model(torch.zeros(1, 3, 640, 640))
    assert 0 < settling.get_total_flops() < answering.get_total_flops()
