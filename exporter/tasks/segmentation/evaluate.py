"""``edgesmith eval`` of segmenters with PyTorch beside them; the bundles are measured as on a device (runtime/tasks/segmentation)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....runtime.backends.load import load
from ....runtime.ground.limits import FP32
from ....runtime.pictures.preprocess import pixels, preprocess
from ....runtime.tasks.segmentation.evaluate import BATCH, count, figures
from ....runtime.tasks.segmentation.evaluate import evaluate as on_device
from ....runtime.tasks.segmentation.pairs import Pair, Reading
from ....runtime.tasks.segmentation.places import classes
from ...run.runners import torch_runner
from ..eager import EAGER, eager

if TYPE_CHECKING:
    from ....runtime.bundle.bundle import Bundle
    from ....runtime.tasks.evaluation import Asked, Progress


def evaluate(
    opened: Sequence[Bundle], data: str, asked: Asked, weights: str | None, save: str | None, progress: Progress | None
) -> dict[str, Any]:
    """One row a bundle, after one of PyTorch where ``weights`` is given: the checkpoint of the first bundle."""
    if weights is None:
        return on_device(opened, data, asked, load, save, progress)
    bundle, module = opened[0], eager(opened[0], weights)
    run = torch_runner(module, asked.threads or 1)

    def answer(paths: Sequence[Path]) -> list[np.ndarray]:
        images = [pixels(str(path), bundle.contract.channels) for path in paths]
        logits = run(preprocess(images, bundle.contract))
        return [
            classes(one, (image.shape[0], image.shape[1]), bundle.contract)
            for one, image in zip(logits, images, strict=True)
        ]

    def in_torch(pairs: Sequence[Pair], reading: Reading) -> dict[str, Any]:
        counts, unseen = count(answer, pairs, reading, BATCH, EAGER, progress)
        return {"name": EAGER, "precision": FP32, "backend": "torch", **figures(counts, unseen, bundle.labels)}

    return on_device(opened, data, asked, load, save, progress, in_torch)
