"""The task of detectors in an export: thresholds, suppression in the graph, rows of agreement, pictures of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ....models.registry import families, find
from ....runtime.tasks.detection.detection import DetectionRule, rule_of
from ....runtime.tasks.detection.verdict import compare
from ...run.runners import Runner
from ..task import Engine, ExportTask
from . import bench, rows
from .plan import CHOICES, fitted, plan_detection, usual_rule

if TYPE_CHECKING:
    import onnx_ir as ir

    from ....models.spec import ModelSpec
    from ....runtime.bundle.bundle import Bundle
    from ....runtime.pictures.preprocess import ImageContract, Picture
    from ....runtime.tasks.evaluation import Asked, Progress


class DetectionExport(ExportTask):
    """Boxes and scores of all cells, or what suppression leaves of them."""

    name = "detection"
    noun, verb = "detector", "detects"
    files = "boxes batch x N x 4 with scores batch x N x classes"
    choices = CHOICES
    key = "detection"
    golden_pictures = 2  # many answers a picture, and large ones
    golden_seeded = False
    draws = True
    finds = "boxes"

    def fitted(self, contract: ImageContract, choices: Mapping[str, Any]) -> ImageContract:
        return fitted(contract, choices.get("fit"))

    def plan(self, spec: ModelSpec, target: Engine, choices: Mapping[str, Any]) -> DetectionRule:
        return plan_detection(spec, target, choices)

    def usual(self, spec: ModelSpec) -> DetectionRule:
        return usual_rule(spec)

    def rule_of(self, bundle: Bundle) -> DetectionRule:
        return rule_of(bundle)

    def finish(self, model: ir.Model, rule: DetectionRule, engine: str) -> tuple[ir.Model, list[str]]:
        from .nms_graph import with_nms

        return with_nms(model, rule, engine)

    def in_graph(self, rule: DetectionRule | None) -> bool:
        return rule is not None and rule.nms == "graph"

    def agreement(
        self, stage: str, runner: str, inputs: str, shape: tuple[int, ...], judge: np.ndarray, other: np.ndarray,
        precision: str, *, rule: Any = None, in_graph: bool = False,
    ) -> rows.DetectionRow:  # fmt: skip
        return rows.agreement(stage, runner, inputs, shape, judge, other, precision, rule=rule, in_graph=in_graph)

    def telling(self, answers: np.ndarray, rule: DetectionRule) -> np.ndarray:
        """Pictures in which something is found: two empty lists are alike, whatever the weights."""
        return np.asarray((answers[..., 4:] > rule.score).any(axis=(1, 2)))

    def golden_figures(
        self, answers: np.ndarray, found: np.ndarray, rule: DetectionRule, precision: str
    ) -> dict[str, Any]:
        return {"golden_detections": compare(answers, found, rule, False)}

    def pictures(
        self, inputs: Sequence[tuple[str, Picture]], judge: Runner, bundle: Runner, rule: DetectionRule,
        contract: ImageContract, labels: Sequence[str], batch: int,
    ) -> tuple[dict[str, bytes], dict[str, Any]]:  # fmt: skip
        from .pictures import side_by_side

        files, report = side_by_side(inputs, judge, bundle, rule, contract, labels, batch=batch)
        return files, {"detection_report": report}

    def rule_words(self, rule: Mapping[str, Any]) -> str:
        told = DetectionRule.from_json(rule)  # which has a value for what an old manifest leaves out
        across = " across classes" if told.agnostic_nms else ""
        return f"boxes: NMS {told.nms}{across}, score {told.score:g}, IoU {told.iou:g}, at most {told.max_detections}"

    def claims(self, shapes: Mapping[str, Sequence[Any]]) -> dict[str, str]:
        """Boxes and scores are known by name, or else by their shapes."""
        if named := super().claims(shapes):
            return named
        boxes = [name for name, shape in shapes.items() if len(shape) == 3 and shape[-1] == 4]
        scores = [name for name, shape in shapes.items() if len(shape) == 3 and shape[-1] != 4]
        one_each = len(boxes) == len(scores) == 1
        return dict(zip(self.runtime.outputs, (boxes[0], scores[0]), strict=True)) if one_each else {}

    def class_count(self, shapes: Sequence[Sequence[Any]]) -> Any:
        return shapes[-1][-1]

    def assumed(self) -> tuple[ImageContract, DetectionRule]:
        """Those of the first family that detects."""
        spec = find(next(iter(families(self.name))))
        return spec.contract, usual_rule(spec)

    def classes_of(self, answer: np.ndarray) -> int:
        return int(answer.shape[-1]) - 4

    def opened(self, answers: np.ndarray, classes: int) -> np.ndarray:
        """Detections (n, D, 6) -> the answer (n, D, 4 + K) of a graph whose only candidates they are."""
        from ....calibration.judge.detection import cells_of_rows

        return cells_of_rows(answers, max(classes, int(answers[..., 5].max(initial=0)) + 1))

    def bench_images(self, bundle: Bundle, shape: tuple[int, ...]) -> np.ndarray:
        return bench.images(bundle, shape)

    def apart(self, judge: np.ndarray, other: np.ndarray, rule: DetectionRule, in_graph: bool) -> dict[str, float]:
        return bench.agreement(rule, judge, other, in_graph)

    def end_to_end(self, session: Any) -> dict[str, Any]:
        return bench.end_to_end(session)

    def evaluate(
        self, opened: Sequence[Bundle], data: str, asked: Asked, weights: str | None, save: str | None,
        progress: Progress | None,
    ) -> dict[str, Any]:  # fmt: skip
        from .evaluate import evaluate

        return evaluate(opened, data, asked, weights, save, progress)
