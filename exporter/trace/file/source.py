"""A file that takes pictures and tells classes, as the source of an export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ....runtime.bundle.vet import sha256
from ....runtime.errors import UserMistake
from ....runtime.tasks.classification import PROBABILITIES
from ...run.arguments import spell
from ...run.nouns import ExportedGraph
from ...run.runners import seeded, shapes_to_try
from ..opened import Source
from .original import picture_runner
from .read import read_graph

if TYPE_CHECKING:
    from ...plan.plan import Plan
    from ...run.runners import Runner

JUDGE = "the file itself"
IN_FULL = f"{JUDGE} on ONNX Runtime"


def open_file(plan: Plan) -> Source:
    """Tried and read at once: what cannot be read is told before anything is made of it."""
    file = plan.spec.file
    assert file is not None
    path, (taken,) = Path(file.path), file.inputs
    usual, largest = ([(taken.name, taken.dtype, sizes)] for sizes in (plan.shapes.opt, plan.shapes.max))
    read = read_graph(path, usual, largest, {taken.name: plan.shapes.symbolic()}, plan.opset)
    runner = picture_runner(path)
    _check_sizes(plan, runner)
    exported = ExportedGraph(read.model, plan.spec.name, plan.shapes, plan.input_name, plan.output_names)
    detail = f"{path.name}, opset {file.opset}, {plan.spec.parameters / 1e6:.2f} M parameters, {file.words()}"
    return Source(
        runner, lambda folder: exported, detail, "; ".join(read.notes), path.name, JUDGE, IN_FULL,
        sha256(path), notes=read.notes, entries={"judge": IN_FULL} | ({PROBABILITIES: True} if file.probabilities else {}),
    )  # fmt: skip


def _check_sizes(plan: Plan, runner: Runner) -> None:
    """UserMistake where the file does not run at a size that its open axes promise: tools write the batch of their example in."""
    for shape in shapes_to_try(plan.shapes):
        try:
            runner(seeded(shape, plan.contract))
        except Exception as error:
            raise UserMistake(
                f"{plan.spec.name} does not run at a size that its open axes promise",
                found=f"{spell(shape, plan.input_name)}: {(str(error).splitlines() or [type(error).__name__])[0][:200]}",
                expected=f"every size from {spell(plan.shapes.min, plan.input_name)} to {spell(plan.shapes.max, plan.input_name)}",
                because="the graph has the sizes of the example that it was made with in it",
                attempt=f"--opt-shapes {spell(plan.shapes.opt, plan.input_name)} --max-shapes {spell(plan.shapes.opt, plan.input_name)}, "
                "or export the network again with the axis open everywhere",
            ) from error
