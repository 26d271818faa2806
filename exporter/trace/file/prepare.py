"""The file as the passes read graphs: functions written out, an opset that they know, shapes inferred, simplified.

Runs in the child of run/foreign/trial.py, since converter, inference and engine are native code and the file may be
anybody's. What comes out is run beside the file, on the same numbers: a step that changes them is left out and told.

Simplifying is onnxslim's work. Of the TorchScript export of DeiT-tiny (1,205 nodes) shapes alone leave our passes 675 nodes and
no attention, onnxscript's optimizer 661 and none, onnxslim 322 and all twelve.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....runtime.errors import UserMistake
from ...run.feeds import apart, seeded_feeds
from ...run.foreign.child import limit_memory
from ...run.foreign.trial import A_BYTE

if TYPE_CHECKING:
    import onnx

Cases = Sequence[
    tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]
]  # what goes in, and what the file makes of it
SAME = 1e-5  # relative error: the same arithmetic in another order, in float32
ROOM_BYTES = 4 * 2**30  # beside what a trial has: maps may be larger than weights, and simplifying takes three copies
MOST_IR = 10  # the newest that TensorRT 10 reads
LEAST_IR = 8


def prepare(asked: Mapping[str, Any]) -> dict[str, Any]:
    """``path``, ``inputs`` (name, type, sizes to run with), ``largest`` (the same at the other end), ``shapes`` (name -> sizes, a name where one is open),
    ``opset`` (to raise to, or 0) and ``out``, the file to write -> {"outputs": [name, type, sizes of the run], "notes": [...]}.
    """
    import onnx
    from onnx.inliner import inline_local_functions

    limit_memory(asked["memory"] + ROOM_BYTES + A_BYTE * 4 * sum(int(np.prod(shape)) for *_, shape in asked["inputs"]))
    path = Path(asked["path"])
    usual = seeded_feeds(asked["inputs"])
    cases = [(usual, _run(path, usual))]
    with contextlib.suppress(Exception):  # what does not run at its largest is told where every size is tried
        largest = seeded_feeds(asked["largest"])
        cases.append((largest, _run(path, largest)))
    notes: list[str] = []
    model = onnx.load(path)
    before = len(model.graph.node)
    _plain_weights(model)
    _fix_shapes(model, asked["shapes"])
    if model.functions:
        functions = len(model.functions)
        model = inline_local_functions(model)
        notes.append(f"{functions} functions of the file are written out")
    if have := _raised(model, asked["opset"]):
        model = _convert(model, have, asked["opset"])
        notes.append(f"raised from opset {have} to {asked['opset']}")
        _same(cases, model, f"onnx's converter from opset {have} to {asked['opset']}")
    try:
        made = _slim(model)
        changed = "" if _apart(cases, made) <= SAME else "changes the numbers of this file"
    except Exception as error:  # noqa: BLE001 whatever it stops with is its fault, and no reason to refuse the file
        changed = f"stops at this file ({(str(error).splitlines() or [type(error).__name__])[0][:120]})"
    if changed:
        notes.append(f"onnxslim {changed}, so it was not simplified")
    model = _inferred(model) if changed else made
    notes.append(f"{before} nodes in the file, {len(model.graph.node)} after simplifying")
    model.ir_version = min(model.ir_version, MOST_IR)
    onnx.save(model, asked["out"])
    return {"outputs": [[name, str(one.dtype), list(one.shape)] for name, one in cases[0][1].items()], "notes": notes}


def _run(model: Path | onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All outputs, as ONNX Runtime computes them in the graph as it is written."""
    from .original import open_original

    session = open_original(model, optimise=False)
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def _apart(cases: Cases, model: onnx.ModelProto) -> float:
    """The largest relative error of a model over all cases."""
    return max(apart(expected, _run(model, feeds)) for feeds, expected in cases)


def _same(cases: Cases, model: onnx.ModelProto, who: str) -> None:
    found = _apart(cases, model)
    if not found <= SAME:
        raise UserMistake(
            "The file cannot be written in another opset",
            found=f"relative error {found:.1e} after {who}",
            expected=f"at most {SAME:g}",
            because="an operator of it means something else there",
            attempt="export the network again, in opset 18 or later",
        )


def _plain_weights(model: onnx.ModelProto) -> None:
    """Weights that are listed as inputs too, as files before IR 4 have them, are constants: nobody feeds them."""
    weights = {one.name for one in model.graph.initializer}
    kept = [one for one in model.graph.input if one.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ir_version = max(model.ir_version, LEAST_IR)  # IR 3 wants them listed


def _fix_shapes(model: onnx.ModelProto, shapes: Mapping[str, list[int | str]]) -> None:
    """The sizes that the plan decided in the place of the file's; all others are inferred anew."""
    for value in model.graph.input:
        del value.type.tensor_type.shape.dim[:]
        for size in shapes[value.name]:
            if isinstance(size, int):
                value.type.tensor_type.shape.dim.add().dim_value = size
            else:
                value.type.tensor_type.shape.dim.add().dim_param = size
    del model.graph.value_info[:]
    for value in model.graph.output:  # what other tools write there may be the sizes of their example
        value.type.tensor_type.ClearField("shape")


def _raised(model: onnx.ModelProto, opset: int) -> int:
    """The opset of a model that is older than ``opset``, else 0."""
    have = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0)
    return have if 0 < have < opset else 0


def _convert(model: onnx.ModelProto, have: int, opset: int) -> onnx.ModelProto:
    import onnx

    try:
        return onnx.version_converter.convert_version(model, opset)
    except (RuntimeError, ValueError, onnx.version_converter.ConvertError) as error:
        text = str(error).strip().splitlines() or ["no more is known"]
        raise UserMistake(
            f"The file cannot be raised from opset {have} to {opset}",
            found=text[-1][:200],
            expected=f"operators that have a form in opset {opset}",
            because="the rewrites and the types of this precision need it",
            attempt="export the network again, in opset 18 or later; or --precision fp32, which needs opset 13 only",
        ) from None


def _slim(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnxslim

    with _quiet():
        made: onnx.ModelProto = onnxslim.slim(model)
    kept = {one.name: one for one in made.graph.input}
    inputs = [kept.get(one.name, one) for one in model.graph.input]  # one that nothing reads is an input too
    del made.graph.input[:]
    made.graph.input.extend(inputs)
    return made


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnx

    with contextlib.suppress(onnx.shape_inference.InferenceError):
        return onnx.shape_inference.infer_shapes(model)
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What a library prints is not what the answer is read from."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
