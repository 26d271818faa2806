"""The task of detectors: boxes and scores of all cells, or what suppression left of them -> Detections in pixels of the picture.

    boxes (B, N, 4), scores (B, N, K)                          joined (B, N, 4 + K)
    with NMS in the graph: num_detections (B, 1),
      detection_boxes (B, D, 4), detection_scores (B, D),
      detection_classes (B, D)                                 joined (B, D, 6): box, score, class

Rows past num_detections are filled with score 0 and class -1.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BundleRefused, UserMistake, one_line
from ...report.kinds import refuse
from ..described import Described
from ..task import ImageSize, Task, Times
from .detection import TASK, DetectionRule, Detections, in_image, keep_parts, kept_rows, rule_of
from .shapes import BOXES, CELLS, NMS_OUTPUTS, SCORES, SUPPRESSED, expected, unfit
from .told import TOLD

if TYPE_CHECKING:
    from ...report.page import Html
    from ...report.parts import Parts
    from ..evaluation import Asked, Load, Progress
    from ..selftest import SelfTestRow

# bundles keep far weaker boxes, as the protocol of mean average precision wants; nobody wants to see them
SHOWN_SCORE = 0.3
OPTIONS = ("score", "iou", "max_detections", "agnostic_nms")


class DetectionTask(Task):
    """Boxes and scores -> the boxes that count."""

    name = TASK
    outputs = (BOXES, SCORES)
    finished = NMS_OUTPUTS

    def joined(self, results: Mapping[str, np.ndarray]) -> np.ndarray:
        if NMS_OUTPUTS[0] not in results:
            return np.concatenate([np.asarray(results[name], np.float32) for name in self.outputs], axis=-1)
        count, boxes, scores, classes = (np.asarray(results[name], np.float32) for name in NMS_OUTPUTS)
        array = np.concatenate([boxes, scores[..., None], classes[..., None]], axis=-1)
        array[np.arange(array.shape[1]) >= count.reshape(-1, 1)] = (0, 0, 0, 0, 0, -1)
        return array

    def separated(self, answers: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(self.outputs, (answers[..., :4], answers[..., 4:]), strict=True))

    def check_bundle(self, bundle: Described) -> None:
        refuse(bundle.path, TOLD(bundle.manifest))
        rule, found = rule_of(bundle), [spec.name for spec in bundle.outputs]
        wanted = SUPPRESSED if rule.nms == "graph" else CELLS
        if set(found) != set(wanted):
            raise BundleRefused(
                f"{bundle.path} contradicts itself",
                found=f"nms {rule.nms} and the outputs {', '.join(found)}",
                expected=", ".join(wanted),
                because="where the suppression happens decides what the graph returns",
                attempt="export it again",
            )
        if wrong := unfit({spec.name: spec.shape for spec in bundle.outputs}, wanted):
            raise BundleRefused(
                f"{bundle.path} describes outputs that are no detections",
                found=wrong,
                expected=expected(wanted),
                attempt="copy the bundle again, or export it again",
            )

    def golden_outputs(self, bundle: Described) -> Sequence[str]:
        return self.outputs

    def check(self, bundle: Described, choices: Mapping[str, Any]) -> DetectionRule:
        super().check(bundle, {name: value for name, value in choices.items() if name not in OPTIONS})
        return rule_of(bundle).override(**{name: value for name, value in choices.items() if name in OPTIONS})

    def answers(
        self,
        bundle: Described,
        results: Mapping[str, np.ndarray],
        sizes: Sequence[ImageSize],
        chosen: DetectionRule,
        times: Times,
    ) -> list[Detections]:
        labels, contract = bundle.labels, bundle.contract
        _check_shapes(f"the results of {bundle.name} are no detections", results, chosen)
        started = time.perf_counter()
        if chosen.nms == "graph":
            kepts = [kept_rows(row, chosen) for row in self.joined(results)[: len(sizes)]]
            classes = max((int(kept.classes.max(initial=-1)) + 1 for kept in kepts), default=0)
            _check_labels(classes, labels, classes <= len(labels))
        else:
            boxes, scores = (np.asarray(results[name], np.float32) for name in self.outputs)
            _check_labels(scores.shape[-1], labels, scores.shape[-1] == len(labels))
            kepts = [keep_parts(boxes[i], scores[i], chosen) for i in range(len(sizes))]
        kepts = [in_image(kept, size, contract) for kept, size in zip(kepts, sizes, strict=True)]
        postprocess_ms = (time.perf_counter() - started) * 1e3
        return [
            Detections(*kept, labels, size, times.preprocess_ms, times.infer_ms, postprocess_ms)
            for kept, size in zip(kepts, sizes, strict=True)
        ]

    def selftest_rows(
        self,
        bundle: Described,
        golden: Mapping[str, np.ndarray],
        parts: Sequence[Mapping[str, np.ndarray]],
        precision: str,
    ) -> list[SelfTestRow]:
        """One row for all outputs, "detections", as what is judged is what comes out of them."""
        from .verdict import row

        rule = rule_of(bundle)
        if wrong := unfit({name: golden[name].shape for name in CELLS}, CELLS):
            raise BundleRefused("the golden file does not fit the graph", found=wrong, expected=expected(CELLS))
        for part in parts:
            _check_shapes(f"the results of {bundle.name} are no detections", part, rule)
        if rule.nms != "graph" and (classes := parts[0][SCORES].shape[2]) != golden[SCORES].shape[2]:
            raise BundleRefused(
                "the golden file does not fit the graph",
                found=f"{SCORES} of {golden[SCORES].shape[2]} classes",
                expected=f"{classes}, as the graph gives",
            )
        found = np.concatenate([self.joined(part) for part in parts])
        measured = (bundle.manifest.get("precision_report") or {}).get("golden_detections")
        return [row(self.joined(golden), found, rule, precision, measured)]

    def choices(self, bundle: Described, options: Mapping[str, Any]) -> dict[str, Any]:
        if (top := options.get("top")) is not None:
            raise UserMistake(
                f"{bundle.name} detects, and --top belongs to classifiers",
                found=f"--top {top}",
                attempt=f"--max-detections {top} for the best boxes only, or --score",
            )
        super().choices(bundle, {name: value for name, value in options.items() if name not in ("top", *OPTIONS)})
        rule, chosen = rule_of(bundle), {name: value for name, value in options.items() if name in OPTIONS}
        if chosen.get("score") is None:
            chosen["score"] = max(SHOWN_SCORE, rule.score)
        rule.override(**chosen)  # what this bundle cannot do is told before anything is opened
        return chosen

    def draw(self, image: np.ndarray, answer: Detections) -> np.ndarray:
        from .draw import draw

        return draw(image, answer)

    def to_json(self, answer: Detections, top: int | None) -> dict[str, Any]:
        return {"size": list(answer.image_size), "detections": answer.to_json()}

    def served(self, bundle: Described) -> dict[str, tuple[str, tuple[int, ...]]]:
        return {
            "num_detections": ("int32", (1,)),
            "boxes": ("float32", (-1, 4)),
            "scores": ("float32", (-1,)),
            "classes": ("int32", (-1,)),
        }

    def in_arrays(self, answers: Sequence[Detections]) -> dict[str, np.ndarray]:
        """Rows past ``num_detections`` of a picture are filled with score 0 and class -1; there is one row at the least."""
        most = max([1, *map(len, answers)])
        boxes = np.zeros((len(answers), most, 4), np.float32)
        scores = np.zeros((len(answers), most), np.float32)
        classes = np.full((len(answers), most), -1, np.int32)
        for row, answer in enumerate(answers):
            boxes[row, : len(answer)], scores[row, : len(answer)] = answer.boxes, answer.scores
            classes[row, : len(answer)] = answer.classes
        counts = np.array([[len(answer)] for answer in answers], np.int32)
        return {"num_detections": counts, "boxes": boxes, "scores": scores, "classes": classes}

    def in_short(self, answer: Detections) -> str:
        found = Counter((one.label, one.index) for one in answer)  # two classes may have one name
        return ", ".join(f"{one_line(label)} {n}" for (label, _), n in found.most_common()) or "nothing found"

    def evaluate(
        self,
        bundles: Sequence[Described],
        data: str | os.PathLike[str],
        asked: Asked,
        load: Load,
        save: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        from .evaluate import evaluate

        return evaluate(bundles, data, asked, load, save, progress)

    def show(self, result: Mapping[str, Any], per_class: bool = False) -> str:
        from .evaluate import show

        return show(result, per_class)

    def evaluation_page(self, result: Mapping[str, Any]) -> Html:
        from ...report.evaluation.sections import of_boxes

        return of_boxes(result)

    def report(self, manifest: Mapping[str, Any]) -> Parts:
        from .report import parts

        return parts(manifest)


def _check_shapes(what: str, results: Mapping[str, np.ndarray], rule: DetectionRule) -> None:
    wanted = SUPPRESSED if rule.nms == "graph" else CELLS
    if wrong := unfit({name: results[name].shape for name in wanted}, wanted):
        raise UserMistake(
            what,
            found=wrong,
            expected=expected(wanted),
            because="the graph is not the one that the manifest describes",
            attempt="copy the bundle again, or export it again",
        )


def _check_labels(classes: int, labels: Sequence[str], fits: bool) -> None:
    if not fits:
        raise UserMistake(
            "the scores do not fit the labels", found=f"{classes} classes", expected=f"{len(labels)} labels"
        )
