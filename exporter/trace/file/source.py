"""A file that takes pictures and tells classes, as the source of an export."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from ...run.nouns import ExportedGraph
from ..opened import Source
from .original import picture_runner
from .read import read_graph

if TYPE_CHECKING:
    from ...plan.plan import Plan

JUDGE = "the file itself"
IN_FULL = f"{JUDGE} on ONNX Runtime"


def open_file(plan: Plan) -> Source:
    """Tried and read at once: what cannot be read is told before anything is made of it."""
    file = plan.spec.file
    assert file is not None
    path, (taken,) = Path(file.path), file.inputs
    read = read_graph(
        path, [(taken.name, taken.dtype, plan.shapes.opt)], {taken.name: plan.shapes.symbolic()}, plan.opset
    )
    exported = ExportedGraph(read.model, plan.spec.name, plan.shapes, plan.input_name, plan.output_names)
    detail = f"{path.name}, opset {file.opset}, {plan.spec.parameters / 1e6:.2f} M parameters, {file.words()}"
    return Source(
        picture_runner(path), lambda: exported, detail, "; ".join(read.notes), path.name, JUDGE, IN_FULL,
        sha256_of(path), notes=read.notes, entries={"judge": IN_FULL},
    )  # fmt: skip


def sha256_of(path: Path) -> str:
    """Of the file, without weights that lie beside it."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        for part in iter(lambda: file.read(1 << 20), b""):
            found.update(part)
    return found.hexdigest()
