"""Does what we made compute what PyTorch computes? Every export asks, at every shape that the graph promises to take.

Judged are the rewritten graph in float32, the typed graph, and the bundle as the runtime opens it; on seeded numbers
and on real pictures. A failure names the stage, then the first node where the numbers part.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...runtime.bundle.engines import ONNXRUNTIME
from ...runtime.errors import BackendUnavailable, ParityFailed
from ...runtime.tasks.answers import joined
from ...runtime.tasks.limits import FP32, quantised
from ..plan.plan import Plan
from ..precision.emulate import emulate
from ..run import runners as verify
from ..run.runners import Runner
from ..run.stages import Run, keep
from ..tasks.detection import rows as verify_detection
from .jump import first_jump

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import nn

    from ...runtime.bundle.bundle import Bundle
    from .made import Made

    Row = verify.Row | verify_detection.DetectionRow

PICTURES = 8  # of the user's own that every stage is compared on; the accuracy is measured on all that are held out


class Judge:
    """PyTorch eager float32 with the inputs of a plan; answers are computed once for each shape."""

    def __init__(self, module: nn.Module, plan: Plan) -> None:
        self.plan = plan
        self.runner = verify.torch_runner(module)
        self._inputs: dict[tuple[int, int], dict[str, np.ndarray]] = {}
        self._answers: dict[tuple[str, tuple[int, ...]], np.ndarray] = {}

    def with_plan(self, plan: Plan) -> Judge:
        """The same inputs and answers, held to the limits of another plan of the same network."""
        other = copy(self)
        other.plan = plan
        return other

    def inputs(self, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
        """Kind of input -> (N, 3, H, W): seeded numbers for one full batch, and the pictures when there are any."""
        from ...runtime.pictures.preprocess import preprocess

        size = (shape[2], shape[3])
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
        """What the judge says, as one array; the same for the same question."""
        key = (kind, shape if kind == "seeded" else shape[2:])
        if key not in self._answers:
            self._answers[key] = verify.run_all(self.runner, images, shape[0])
        return self._answers[key]

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
        """One row, by the task of the network; only the bundle may have suppression inside its graph."""
        rule = self.plan.detection
        if rule is None:
            return verify.agreement(stage, name, kind, shape, expected, found, precision)
        in_graph = stage == "bundle" and rule.nms == "graph"
        return verify_detection.agreement(
            stage, name, kind, shape, expected, found, precision, rule=rule, in_graph=in_graph
        )

    def rows(self, stage: str, name: str, runner: Runner, precision: str, shapes: list[tuple[int, ...]]) -> list[Row]:
        """The agreement of one stage at several shapes; a quantised graph is judged on what it was calibrated for."""
        found = []
        for shape in shapes:
            inputs = self.inputs(shape)
            if quantised(precision) and (len(inputs) > 1 or shape[2:] != self.plan.shapes.opt[2:]):
                del inputs["seeded"]
            for kind, images in inputs.items():
                answers = verify.run_all(runner, images, shape[0])
                found.append(
                    self.agreement(stage, name, kind, shape, self.answer(kind, images, shape), answers, precision)
                )
        return found


def check(judge: Judge, made: Made, bundle: Bundle, run: Run) -> tuple[list[Row], list[str]]:
    """All parity rows of an export and the notes for the report (what could not be run here).

    Raises:
        ParityFailed: a row does not hold and the plan asks for the check; the artefacts are kept.
    """
    plan = judge.plan
    shapes = verify.shapes_to_try(plan.shapes, plan.spec.size_multiple)
    graph = verify.graph_runner(made.rewritten.model)
    rows = judge.rows("rewritten", "ONNX Runtime", graph, FP32, shapes)
    if plan.precision != FP32:
        typed = typed_runner(made.typed.model)
        rows += judge.rows(plan.precision, "ONNX Runtime, rounded", typed, plan.precision, shapes)
    found, notes = bundle_rows(judge, bundle, shapes)
    rows += found
    if all(row.inputs == "seeded" for row in rows):
        notes.append(
            "no photographs were found (scikit-image, scikit-learn or --data), so parity stands on seeded numbers"
        )
    failed = [row for row in rows if not row.passed]
    if failed and plan.check:
        raise blame(failed[0], judge, made, run)
    notes += [f"parity does NOT hold: {tell(row)}" for row in failed]
    return rows, notes


def typed_runner(typed: ir.Model) -> Runner:
    """The typed graph with every 16-bit value rounded explicitly: ONNX Runtime's own CPU kernels would hide it.

    Q and DQ round as they are written, which is what TensorRT computes.
    """
    rest = typed.metadata_props.get("edgesmith.precision", FP32)
    return verify.graph_runner(typed if rest == FP32 else emulate(typed, rest), optimise=False)


def bundle_rows(judge: Judge, bundle: Bundle, shapes: list[tuple[int, ...]]) -> tuple[list[Row], list[str]]:
    """The bundle as the device will open it; a backend that cannot run here gives a note instead of rows."""
    from ...runtime.backends.load import load

    plan = judge.plan
    try:
        with load(bundle) as session:
            rows = judge.rows("bundle", session.backend, session_runner(session), plan.precision, shapes)
    except BackendUnavailable as unavailable:
        what = (
            "engine built, not run here"
            if bundle.engines
            else "graph ready, engine is built on the device, not run here"
        )
        return [], [f"{what}: {unavailable.found or unavailable.what}"]
    return rows, []


def session_runner(session: Any) -> Runner:
    """A runtime session as a plain function of images."""

    def run(images: np.ndarray) -> np.ndarray:
        return joined(session.run({"images": images}))

    return run


def tell(row: Row) -> str:
    """One row in words."""
    shape = "x".join(map(str, row.shape))
    return f"{row.stage} on {row.runner}, {row.count} {row.inputs} at {shape}: {row}, limit {row.limit}"


def blame(row: Row, judge: Judge, made: Made, run: Run) -> ParityFailed:
    """The error for a row that failed: from which stage on, at which node; the artefacts are moved to a kept folder."""
    plan = judge.plan
    images = next(iter(verify.in_batches(judge.inputs(row.shape)[row.inputs], row.shape[0])))
    rest = made.typed.model.metadata_props.get("edgesmith.precision", FP32)
    typed = made.typed.model if rest == FP32 else emulate(made.typed.model, rest)
    smoothed = made.quantised.graph.base if made.quantised else None  # its values are scaled, its answers are the same
    floating = smoothed or made.rewritten.model
    places: list[tuple[str, ir.Model, ir.Model, str]] = [
        ("rewriting", made.exported.model, made.rewritten.model, FP32),
        (f"the change to {plan.precision}", floating, typed, plan.precision),
    ]
    first_off = judge.agreement(
        "exported", "ONNX Runtime", row.inputs, row.shape, judge.runner(images),
        verify.graph_runner(made.exported.model)(images), FP32,
    )  # fmt: skip
    because = "the exported graph, the rewritten and the typed one agree with PyTorch; the engine itself does not"
    if not first_off.passed:
        because = f"the torch exporter's own graph is off already at this shape: {first_off}"
    elif row.stage != "bundle" or plan.target.engine.name == ONNXRUNTIME:
        for name, reference, suspect, precision in places[: 1 if row.stage == "rewritten" else 2]:
            jump = first_jump(reference, suspect, images, precision)
            if jump and jump.after > 0:
                because = f"{name} changes the numbers, first at {jump}"
    place = keep(run, plan.run_folder)
    return ParityFailed(
        f"{plan.spec.name} does not compute what PyTorch computes",
        found=tell(row),
        expected=row.limit,
        because=because,
        attempt=f"look at the graphs kept in {place}, or --skip PASS for the pass at that node; "
        "--verify-each names the pass",
    )


def check_each_pass(judge: Judge, run: Run) -> Callable[[ir.Model, str], None]:
    """A hook for ``rewrite``: after each pass that changed something the graph must still agree in float32."""
    from ..patterns.rewrite import clone

    plan = judge.plan
    shape = plan.shapes.opt
    previous: list[ir.Model] = []

    def hook(model: ir.Model, name: str) -> None:
        rows = judge.rows(name, "ONNX Runtime", verify.graph_runner(model), FP32, [shape])
        failed = [row for row in rows if not row.passed]
        if failed:
            run.save(21, f"after-{name}", model)
            jump = (
                first_jump(previous[-1], model, judge.inputs(shape)[failed[0].inputs][: shape[0]]) if previous else None
            )
            raise ParityFailed(
                f"{plan.spec.name}: the pass {name} changes the numbers",
                found=tell(failed[0]),
                expected=failed[0].limit,
                because=f"first at {jump}" if jump else "the graph before it agreed",
                attempt=f"--skip {name}, or look at the graphs kept in {keep(run, plan.run_folder)}",
            )
        previous[:] = [clone(model)]

    return hook
