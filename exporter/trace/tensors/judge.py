"""The file itself on ONNX Runtime, on numbers for all inputs: seeded ones at every size that is promised, and those of --data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....runtime.errors import UserMistake
from ....runtime.tasks.tensors import compare
from ...run.feeds import seeded_feeds
from ..file.original import open_original, run_by_name
from .sizes import KEYS

if TYPE_CHECKING:
    from ...plan.plan import Plan

Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
SEEDED, GIVEN = "seeded", "given"
SEEDS = 2  # cases of the usual sizes


@dataclass(frozen=True)
class Case:
    """One run: what goes in and what the file makes of it."""

    kind: str
    feeds: dict[str, np.ndarray]
    answers: dict[str, np.ndarray]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the first input."""
        return tuple(next(iter(self.feeds.values())).shape)


@dataclass(frozen=True)
class TensorRow:
    """How far one output of a stage is from the file's own, over one run."""

    stage: str
    runner: str
    inputs: str
    shape: tuple[int, ...]
    count: int
    max_abs: float
    cosine: float
    limit: str
    passed: bool

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "shape": list(self.shape)}

    def __str__(self) -> str:
        return f"{self.inputs}: max abs {self.max_abs:.2e}, cosine {self.cosine:.6f}"


def judged_cases(plan: Plan) -> tuple[Case, ...]:
    """The file's answers; UserMistake where they are no finite numbers, which judge nothing, or it does not run at a size."""
    assert plan.spec.file is not None
    session = open_original(Path(plan.spec.file.path))
    inputs = plan.rule.inputs
    sizes = {tuple(tuple(getattr(one, key)) for one in inputs): key for key in reversed(KEYS)}
    feeds = [(SEEDED, seeded_feeds([one.at(key) for one in inputs])) for key in reversed(sizes.values())]
    feeds += [(SEEDED, seeded_feeds([one.at("opt") for one in inputs], seed)) for seed in range(1, SEEDS)]
    if plan.rule.given:
        feeds.append((GIVEN, dict(plan.rule.given)))
    cases = []
    for kind, each in feeds:
        try:
            answers = run_by_name(session, each)
        except Exception as error:  # noqa: BLE001 ONNX Runtime has errors of many types, and no common base
            shown = ", ".join(f"{name} {array.shape}" for name, array in each.items())
            raise UserMistake(
                f"{plan.spec.name} does not run at a size that was asked for",
                found=f"{shown}: {(str(error).splitlines() or [''])[0][:200]}",
                expected="every size between the smallest and the largest",
                attempt="--min-shapes, --opt-shapes and --max-shapes with sizes that the network takes",
            ) from None
        for name, array in answers.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise UserMistake(
                    "The file itself does not answer with numbers",
                    found=f"NaN or infinity in {name} for the {kind} inputs",
                    expected="finite outputs",
                    because="the numbers that it was tried on may be none that it knows",
                    attempt="--data inputs.npz with inputs of the kind that it was made for",
                )
        cases.append(Case(kind, each, answers))
    return tuple(cases)


def rows(stage: str, runner: str, run: Run, cases: tuple[Case, ...], precision: str) -> list[TensorRow]:
    """One row for each output and case."""
    found = []
    for case in cases:
        answers = run(case.feeds)
        for name, expected in case.answers.items():
            row = compare(name, [expected], [answers[name]], precision)
            found.append(
                TensorRow(
                    stage, runner, f"{case.kind}, {name}", case.shape, 1, row.max_abs, row.cosine, row.limit, row.passed
                )
            )
    return found
