"""What a task is: how the outputs of its graphs become answers, and what differs by it from the self-test to the report.

A task is one file or folder here (or in a package of others), described by one object without state under its name. Only
``name``, ``outputs`` and ``answers`` have to be said; everything else has a default that adds nothing.

    outputs by name  --joined-->  one array, which is compared  --separated-->  outputs by name
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..errors import UserMistake
from .described import Described, Runs
from .selftest import SelfTestRow, agreement

if TYPE_CHECKING:
    from ..pictures.preprocess import Picture
    from ..report.page import Html
    from ..report.parts import Parts
    from .evaluation import Asked, Load, Progress

ImageSize = tuple[int, int]  # (height, width)
TEXT = "bytes"  # the type of an array of strings of bytes, beside those of numpy


@dataclass(frozen=True)
class Times:
    """How long the steps before took, for one batch."""

    preprocess_ms: float
    infer_ms: float


class Task(ABC):
    """One task, for all bundles; registered with ``edgesmith.register_task``."""

    name: ClassVar[str]  # as manifests and model specs have it
    outputs: ClassVar[tuple[str, ...]]  # of the torch model, in its order
    finished: ClassVar[tuple[str, ...]] = ()  # of a graph that holds the last step too, such as suppression
    arrays: ClassVar[bool] = False  # whether ``edgesmith run`` takes and gives arrays by name, in .npz files
    kept_as: ClassVar[str] = (
        ""  # suffix of the file that holds one answer (``in_file``): ".npy"; "": there is no such file
    )
    drawn: ClassVar[bool] = True  # whether --save draws an answer on its picture, rather than to keep the answer itself
    judged_with: ClassVar[tuple[str, ...]] = ()  # settings of an evaluation (``Asked``) that no other task has

    instructed: ClassVar[bool] = (
        False  # whether a question is a picture and words (``choices`` has them as instruction)
    )

    # whether layers with nothing but their weight in few bits multiply in float32, as the graph says, where the engine would
    # round what they multiply to 8 bits by default
    exact_activations: ClassVar[bool] = False

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)  # it has no state

    def __hash__(self) -> int:
        return hash(type(self))

    @abstractmethod
    def answers(
        self,
        bundle: Described,
        results: Mapping[str, np.ndarray],
        sizes: Sequence[ImageSize],
        chosen: Any,
        times: Times,
    ) -> list[Any]:
        """The answers to the first ``len(sizes)`` pictures of a batch; ``sizes`` are those of the pictures."""

    def check(self, bundle: Described, choices: Mapping[str, Any]) -> Any:
        """What the caller of a session chose for one call; UserMistake for what this bundle cannot do."""
        if given := [name for name, value in choices.items() if value is not None]:
            raise UserMistake(
                f"{bundle.name} takes no {given[0]}",
                found=", ".join(f"{name}={choices[name]}" for name in given),
                expected="a picture or a list of pictures",
            )

    def gives(self, names: Collection[str]) -> bool:
        """Whether a graph with outputs of these names is one of this task's."""
        return any(own and set(own) <= set(names) for own in (self.outputs, self.finished))

    def joined(self, results: Mapping[str, np.ndarray]) -> np.ndarray:
        """The outputs by name -> one float32 array with the batch in front: what parity and evaluation compare."""
        if len(results) != 1:
            raise self._several("joined", results)
        (only,) = results.values()
        return np.asarray(only, np.float32)

    def separated(self, answers: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of the torch model by name again."""
        if len(self.outputs) != 1:
            raise self._several("separated", self.outputs)
        return {self.outputs[0]: answers}

    def thinned(self, answers: np.ndarray) -> np.ndarray:
        """What a self-test keeps and compares of answers (n, ...): all of them, or some where they are large."""
        return answers

    def _several(self, what: str, names: Collection[str]) -> UserMistake:
        return UserMistake(
            f"The task {self.name} does not say how its outputs are {what}",
            found=", ".join(names),
            expected=f"{type(self).__name__}.joined and .separated, where a network has several outputs",
            because="an export compares two graphs by one array of their answers",
            attempt="joined: np.concatenate along the axis that all outputs have; separated: np.split again",
        )

    def check_bundle(self, bundle: Described) -> None:
        """BundleRefused for a bundle whose manifest contradicts itself; asked whenever one is opened."""

    # pictures that several graphs look at

    def kept_files(self, bundle: Described) -> Sequence[str]:
        """Files of a bundle that are read while a session is open (``bundle.held``)."""
        return ()

    def screens(self, session: Runs, pool_mb: float | None) -> Any:
        """What keeps opened pictures for a session, within so many MB; UserMistake where there is no such thing."""
        raise UserMistake(
            f"{session.bundle.name} keeps no pictures open",
            found=f"task {session.bundle.task}",
            expected="a bundle that takes an instruction beside a picture",
            attempt="session(picture) gives its answer",
        )

    def look(self, screens: Callable[[], Any], pictures: Sequence[Picture], chosen: Any) -> list[Any] | None:
        """The answers to some pictures by way of ``screens()``; None where one run of the graph gives them (``answers``)."""
        return None

    # the self-test

    def golden_inputs(self, bundle: Described) -> Sequence[str]:
        """The inputs that golden.npz holds: those of the first graph."""
        return [spec.name for spec in next(iter(bundle.graphs.values())).inputs]

    def golden_outputs(self, bundle: Described) -> Sequence[str]:
        """The outputs that golden.npz holds: those that the torch model gives, whatever the graph makes of them."""
        return [spec.name for spec in bundle.outputs]

    def golden_graphs(self, bundle: Described) -> Sequence[str]:
        """The graphs that the self-test runs."""
        return list(bundle.graphs)[:1]

    def replay(
        self, screens: Callable[[], Any], inputs: Mapping[str, np.ndarray], picture: np.ndarray | None
    ) -> list[dict[str, np.ndarray]] | None:
        """The golden inputs by way of ``screens()``, in some runs; None where the first graph takes them as they are."""
        return None

    def golden_runs(
        self, run: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]], inputs: Mapping[str, np.ndarray]
    ) -> list[dict[str, np.ndarray]] | None:
        """The golden inputs in runs of the first graph, case by case; None where a batch of it takes several cases."""
        return None

    def selftest_rows(
        self,
        bundle: Described,
        golden: Mapping[str, np.ndarray],
        parts: Sequence[Mapping[str, np.ndarray]],
        precision: str,
    ) -> list[SelfTestRow]:
        """What a device computed in some runs beside the golden outputs; ``precision`` is what it is held to."""
        told = bundle.manifest.get("precision_report") or {}
        measured = told.get("golden_cosine"), told.get("golden_own_error", 0.0)
        return [
            agreement(
                name, golden[name], np.concatenate([self.thinned(part[name]) for part in parts]), precision, *measured
            )
            for name in self.golden_outputs(bundle)
        ]

    # ``edgesmith run``

    def choices(self, bundle: Described, options: Mapping[str, Any]) -> dict[str, Any]:
        """What the session is told for each frame, from the options by name; UserMistake for one of another task."""
        for name, value in options.items():
            if value is not None:
                flag = "--" + name.replace("_", "-")
                raise UserMistake(
                    f"{bundle.name} takes no {flag}", found=f"{flag} {value}", attempt=f"leave {flag} out"
                )
        return {}

    def draw(self, image: np.ndarray, answer: Any) -> np.ndarray:
        """The picture, RGB uint8 (H, W, 3), with its answer on it."""
        return image

    def in_file(self, answer: Any) -> bytes:
        """The file ``kept_as`` that holds the answer."""
        raise NotImplementedError(f"{self.name} keeps no answer in a file")

    def to_json(self, answer: Any, top: int | None) -> dict[str, Any]:
        """The answer as plain values; ``top``: how many of it."""
        return {"answer": str(answer)}

    def lines(self, answer: Any, top: int | None) -> str:
        """The answer to a picture, for people."""
        return "\n".join("  " + line for line in str(answer).splitlines())

    def in_short(self, answer: Any) -> str:
        """The answer to a frame, in one line."""
        return "; ".join(str(answer).splitlines())

    # answers as arrays, for a server whose clients are programs

    def served(self, bundle: Described) -> dict[str, tuple[str, tuple[int, ...]]]:
        """What ``in_arrays`` gives beside the number of answers: {name: (numpy's type or TEXT, shape)}; -1 is an open size."""
        return {}

    def in_arrays(self, answers: Sequence[Any]) -> dict[str, np.ndarray]:
        """The answers to n pictures as arrays (n, ...), those of ``served`` by their names."""
        return {}

    # ``edgesmith eval`` on the device, and the report

    def evaluate(
        self,
        bundles: Sequence[Described],
        data: str | os.PathLike[str],
        asked: Asked,
        load: Load,
        save: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Figures of each bundle on an annotated set: {"task", "data", "notes", "rows": one a bundle}."""
        from .evaluation import not_by_boxes

        raise not_by_boxes(bundles[0])

    def show(self, result: Mapping[str, Any], per_class: bool = False) -> str:
        """What ``evaluate`` gave, as text."""
        raise NotImplementedError(f"{self.name} evaluates and does not show it")

    def evaluation_page(self, result: Mapping[str, Any]) -> Html:
        """What the page of ``eval --report`` shows of what ``evaluate`` gave, below the table of its rows."""
        from ..report.page import Html

        return Html("")

    def report(self, manifest: Mapping[str, Any]) -> Parts:
        """What the report of a bundle says of this task."""
        from ..report.parts import Parts, parity

        return Parts(parity=parity(manifest.get("parity") or [], manifest.get("judge")))
