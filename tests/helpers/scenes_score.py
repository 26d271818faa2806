"""How well a detector finds the things of held-out scenes: the path of a bundle, with a torch module in its place.

scenes of a split > input contract > module > threshold and suppression > pixels of the picture > COCO's figures
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from edgesmith.models.fixtures.fixtures import SCENE_LABELS
from edgesmith.models.fixtures.scenes import scene
from edgesmith.runtime.coco.annotations import Truth
from edgesmith.runtime.coco.average_precision import evaluate_boxes
from edgesmith.runtime.pictures.preprocess import preprocess
from edgesmith.runtime.tasks.detection.detection import DetectionRule, in_image, keep_parts

if TYPE_CHECKING:
    from torch import nn

    from edgesmith.models.spec import ModelSpec

BATCH = 10


@lru_cache(maxsize=2)
def pictures_and_truths(count: int, split: str, size: int = 256) -> tuple[list[np.ndarray], list[Truth]]:
    """The first ``count`` scenes of a split, seed 0, and what is in them."""
    pictures, truths = [], []
    for index in range(count):
        picture, boxes, classes = scene(index, split, size)
        corners = boxes.astype(np.float64)
        area = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
        pictures.append(picture)
        truths.append(Truth(corners, classes, np.zeros(len(classes), bool), area, picture.shape[:2]))
    return pictures, truths


def measure(module: nn.Module, spec: ModelSpec, count: int, split: str = "held_out") -> dict[str, Any]:
    """``evaluate_boxes`` on the first ``count`` scenes of ``split``, at the model's thresholds."""
    import torch

    pictures, truths = pictures_and_truths(count, split)
    rule = DetectionRule("runtime", spec.score, spec.iou)
    found = []
    with torch.inference_mode():
        for start in range(0, count, BATCH):
            batch = pictures[start : start + BATCH]
            answers = module(torch.from_numpy(preprocess(batch, spec.contract)))
            for picture, boxes, scores in zip(batch, *(part.numpy() for part in answers), strict=True):
                found.append(in_image(keep_parts(boxes, scores, rule), picture.shape[:2], spec.contract))
    return evaluate_boxes(found, truths, SCENE_LABELS)
