"""Bundle -> tensors: the rules that all backends share.

A backend says how to open its engine and how to run it; everything else is here: which inputs fit, pictures in and classes
out, timing, the self-test against the golden file, and the end.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, overload

import numpy as np

from .bundle import Bundle
from .checks import check_feeds, check_results
from .errors import UserMistake
from .postprocess import Prediction, top_k
from .preprocess import Picture, preprocess
from .selftest import SelfTestRow, agreement

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, eq=False)
class Classification:
    """What the model says of one picture; ``str()`` is a small table."""

    logits: np.ndarray  # (C,)
    labels: Sequence[str]
    preprocess_ms: float  # for the batch that the picture was part of
    infer_ms: float

    def top(self, k: int = 5) -> list[Prediction]:
        """The k best classes, most probable first."""
        return top_k(self.logits[None], self.labels, k)[0]

    @property
    def best(self) -> Prediction:
        return self.top(1)[0]

    def __str__(self) -> str:
        return "\n".join(f"{guess.probability:7.2%}  {guess.label}" for guess in self.top())


class Session(ABC):
    """An opened bundle on one backend. Use it in a ``with`` block, or call ``close``."""

    backend: ClassVar[str]

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        if threads is not None and (type(threads) is not int or threads < 1):
            raise UserMistake("threads must be a whole number above 0", found=repr(threads))
        self.bundle, self.threads = bundle, threads
        self.precision = bundle.precision  # what the self-test holds it to; a backend that rounds further says so here
        self.inputs, self.outputs = bundle.inputs, bundle.outputs
        self.infer_ms = 0.0  # wall time of the last run
        self._open = False
        self._labels: list[str] | None = None

    @abstractmethod
    def open(self) -> None:
        """Load the library and the engine; raises BackendUnavailable when either cannot be had here."""

    @abstractmethod
    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run checked, contiguous inputs; the results by name, owned by the caller."""

    @abstractmethod
    def release(self) -> None:
        """Free the engine; called once, also when ``open`` failed half-way."""

    def start(self) -> Session:
        """Open the engine; nothing stays behind when that fails."""
        try:
            self.open()
        except BaseException:
            self.release()
            raise
        self._open = True
        return self

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """{input name: array} -> {output name: array}; UserMistake says which input does not fit, and how."""
        self._check_open()
        feeds = check_feeds(feeds, self.inputs)
        started = time.perf_counter()
        results = self.infer(feeds)
        self.infer_ms = (time.perf_counter() - started) * 1e3
        return check_results(results, self.outputs, self.backend)

    @overload
    def __call__(self, images: Picture) -> Classification: ...  # type: ignore[overload-overlap]  # str is a sequence
    @overload
    def __call__(self, images: Sequence[Picture]) -> list[Classification]: ...
    def __call__(self, images: Picture | Sequence[Picture]) -> Classification | list[Classification]:
        """A picture (path or uint8 RGB array) -> its classification; a list or (N, H, W, 3) array -> a list."""
        self._check_open()
        if self.bundle.task != "classification":
            raise UserMistake(
                f"{self.bundle.name} does not classify", found=f"task {self.bundle.task}", attempt="run()"
            )
        if isinstance(images, (str, os.PathLike)) or (isinstance(images, np.ndarray) and images.ndim != 4):
            return self._classify([images])[0]
        if not isinstance(images, (Sequence, np.ndarray)):
            raise UserMistake(
                "this is not a picture",
                found=type(images).__name__,
                expected="a path, a uint8 array (height, width, 3) in RGB, or a list of them",
                attempt="np.asarray(image)",
            )
        return self._classify(list(images))

    def _classify(self, images: list[Picture]) -> list[Classification]:
        contract = self.bundle.contract
        if self._labels is None:
            self._labels = self.bundle.labels
        least, most = self.inputs[0].limits(0)
        size = most or max(least, len(images))
        answers: list[Classification] = []
        for start in range(0, len(images), size):
            started = time.perf_counter()
            batch = preprocess(images[start : start + size], contract)
            preprocess_ms = (time.perf_counter() - started) * 1e3
            results = self.run({self.inputs[0].name: _at_least(batch, least)})
            logits = results[self.outputs[0].name][: len(batch)]
            answers += [Classification(row, self._labels, preprocess_ms, self.infer_ms) for row in logits]
        return answers

    def self_test(self) -> list[SelfTestRow]:
        """Run the golden inputs on this device and compare with what PyTorch made of them, one row an output."""
        self._check_open()
        golden = self.bundle.golden
        least, most = self.inputs[0].limits(0)
        size = most or max(least, golden.cases)
        parts: dict[str, list[np.ndarray]] = {spec.name: [] for spec in self.outputs}
        for start in range(0, golden.cases, size):
            feeds = {name: array[start : start + size] for name, array in golden.inputs.items()}
            count = len(next(iter(feeds.values())))
            results = self.run({name: _at_least(array, least) for name, array in feeds.items()})
            for name, rows in parts.items():
                rows.append(results[name][:count])
        measured = self.bundle.manifest.get("precision_report", {}).get("golden_cosine")
        return [
            agreement(name, golden.outputs[name], np.concatenate(rows), self.precision, measured)
            for name, rows in parts.items()
        ]

    def _check_open(self) -> None:
        if not self._open:
            raise UserMistake("this session is closed", attempt="edgesmith.load(bundle) opens a new one")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the engine; further calls do nothing."""
        if self._open:
            self._open = False
            self.release()


def _at_least(batch: np.ndarray, least: int) -> np.ndarray:
    """Fill a batch up to the smallest size that the graph takes, with its own last entry."""
    return np.concatenate([batch, np.repeat(batch[-1:], least - len(batch), axis=0)]) if len(batch) < least else batch
