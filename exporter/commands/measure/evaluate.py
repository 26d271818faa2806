"""``edgesmith eval BUNDLE ... --data``: accuracy of bundles, and of PyTorch beside them, on the user's own set.

detector      --data coco.json --images DIR       mAP as COCO defines it (exporter/tasks/detection/evaluate.py)
              --data data.yaml                    the same, of a YOLO set
classifier    --data FOLDER of class sub-folders  top-1 and top-5 (exporter/tasks/classification/evaluate.py)
segmenter     --data FOLDER of images and masks   mean IoU (exporter/tasks/segmentation/task.py)
features      --data FOLDER                       nearest neighbours and cosine (exporter/tasks/features/evaluate.py)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ....runtime.bundle.bundle import Bundle, open_bundle
from ....runtime.commands.evaluation.log import check_log, keep_log
from ....runtime.commands.evaluation.page import check_page, keep_page, kept_lines
from ....runtime.errors import UserMistake
from ....runtime.tasks.evaluation import Asked, Progress, check_settings
from ...run.several.shared_out import sharing_out
from ...tasks.known import EXPORTS, each, find_export
from ...tasks.task import ExportTask

__all__ = ["Asked", "evaluate", "show"]


def evaluate(
    bundles: Sequence[str],
    data: str,
    asked: Asked | None = None,
    *,
    weights: str | None = None,
    save: str | None = None,
    ray: str | None = None,
    report: str | None = None,
    overwrite: bool = False,
    log: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """One row a bundle, after one of PyTorch where ``weights`` is given: the checkpoint that the first bundle was made from.

    ``report``: a page, which ``overwrite`` may replace. ``log``: where each row becomes a line. ``ray``: the address of a Ray cluster, or "local": the pictures are shared out, and the figures are those of one process.

    Raises UserMistake for bundles of several tasks, and for whatever cannot be used.
    """
    asked = asked or Asked()
    opened = [open_bundle(bundle) for bundle in bundles]
    if len({bundle.task for bundle in opened}) != 1:
        raise UserMistake(
            "The bundles have different tasks",
            found=", ".join(f"{bundle.path.name}: {bundle.task}" for bundle in opened),
            expected=each("{}s only", list(EXPORTS.values())[::-1], ", or "),
            attempt="one eval a task",
        )
    task = find_export(opened[0].task)
    check_settings(asked, task.runtime.judged_with)
    page, logging = check_page(report, overwrite), check_log(log)
    result = _judged(task, opened, data, asked, weights, save, ray, progress)
    if page is not None:
        keep_page(page, result, task.runtime)
    if logging is not None:
        keep_log(logging, result)
    return result


def _judged(
    task: ExportTask, opened: Sequence[Bundle], data: str, asked: Asked, weights: str | None, save: str | None,
    ray: str | None, progress: Progress | None,
) -> dict[str, Any]:  # fmt: skip
    if ray is None:
        return task.evaluate(opened, data, asked, weights, save, progress)
    place = weights if weights is None or not Path(weights).exists() else str(Path(weights).absolute())
    with sharing_out(ray, asked.threads) as spread:
        result = task.evaluate(opened, data, replace(asked, spread=spread), place, save, progress)
    if not spread.parts:
        result["notes"].append(f"nothing was shared out by --ray {ray}: {opened[0].task} is judged in one process")
    return result


def show(result: dict[str, Any], per_class: bool = False) -> str:
    """The result as text."""
    return find_export(result["task"]).show(result, per_class) + kept_lines(result)
