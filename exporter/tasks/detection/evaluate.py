"""``edgesmith eval`` of detectors: mAP as COCO defines it (runtime/tasks/detection/evaluate.py), PyTorch beside the bundles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....runtime.backends.load import load
from ....runtime.ground.limits import FP32
from ....runtime.pictures.preprocess import preprocess
from ....runtime.tasks.detection import evaluate as boxes
from ....runtime.tasks.detection.boxes import Kept
from ....runtime.tasks.detection.task import DetectionTask
from ....runtime.tasks.parts import Source, source_of
from ..eager import EAGER, eager, eager_once

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
    boxes.check_data(data, asked.images)  # before a checkpoint is read
    module = None if weights is None else eager(opened[0], weights)  # a wrong one ends it before the first picture
    result = boxes.evaluate(opened, data, asked, load, save, progress)
    if weights is not None:
        result["rows"].insert(0, _eager_boxes(opened[0], module, data, asked, weights, progress))
    return result


def _eager_boxes(
    bundle: Bundle, module: Any, data: str, asked: Asked, weights: str, progress: Progress | None
) -> dict[str, Any]:
    """The row of PyTorch: the bundle's contract and thresholds, suppression in the runtime."""
    from ....runtime.coco.annotations import read_coco

    coco, rule = read_coco(data, asked.images, bundle.labels, asked.limit), boxes.rule_of(bundle, asked)
    if asked.spread is None:
        answer = _detect(bundle, module, rule, asked.threads, boxes.sizes_of(coco))
        found = boxes.run_all(answer, coco.paths, boxes.BATCH, EAGER, progress)
    else:
        about = (source_of(bundle), weights, rule, asked.threads)
        found = asked.spread(_eager_part, about, boxes.pictures_of(coco), boxes.BATCH, EAGER, progress)
    return {"name": EAGER, "precision": FP32, "backend": "torch", **boxes.figures(found, coco, bundle.labels, rule)}


def _eager_part(
    source: Source, weights: str, rule: DetectionRule, threads: int | None,
    pictures: Sequence[tuple[Path, tuple[int, int]]],
) -> list[Kept]:  # fmt: skip
    """Some of the pictures, in a process of their own that makes the network anew."""
    bundle, module = eager_once(source, weights)
    answer = _detect(bundle, module, rule, threads, dict(pictures))
    return boxes.run_all(answer, [path for path, _ in pictures], boxes.BATCH, "", None)


def _detect(
    bundle: Bundle, module: Any, rule: DetectionRule, threads: int | None, sizes: Mapping[Path, tuple[int, int]]
) -> boxes.Answer:
    from ....runtime.coco.files import read_annotated
    from ....runtime.tasks.detection.detection import in_image, keep
    from ...run.runners import torch_runner

    run, contract = torch_runner(module, threads or 1, DetectionTask.outputs), bundle.contract

    def answer(paths: Sequence[Path]) -> list[Kept]:
        found = run(preprocess([read_annotated(path, sizes[path]) for path in paths], contract))
        return [in_image(keep(one, rule), sizes[path], contract) for one, path in zip(found, paths, strict=True)]

    return answer
