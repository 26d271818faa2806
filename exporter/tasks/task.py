"""What an export asks of its task, and the commands that look at what was exported: one object without state a task.

A task is one file or folder here, or in a package of others (``edgesmith.register_task(..., export=...)``). It says what
differs from the defaults, which are those of a network with one output, a number for each class along its second axis, with
nothing to choose and nothing to append to its graph. Only ``name`` has to be said.

    a rule is what the plan decides for the task (thresholds, for one): it travels in the manifest, and the other parts get it
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from ...runtime.tasks.known import find_task
from ...runtime.tasks.selftest import agreement as output_row
from ...runtime.tasks.task import Task
from ..run.runners import Runner, seeded
from . import rows

if TYPE_CHECKING:
    import onnx_ir as ir

    from ...calibration.judge.task import TaskJudge
    from ...models.spec import ModelSpec
    from ...runtime.bundle.bundle import Bundle
    from ...runtime.pictures.preprocess import ImageContract, Picture
    from ...runtime.tasks.evaluation import Asked, Progress


class Named(Protocol):
    @property
    def name(self) -> str: ...


class Engine(Named, Protocol):
    """What a task reads of a target."""

    @property
    def engine(self) -> Named: ...


class Row(Protocol):
    """How far one stage is from PyTorch eager float32; ``str()`` says it in words."""

    @property
    def stage(self) -> str: ...
    @property
    def runner(self) -> str: ...
    @property
    def inputs(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def count(self) -> int: ...
    @property
    def limit(self) -> str: ...
    @property
    def passed(self) -> bool: ...
    def to_json(self) -> dict[str, Any]: ...


def shapes_of(graph: ir.Graph) -> dict[str, list[Any]]:
    """The outputs of a graph and their shapes: numbers, and names where a size is open."""
    return {
        str(value.name): [size if isinstance(size, int) else str(size) for size in value.shape or ()]
        for value in graph.outputs
    }


class ExportTask:
    """One task, for all exports."""

    name: ClassVar[str]  # as model specs and manifests have it
    noun: ClassVar[str] = "model"  # what a network of it is called: "a detector"
    verb: ClassVar[str] = "does that"  # what it does: "detects"
    files: ClassVar[str] = ""  # what an ONNX file of it hands out, in words
    choices: ClassVar[tuple[str, ...]] = ()  # settings of an export that no other task has
    key: ClassVar[str] = ""  # of its rule in plan and manifest
    golden_pictures: ClassVar[int] = 4  # in the self-test of a bundle; few where an answer is large
    golden_seeded: ClassVar[bool] = True  # whether a graph in floating point may be tested on seeded numbers
    draws: ClassVar[bool] = False  # whether ``pictures`` has something for the report
    shown: ClassVar[str] = "photo.jpg"  # what ``edgesmith run`` is shown with
    asked: ClassVar[str] = ""  # what ``edgesmith run`` needs beside a picture: " --instruction ..."
    quantised_by: ClassVar[str] = " --precision int8 --data photos/"  # the words of an export that quantises
    flow: ClassVar[str] = ""  # module of the exporter with a flow of its own; "": the one of pipeline.py
    in_steps: ClassVar[bool] = False  # several graphs lead to an answer: ``steps`` and ``beside`` run them
    finds: ClassVar[str] = ""  # what the way from pixels ends in, where ``bench`` times it: "boxes"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)  # it has no state

    def __hash__(self) -> int:
        return hash(type(self))

    @property
    def runtime(self) -> Task:
        return find_task(self.name)

    @property
    def judge(self) -> TaskJudge:
        """What judges a quantised graph (calibration/judge)."""
        from ...calibration.judge.known import find_judge

        return find_judge(self.name)

    # the plan

    def fitted(self, contract: ImageContract, choices: Mapping[str, Any]) -> ImageContract:
        """The contract as the choices change it."""
        return contract

    def plan(self, spec: ModelSpec, target: Engine, choices: Mapping[str, Any]) -> Any:
        """The rule of an export, None where there is nothing to decide. UserMistake for what cannot work."""
        return None

    def class_names(self, names: Sequence[str], outputs: int) -> Sequence[str]:
        """The names of all classes of a network with ``outputs`` of them, given those that somebody wrote down."""
        return names

    def usual(self, spec: ModelSpec) -> Any:
        """The rule that a model's authors evaluate with."""
        return None

    def entries(self, rule: Any) -> dict[str, Any]:
        """The rule as the manifest has it."""
        return {self.key: rule.to_json()} if rule is not None else {}

    def rule_of(self, bundle: Bundle) -> Any:
        """The rule again."""
        return None

    # the graph and its agreement with PyTorch

    def finish(self, model: ir.Model, rule: Any, engine: str) -> tuple[ir.Model, list[str]]:
        """The graph with what the rule wants inside, added last since it decides the outputs; and notes on it."""
        return model, []

    def in_graph(self, rule: Any) -> bool:
        """Whether ``finish`` leaves another kind of answers than the network gives."""
        return False

    def agreement(
        self, stage: str, runner: str, inputs: str, shape: tuple[int, ...], judge: np.ndarray, other: np.ndarray,
        precision: str, *, rule: Any = None, in_graph: bool = False,
    ) -> Row:  # fmt: skip
        """One row: the answers of a stage beside the judge's; ``in_graph``: the stage's are of a finished graph."""
        return rows.agreement(stage, runner, inputs, shape, judge, other, precision)

    def within_rounding(self, row: Row, own_error: float) -> Row:
        """A row in float32 held to what float32 costs PyTorch itself: ``own_error``, the largest distance from float64."""
        return rows.within_rounding(row, own_error) if isinstance(row, rows.Row) else row

    # the bundle

    def telling(self, answers: np.ndarray, rule: Any) -> np.ndarray:
        """(n, ...) answers of PyTorch -> (n,) bool: those that a self-test can tell a right graph from a wrong one by."""
        return np.ones(len(answers), bool)

    def golden_figures(self, answers: np.ndarray, found: np.ndarray, rule: Any, precision: str) -> dict[str, Any]:
        """Our own distance from PyTorch on the golden inputs, under the name that the self-test looks for."""
        return {"golden_cosine": output_row("logits", answers, found, precision).cosine}

    def pictures(
        self, inputs: Sequence[tuple[str, Picture]], judge: Runner, bundle: Runner, rule: Any, contract: ImageContract,
        labels: Sequence[str], batch: int,
    ) -> tuple[dict[str, bytes], dict[str, Any]]:  # fmt: skip
        """Pictures of the report with what both see in them: files of the bundle, and entries of the manifest."""
        return {}, {}

    # the commands

    def rule_words(self, rule: Mapping[str, Any]) -> str:
        """A manifest's rule in words."""
        return ", ".join(f"{key} {value}" for key, value in rule.items())

    def claims(self, shapes: Mapping[str, Sequence[Any]]) -> dict[str, str]:
        """Our names of the outputs -> those of an ONNX file with outputs of these shapes; empty where it is no such file."""
        own = (self.runtime.finished, self.runtime.outputs)
        return {name: name for names in own for name in names if set(names) <= set(shapes)}

    def claims_in(self, graph: ir.Graph, classes: int | None) -> dict[str, str]:
        """``claims`` of a graph that can be looked into; ``classes``: how many there are, where somebody said it."""
        return self.claims(shapes_of(graph))

    def class_count(self, shapes: Sequence[Sequence[Any]]) -> Any:
        """How many classes outputs of these shapes, in the order of ``claims``, tell of; a name or None where it is open."""
        return shapes[-1][1] if len(shapes[-1]) > 1 else None

    def assumed(self) -> tuple[ImageContract, Any]:
        """What happens to pictures, and the rule, where neither a bundle nor a model says it."""
        from ...runtime.pictures.preprocess import ImageContract

        return ImageContract(size=(224, 224)), None

    def classes_of(self, answer: np.ndarray) -> int:
        """How many classes an answer of the network tells of."""
        return int(answer.shape[1])

    def opened(self, answers: np.ndarray, classes: int) -> np.ndarray:
        """The answers of a finished graph as the network would give them; ``classes`` at least."""
        return answers

    def bench_images(self, bundle: Bundle, shape: tuple[int, ...]) -> np.ndarray:
        """What every candidate of ``bench`` runs on."""
        pictures = isinstance(bundle.manifest.get("input_contract"), Mapping)
        return seeded(shape, bundle.contract if pictures else None)

    def apart(self, judge: np.ndarray, other: np.ndarray, rule: Any, in_graph: bool) -> dict[str, float]:
        """How far two candidates' answers are apart: ``max_abs``, and what else the table of ``bench`` shows."""
        return {"max_abs": float(np.abs(other - judge).max())}

    def steps(self, session: Any) -> dict[str, Callable[[], np.ndarray]]:
        """What ``bench`` times of a task in steps, by its name in the table; each gives the answer that it came to."""
        raise NotImplementedError(f"{self.name} has no steps")

    def off(self, session: Any, answers: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
        """How far the answers of ``steps`` are from PyTorch's, by name, where the bundle holds those."""
        return {}

    def beside(
        self, first: Bundle, second: Bundle, precision: str, data: str | None
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """Two bundles of a task in steps as ``compare`` shows them: rows, and notes."""
        raise NotImplementedError(f"{self.name} has no steps")

    def end_to_end(self, session: Any) -> dict[str, Any]:
        """Times of one picture from its pixels to the answer, where ``finds`` says what that is."""
        return {}

    def evaluate(
        self, opened: Sequence[Bundle], data: str, asked: Asked, weights: str | None, save: str | None,
        progress: Progress | None,
    ) -> dict[str, Any]:  # fmt: skip
        """Accuracy on a set of the user's own, one row a bundle, by default as the device measures it, without PyTorch."""
        from ...runtime.backends.load import load

        return self.runtime.evaluate(opened, data, asked, load, save, progress)

    def show(self, result: dict[str, Any], per_class: bool) -> str:
        """The result of ``evaluate`` as text; it holds ``task``, the name."""
        return self.runtime.show(result, per_class)
