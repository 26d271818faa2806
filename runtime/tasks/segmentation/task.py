"""The task of segmenters: logits for each place of a map, at any stride -> the class of each pixel of the picture.

mask_logits (B, C, h, w)      C is 1 where a sign tells two classes apart
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UserMistake, one_line
from ...ground.numbers import check_finite
from ..classification import class_names
from ..described import Described
from ..task import TEXT, ImageSize, Task, Times
from .places import classes, thinned
from .segments import Segments, lines

if TYPE_CHECKING:
    from ...report.page import Html
    from ...report.parts import Parts
    from ..evaluation import Asked, Load, Progress

TOP = 10  # classes that are printed


class SegmentationTask(Task):
    """Logits (B, C, h, w) -> B Segments, each as large as its picture."""

    name = "segmentation"
    outputs = ("mask_logits",)
    kept_as = ".png"
    judged_with = ("ignore_label", "reduce_labels")

    def check_bundle(self, bundle: Described) -> None:
        from ...report.kinds import refuse
        from .report import TOLD

        refuse(bundle.path, TOLD(bundle.manifest))

    def answers(
        self, bundle: Described, results: Mapping[str, np.ndarray], sizes: Sequence[ImageSize], chosen: Any, times: Times
    ) -> list[Segments]:  # fmt: skip
        logits = np.asarray(results[bundle.outputs[0].name], np.float32)[: len(sizes)]
        labels = labels_for(bundle, logits)
        answers = []
        for one, size in zip(logits, sizes, strict=True):
            started = time.perf_counter()
            found = classes(one, size, bundle.contract)
            took_ms = (time.perf_counter() - started) * 1e3
            answers.append(Segments(found, labels, times.preprocess_ms, times.infer_ms, took_ms))
        return answers

    def thinned(self, answers: np.ndarray) -> np.ndarray:
        return thinned(answers)

    def choices(self, bundle: Described, options: Mapping[str, Any]) -> dict[str, Any]:
        return super().choices(bundle, {name: value for name, value in options.items() if name not in ("top", "masks")})

    def draw(self, image: np.ndarray, answer: Segments) -> np.ndarray:
        from .draw import draw

        return draw(image, answer)

    def in_file(self, answer: Segments) -> bytes:
        """A grey PNG of the picture's size whose values are the classes."""
        from .masks import encode_mask

        return encode_mask(answer.classes)

    def served(self, bundle: Described) -> dict[str, tuple[str, tuple[int, ...]]]:
        return {"mask": (TEXT, (1,))}  # a PNG: pictures of one batch may differ in size, and a file is a fraction of it

    def in_arrays(self, answers: Sequence[Segments]) -> dict[str, np.ndarray]:
        return {"mask": np.array([[self.in_file(answer)] for answer in answers], object)}

    def to_json(self, answer: Segments, top: int | None) -> dict[str, Any]:
        shares = [{"label": one.label, "index": one.index, "share": one.share} for one in answer.shares[:top]]
        return {"size": list(answer.image_size), "classes": shares, "unseen": answer.unseen}

    def lines(self, answer: Segments, top: int | None) -> str:
        return "\n".join(lines(answer, top or TOP))

    def in_short(self, answer: Segments) -> str:
        return ", ".join(f"{one_line(one.label)} {one.share:.0%}" for one in answer.shares[:3])

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
        from ...report.evaluation.sections import of_masks

        return of_masks(result)

    def report(self, manifest: Mapping[str, Any]) -> Parts:
        from .report import parts

        return parts(manifest)


def labels_for(bundle: Described, logits: np.ndarray) -> Sequence[str]:
    """The names of the classes that ``logits`` (n, C, h, w) tell apart; UserMistake where these are no logits of the bundle."""
    channels = logits.shape[1] if logits.ndim == 4 and logits.size else 0
    labels = class_names(bundle.labels, channels)
    if len(labels) != max(channels, 2):
        raise UserMistake(
            f"the results of {bundle.name} do not fit its labels",
            found=f"shape {logits.shape}, {len(bundle.labels)} labels",
            expected="(batch, classes, height, width), and a label a class",
            because="the graph is not the one that the manifest describes",
            attempt="copy the bundle again, or export it again",
        )
    check_finite(logits, "logits")
    return labels
