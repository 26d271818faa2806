"""What a device will test itself with: inputs that tell a right graph from a wrong one, and a picture from its pixels on."""

from __future__ import annotations

import numpy as np

from ...runtime.ground.limits import quantised
from ..plan.plan import Plan
from ..run.runners import in_batches, seeded
from .judge import Judge

BLOCK = 16  # pixels: edges show which kernel resizes, and blocks are packed into a few kilobytes
MOST = (400, 560)


def golden_images(plan: Plan, judge: Judge) -> tuple[np.ndarray, list[str]]:
    """N inputs for the self-test, and a note where they can tell little.

    One batch of numbers; or some pictures, where ranges were fitted to pictures or a task finds nothing in numbers. Those
    in which PyTorch finds something come first.
    """
    shape, task = plan.shapes.opt, plan.task
    if not quantised(plan.precision) and task.golden_seeded:
        return seeded(shape, plan.contract), []
    kinds: dict[str, tuple[np.ndarray, bool]] = {}
    for kind, images in judge.inputs(shape).items():
        telling = task.telling(judge.answer(kind, images, shape), plan.rule)
        kinds[kind] = (images[np.argsort(~telling, kind="stable")], bool(telling.any()))
    *others, (images, tells) = kinds.values()
    if not tells and not quantised(plan.precision):  # ranges that were fitted to pictures hold for no numbers
        images, tells = next((one for one in others if one[1]), (images, tells))
    told = (
        "PyTorch finds nothing in the golden pictures, so the self-test on the device has little or nothing to judge: "
    )
    notes = [] if tells else [told + "export with --data and pictures in which there is something to find"]
    count = max(task.golden_pictures, shape[0])
    return np.concatenate(list(in_batches(images[:count], shape[0]))), notes


def golden_picture(size: tuple[int, int], seed: int = 0, channels: int = 3) -> np.ndarray:
    """(H, W, 3 or 4) uint8: blocks of random colours (and alpha), of other sides than ``size`` and other proportions."""
    height, width = (
        min(side * quarters // 4 + 3, most) for side, quarters, most in zip(size, (5, 7), MOST, strict=True)
    )
    block = max(1, min(BLOCK, height // 16))
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (-(-height // block), -(-width // block), channels), dtype=np.uint8)
    return colours.repeat(block, axis=0).repeat(block, axis=1)[:height, :width].copy()
