"""The source in float32 (PyTorch eager, or the ONNX file itself) with the inputs of a plan: what every stage is held against."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...runtime.ground.limits import FP32, quantised
from ..plan.plan import Plan
from ..run import runners as verify
from ..run.finite import check_finite
from ..run.own_error import own_error
from ..run.runners import Runner
from ..tasks.task import Row

if TYPE_CHECKING:
    from typing import Any

PICTURES = 8  # of the user's own that every stage is compared on; the accuracy is measured on all that are held out


class Judge:
    """``runner``, who is called ``name``, with the inputs of a plan; answers are computed once for each shape."""

    def __init__(self, runner: Runner, name: str, plan: Plan, module: Any = None) -> None:
        self.plan, self.runner, self.name = plan, runner, name
        self._module = module  # of torch, to say which layer it was
        self.rounds = False  # float32 costs this network more than the usual limit: a device has to be told
        self._inputs: dict[tuple[int, int], dict[str, np.ndarray]] = {}
        self._answers: dict[tuple[str, tuple[int, ...]], np.ndarray] = {}
        self._own_errors: dict[tuple[str, tuple[int, ...]], float] = {}

    def with_plan(self, plan: Plan) -> Judge:
        """The same inputs and answers, held to the limits of another plan of the same network."""
        other = copy(self)
        other.plan = plan
        return other

    def inputs(self, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
        """Kind of input -> N pictures as the graph takes them: seeded numbers for one full batch, and the pictures when there are any."""
        from ...runtime.pictures.preprocess import preprocess

        size = self.plan.contract.sides(shape)
        if size not in self._inputs:
            contract = replace(self.plan.contract, size=size)
            paths = [picture.path for picture in self.plan.pictures]
            self._inputs[size] = {"pictures": preprocess(paths, contract)} if paths else self._own_pictures(size)
        return {"seeded": verify.seeded(shape, self.plan.contract), **self._inputs[size]}

    def _own_pictures(self, size: tuple[int, int]) -> dict[str, np.ndarray]:
        """The first pictures that a quantised export holds out, else those it was calibrated with; at their own size."""
        calibration = self.plan.calibration
        if calibration is None or calibration.data is None or size != self.plan.contract.size:
            return {}
        data = calibration.data
        kind = "random" if data.calibration.kind == "random" else "pictures"
        return {kind: next(iter((data.held_out if len(data.held_out) else data.calibration).batches(PICTURES)))}

    def one_batch(self, shape: tuple[int, ...]) -> np.ndarray:
        """Pictures where there are any, else seeded numbers, in one full batch of ``shape``."""
        *_, images = self.inputs(shape).values()
        return next(iter(verify.in_batches(images, shape[0])))

    def answer(self, kind: str, images: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """What the judge says, as one array; the same for the same question. UserMistake where it is not finite."""
        key = _question(kind, shape)
        if key not in self._answers:
            answers = verify.run_all(self.runner, images, shape[0])
            check_finite(self._module, images, answers, kind, self.name)
            self._answers[key] = answers
        return self._answers[key]

    def golden(self, images: np.ndarray) -> np.ndarray:
        """The answers to the inputs of the self-test: those to the seeded numbers are known."""
        shape = self.plan.shapes.opt
        if np.array_equal(images, self.inputs(shape).get("seeded", ())):
            return self.answer("seeded", images, shape)
        return verify.run_all(self.runner, images, shape[0])

    def check_answers(self) -> None:
        """Before anything is made of the network: it answers its inputs of the usual shape with finite numbers."""
        shape = self.plan.shapes.opt
        for kind, images in self.inputs(shape).items():
            self.answer(kind, images, shape)

    def agreement(
        self,
        stage: str,
        name: str,
        kind: str,
        shape: tuple[int, ...],
        expected: np.ndarray,
        found: np.ndarray,
        precision: str,
    ) -> Row:
        """One row, by the task of the network; only the bundle may have the task's last step inside its graph."""
        task, rule = self.plan.task, self.plan.rule
        in_graph = stage == "bundle" and task.in_graph(rule)
        return task.agreement(stage, name, kind, shape, expected, found, precision, rule=rule, in_graph=in_graph)

    def rows(self, stage: str, name: str, runner: Runner, precision: str, shapes: list[tuple[int, ...]]) -> list[Row]:
        """The agreement of one stage at several shapes; a quantised graph is judged on what it was calibrated for."""
        found = []
        for shape in shapes:
            inputs = self.inputs(shape)
            if quantised(precision) and (len(inputs) > 1 or shape[1:] != self.plan.shapes.opt[1:]):
                del inputs["seeded"]
            for kind, images in inputs.items():
                answers = verify.run_all(runner, images, shape[0])
                row = self.agreement(stage, name, kind, shape, self.answer(kind, images, shape), answers, precision)
                if not row.passed and precision == FP32 and np.isfinite(answers).all():
                    row = self.plan.task.within_rounding(row, self.own_error(kind, images, shape))
                    self.rounds = self.rounds or row.passed
                found.append(row)
        return found

    def own_error(self, kind: str, images: np.ndarray, shape: tuple[int, ...]) -> float:
        """How far PyTorch in float32 is from PyTorch in float64 on these inputs, at the most; 0.0 where it has no float64.

        The same for the same question, as ``answer``: every graph that is off asks it.
        """
        if self._module is None:
            return 0.0
        key = _question(kind, shape)
        if key not in self._own_errors:
            outputs = self.plan.task.runtime.outputs
            self._own_errors[key] = own_error(self._module, self.runner, images, shape[0], outputs)
        return self._own_errors[key]


def _question(kind: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """What an answer depends on: seeded numbers are others for each batch, pictures are the same."""
    return kind, shape if kind == "seeded" else shape[1:]
