"""Logits -> the classes in words, most probable first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserMistake, one_line
from ..ground.numbers import check_finite, class_logits
from .task import Described, ImageSize, Task, Times

if TYPE_CHECKING:
    from ..report.page import Html

TOP = 5
PROBABILITIES = "probabilities"  # of a manifest: its graph has the softmax inside
LEAST = 1e-30  # of a probability, before its logarithm
OF_DETECTORS = ("score", "iou", "max_detections", "agnostic_nms")
UNNAMED = ("class 0", "0")  # what the class of a checkpoint with one is called where nobody named it


def class_names(labels: Sequence[str], outputs: int) -> Sequence[str]:
    """The names of the classes of a network with so many outputs: of one output the two that its sign decides between."""
    if outputs != 1 or len(labels) != 1:
        return labels
    (name,) = labels
    return (name, name.replace("0", "1")) if name in UNNAMED else (f"not {name}", name)


@dataclass(frozen=True)
class Prediction:
    """One class of one picture; the probabilities of all classes sum to 1."""

    label: str
    index: int
    probability: float


def softmax(logits: np.ndarray) -> np.ndarray:
    """(..., C) -> (..., C) float64, safe for logits of any size."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    powers = np.exp(shifted)
    return powers / powers.sum(axis=-1, keepdims=True)


def top_k(logits: np.ndarray, labels: Sequence[str], k: int = 5) -> list[list[Prediction]]:
    """(B, C) logits -> for each picture its k best classes; equal logits in the order of their index.

    One logit is that of the second of two classes: its probability is the sigmoid. ``labels`` name both, or the second.
    """
    if logits.ndim == 2:
        labels, logits = class_names(labels, logits.shape[1]), class_logits(logits)
    if logits.ndim != 2 or logits.shape[1] != len(labels):
        raise UserMistake(
            "the logits do not fit the labels", found=f"shape {logits.shape}", expected=f"(batch, {len(labels)})"
        )
    if type(k) is not int or k < 1:
        raise UserMistake("top_k needs at least one class", found=repr(k)[:80], expected="a whole number, 1 or more")
    check_finite(logits, "logits")
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return [
        [Prediction(labels[index], int(index), float(row[index])) for index in indices]
        for row, indices in zip(softmax(logits), best, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class Classification:
    """What the model says of one picture; ``str()`` is a small table."""

    logits: np.ndarray  # (C,); one of two classes has (1,), and ``labels`` name both or the second
    labels: Sequence[str]
    preprocess_ms: float  # for the batch that the picture was part of
    infer_ms: float

    def top(self, k: int = 5) -> list[Prediction]:
        """The k best classes, most probable first."""
        return top_k(self.logits.reshape(1, -1), self.labels, k)[0]

    @property
    def best(self) -> Prediction:
        return self.top(1)[0]

    def __str__(self) -> str:
        return "\n".join(f"{guess.probability:7.2%}  {one_line(guess.label)}" for guess in self.top())


class ClassificationTask(Task):
    """Logits (B, C), or (B, C, 1, 1), -> B Classifications; C is 1 where a sign tells two classes apart."""

    name = "classification"
    outputs = ("logits",)

    def check(self, bundle: Described, choices: Mapping[str, Any]) -> None:
        given = [name for name, value in choices.items() if value is not None]
        if given:
            raise UserMistake(
                f"{bundle.name} classifies and takes no {given[0]}",
                found=", ".join(f"{name}={choices[name]}" for name in given),
                expected="a picture or a list of pictures; thresholds belong to detectors",
            )

    def answers(
        self,
        bundle: Described,
        results: Mapping[str, np.ndarray],
        sizes: Sequence[ImageSize],
        chosen: None,
        times: Times,
    ) -> list[Classification]:
        labels, logits = bundle.labels, results[bundle.outputs[0].name][: len(sizes)]
        if bundle.manifest.get(PROBABILITIES):
            logits = np.log(np.maximum(logits, LEAST))  # whose softmax they are
        return [Classification(row.reshape(-1), labels, times.preprocess_ms, times.infer_ms) for row in logits]

    def choices(self, bundle: Described, options: Mapping[str, Any]) -> dict[str, Any]:
        super().choices(bundle, {name: value for name, value in options.items() if name not in ("top", *OF_DETECTORS)})
        for name, value in options.items():
            if name in OF_DETECTORS and value is not None:
                flag = "--" + name.replace("_", "-")
                raise UserMistake(
                    f"{bundle.name} classifies, and {flag} belongs to detectors",
                    found=f"{flag} {value}",
                    attempt="--top for the number of classes",
                )
        return {}

    def draw(self, image: np.ndarray, answer: Classification) -> np.ndarray:
        """The best class in the corner."""
        from .detection.draw import class_colour, draw_text, readable

        best = answer.best
        return draw_text(image, f"{readable(best.label, best.index)} {best.probability:.0%}", class_colour(best.index))

    def to_json(self, answer: Classification, top: int | None) -> dict[str, Any]:
        found = answer.top(top or TOP)
        return {"top": [{"label": g.label, "index": g.index, "probability": g.probability} for g in found]}

    def served(self, bundle: Described) -> dict[str, tuple[str, tuple[int, ...]]]:
        (_, classes, *_) = bundle.outputs[0].shape
        return {"logits": ("float32", (classes if isinstance(classes, int) else -1,))}

    def in_arrays(self, answers: Sequence[Classification]) -> dict[str, np.ndarray]:
        return {"logits": np.stack([answer.logits for answer in answers]).astype(np.float32)}

    def lines(self, answer: Classification, top: int | None) -> str:
        return "\n".join(f"{guess.probability:9.2%}  {one_line(guess.label)}" for guess in answer.top(top or TOP))

    def evaluation_page(self, result: Mapping[str, Any]) -> Html:
        from ..report.evaluation.sections import of_classes

        return of_classes(result)

    def in_short(self, answer: Classification) -> str:
        return f"{answer.best.probability:.2%} {one_line(answer.best.label)}"
