"""An ONNX file and the shapes of a plan -> the graph that the passes start from, with the file's own names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....graph.edit import name_apart
from ....runtime.errors import UserMistake
from ....runtime.ground.scratch import temporary_folder
from ...engine.lower_opset import lower_opset
from ...run.feeds import Bound
from ...run.foreign.trial import ask_about
from ...run.foreign.words import cannot_run

if TYPE_CHECKING:
    import onnx_ir as ir

PREPARE = f"{__package__}.prepare:prepare"
PATIENCE = 30  # simplifying takes longer than running: a network of windows has thousands of nodes


@dataclass(frozen=True)
class ReadGraph:
    """``outputs``: name, type and sizes of each as it came out of one run; ``notes``: what was done to the file."""

    model: ir.Model
    outputs: tuple[Bound, ...]
    notes: tuple[str, ...]


def read_graph(
    path: Path,
    tried_on: Sequence[Bound],
    largest: Sequence[Bound],
    shapes: Mapping[str, Sequence[int | str]],
    opset: int,
) -> ReadGraph:
    """Try, raise and simplify the file in a child, and read what it made.

    ``tried_on`` and ``largest`` are the sizes that it is run with, ``shapes`` those that it is to have, with names for the open ones.

    Raises:
        UserMistake: ONNX Runtime does not run it, or an operator of it has no form in ``opset``.
    """
    import onnx_ir as ir

    with temporary_folder() as folder:
        out = folder / "read.onnx"
        asked = {
            "inputs": [[name, dtype, list(sizes)] for name, dtype, sizes in tried_on],
            "largest": [[name, dtype, list(sizes)] for name, dtype, sizes in largest],
            "shapes": {name: list(sizes) for name, sizes in shapes.items()},
            "opset": opset,
            "out": str(out),
        }
        told = _answered(path, asked)
        model = ir.load(out)
        model = _in_memory(model)
    notes = list(told["notes"])
    if (have := model.graph.opset_imports.get("", 0)) > opset:
        notes.append(_lowered(path, model, have, opset))
    outputs = tuple((name, dtype, tuple(sizes)) for name, dtype, sizes in told["outputs"])
    _shaped(model, outputs, shapes)
    name_apart(model)
    return ReadGraph(model, outputs, tuple(notes))


def _answered(path: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the child says; on a system without fork it is asked here."""
    if hasattr(os, "fork"):
        told = ask_about(path, PREPARE, PATIENCE, **asked)
    else:
        from .prepare import prepare

        told = prepare({"path": str(path), "memory": 0, **asked})
    if told.get("mistake"):
        raise UserMistake(**told["mistake"])
    if why := told.get("why"):
        raise cannot_run(path, why)
    return told


def _in_memory(model: ir.Model) -> ir.Model:
    """Weights as plain C-ordered arrays, so that the file may go."""
    import numpy as np
    import onnx_ir as ir

    for name, value in model.graph.initializers.items():
        assert value.const_value is not None
        array = np.array(value.const_value.numpy(), order="C")
        value.const_value = ir.tensor(array, dtype=value.const_value.dtype, name=name)
    return model


def _lowered(path: Path, model: ir.Model, have: int, opset: int) -> str:
    """The note on what was rewritten; UserMistake where an operator has no older form."""
    try:
        replaced = lower_opset(model, opset)
    except UserMistake as refused:
        raise UserMistake(
            f"{path} cannot be written in opset {opset}",
            found=f"{refused.what}: {refused.found}",
            expected=f"operators that opset {opset} has, the newest that this target reads",
            attempt="another target, or export the network again in opset 20",
        ) from None
    words = ", ".join(f"{count} {op}" for op, count in replaced.items()) or "no node changed"
    return f"lowered from opset {have} to {opset}: {words}"


def _shaped(model: ir.Model, outputs: Sequence[Bound], shapes: Mapping[str, Sequence[int | str]]) -> None:
    """Types and shapes of the outputs where inference found none: those of the run, open where an input is."""
    import onnx_ir as ir

    is_open = any(isinstance(size, str) for sizes in shapes.values() for size in sizes)
    found = {name: (dtype, sizes) for name, dtype, sizes in outputs}
    for value in model.graph.outputs:
        dtype, sizes = found[str(value.name)]
        if value.type is None:
            value.type = ir.TensorType(ir.DataType.from_numpy(_numpy(dtype)))
        if value.shape is None:
            value.shape = ir.Shape([f"{value.name}_{axis}" if is_open else size for axis, size in enumerate(sizes)])
        for axis, size in enumerate(value.shape):
            if not isinstance(size, int) and not size.value:
                value.shape[axis] = f"{value.name}_{axis}" if is_open else sizes[axis]


def _numpy(dtype: str) -> Any:
    import ml_dtypes  # noqa: F401  numpy knows bfloat16 by name once it is imported
    import numpy as np

    return np.dtype(dtype)
