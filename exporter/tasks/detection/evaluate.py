"""``edgesmith eval`` of detectors: mAP as COCO defines it (runtime/tasks/detection/evaluate.py), PyTorch beside the bundles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....runtime.backends.load import load
from ....runtime.ground.limits import FP32
from ....runtime.pictures.preprocess import preprocess
from ....runtime.tasks.detection import evaluate as boxes
from ....runtime.tasks.detection.boxes import Kept
from ....runtime.tasks.detection.task import DetectionTask
from ..eager import EAGER, eager

if TYPE_CHECKING:
    from ....runtime.bundle.bundle import Bundle
    from ....runtime.tasks.detection.detection import DetectionRule
    from ....runtime.tasks.evaluation import Asked, Progress


def evaluate(
    opened: Sequence[Bundle],
    data: str,
    asked: Asked,
    weights: str | None,
    save: str | None,
    progress: Progress | None,
) -> dict[str, Any]:
    """COCO's figures of each bundle, after those of PyTorch where ``weights`` is given."""
    boxes.check_data(data)  # before a checkpoint is read
    module = None if weights is None else eager(opened[0], weights)  # a wrong one ends it before the first picture
    result = boxes.evaluate(opened, data, asked, load, save, progress)
    if module is not None:
        result["rows"].insert(0, _eager_boxes(opened[0], module, data, asked, progress))
    return result


def _eager_boxes(bundle: Bundle, module: Any, data: str, asked: Asked, progress: Progress | None) -> dict[str, Any]:
    """The row of PyTorch: the bundle's contract and thresholds, suppression in the runtime."""
    from ....runtime.coco.annotations import read_coco

    coco, rule = read_coco(data, asked.images, bundle.labels, asked.limit), boxes.rule_of(bundle, asked)
    answer = _detect(bundle, module, rule, asked, boxes.sizes_of(coco))
    found = boxes.run_all(answer, coco, boxes.BATCH, EAGER, progress)
    return {"name": EAGER, "precision": FP32, "backend": "torch", **boxes.figures(found, coco, bundle.labels, rule)}


def _detect(
    bundle: Bundle, module: Any, rule: DetectionRule, asked: Asked, sizes: dict[Path, tuple[int, int]]
) -> boxes.Answer:
    from ....runtime.coco.files import read_annotated
    from ....runtime.tasks.detection.detection import in_image, keep
    from ...run.runners import torch_runner

    run, contract = torch_runner(module, asked.threads or 1, DetectionTask.outputs), bundle.contract

    def answer(paths: Sequence[Path]) -> list[Kept]:
        found = run(preprocess([read_annotated(path, sizes[path]) for path in paths], contract))
        return [in_image(keep(one, rule), sizes[path], contract) for one, path in zip(found, paths, strict=True)]

    return answer
