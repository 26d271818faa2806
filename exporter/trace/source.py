"""What a plan starts from, opened: a torch module that is traced, or an ONNX file that is read. Nothing behind asks which.

Plan -> Source -> what judges, and the exported graph
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .opened import Source

if TYPE_CHECKING:
    from pathlib import Path

    from ..plan.plan import Plan
    from ..run.nouns import ExportedGraph


def open_source(plan: Plan) -> Source:
    """UserMistake where checkpoint, file or choices do not go together."""
    if plan.spec.file:
        from .file.source import open_file

        return open_file(plan)
    return open_module(plan)


def open_module(plan: Plan) -> Source:
    """The torch model with its weights."""
    from ...models.loading import prepare
    from ..run.runners import torch_runner
    from ..tasks.eager import EAGER
    from .others import it_traces
    from .trace import trace

    size = plan.contract.size
    made = prepare(plan.spec, plan.weights, plan.num_classes, size, plan.seed, plan.ema)
    parameters = sum(parameter.numel() for parameter in made.module.parameters())
    detail = f"{plan.spec.name}, {parameters / 1e6:.2f} M parameters, {plan.num_classes} classes, weights {made.source}"
    outputs = plan.task.runtime.outputs

    def export(folder: Path) -> ExportedGraph:
        with it_traces(plan.spec, made.module, plan.shapes.opt):
            return trace(
                made.module,
                plan.shapes,
                name=plan.spec.name,
                opset=plan.opset,
                outputs=outputs,
                folder=folder,
                dtype=plan.contract.dtype,
            )

    return Source(
        torch_runner(made.module, outputs=outputs), export, detail, "torch.export, then ONNX", made.source, "PyTorch",
        f"{EAGER} fp32", made.sha256, made.averaged, made.notes, made.module,
    )  # fmt: skip
