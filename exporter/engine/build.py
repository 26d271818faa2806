"""rewritten, typed graph -> what the target loads: the ONNX file, and for TensorRT-RTX the engine beside it.

For a target whose engine is built on the device the file is made fit for that device's parser (opset and IR version),
and TensorRT-RTX, where it is installed, parses and builds it: the same family of library, not the device's version.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ...calibration.precisions import PRECISIONS
from ...runtime.backends.engine_build import Bounds
from ...runtime.backends.engine_seal import seal_of
from ...runtime.errors import EdgesmithError, UserMistake
from ...runtime.ground.limits import FP32
from ...runtime.ground.words import NOT_ON_HARDWARE
from ...runtime.plugins.schema import DOMAIN
from ..plan.targets import Target, check_arch
from ..run.nouns import Shapes
from . import rtx
from .buildable import buildable
from .fused_ops import lower, lowered_report
from .lower_opset import lower_opset
from .rtx import build_rtx, build_rtx_engine, stand_in
from .xray import XRay, read_engine

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["Built", "build", "build_rtx", "build_rtx_engine"]

TRIED_S = 300.0  # for an engine that nobody will run


Sizes = Shapes | Mapping[str, Bounds]  # smallest, usual and largest: of the one input, or of each by its name
Finish = Callable[["ir.Model", str], tuple["ir.Model", list[str]]]  # graph, engine -> graph, notes


def as_it_is(model: ir.Model, engine: str) -> tuple[ir.Model, list[str]]:
    """Nothing is added to the graph."""
    return model, []


class Listener(Protocol):
    def step(self, note: str, done: int, total: int) -> None: ...


@dataclass(frozen=True)
class Built:
    """Files of the bundle by their name in it, the engines as the manifest lists them, and what to say about them."""

    files: dict[str, Path]
    engines: tuple[dict[str, Any], ...] = ()
    xray: XRay | None = None
    notes: tuple[str, ...] = ()
    summary: str = ""
    opset: int = 0  # of the file as written, which may be lower than the traced one
    outputs: tuple[dict[str, Any], ...] = ()  # name, dtype and shape, as the manifest has them
    fused: dict[str, Any] | None = None  # {"route", "ops": {name: nodes}}, where the graph had fused ops

    @property
    def size_bytes(self) -> int:
        """Of the file that the device will run: the engine when there is one, else the graph."""
        engines = [path for name, path in self.files.items() if name.startswith("engines/")]
        graph = [path for name, path in self.files.items() if name.startswith("model.onnx")]
        return sum(path.stat().st_size for path in engines or graph)


def build(
    model: ir.Model,
    target: Target,
    arch: str | None,
    shapes: Sizes,
    out_dir: Path,
    progress: Listener | None = None,
    *,
    name: str = "model",
    finish: Finish = as_it_is,
    route: str = "",
) -> Built:
    """Write ``model.onnx`` (and ``engines/<name>.<precision>.<arch>.engine`` for rtx) into ``out_dir``.

    ``finish`` adds what the task wants inside the file (suppression, of a detector); last, since it decides the outputs.
    ``route`` is that of the fused ops (plugins/routes.py), by default the target's.

    Raises UserMistake (arch, opset), BackendUnavailable (no TensorRT-RTX for target rtx), BuildFailed (parser, builder).
    """
    lowered = lower(model, route or target.plugin_route)
    built = _build(lowered.model, target, arch, shapes, out_dir, progress, name, finish)
    if not lowered.ops:
        return built
    return replace(
        built,
        files={**built.files, **lowered.files},
        notes=(*lowered.notes, *built.notes),
        fused=lowered_report(lowered),
    )


def _build(
    model: ir.Model,
    target: Target,
    arch: str | None,
    shapes: Sizes,
    out_dir: Path,
    progress: Listener | None,
    name: str,
    finish: Finish,
) -> Built:
    """``build`` for a graph whose fused ops are as the target takes them."""
    foreign = {node.domain for node in model.graph} - {"", "ai.onnx", DOMAIN} - target.engine.domains
    if foreign:
        node = next(node for node in model.graph if node.domain in foreign)
        raise EdgesmithError(
            f"Target {target.name} cannot load operators of {', '.join(sorted(foreign))}",
            found=f"{node.domain}.{node.op_type}, node {node.name}",
            because="a rewrite for another target ran on this graph",
        )
    if target.builds_here:
        model, _ = finish(model, target.engine.name)
    if target.builds_here and target.engine.compiled:
        model, notes = _for_builder(model, target, shapes)
        built = _with_engine(model, target, arch or target.archs[0], shapes, Path(out_dir), progress, name)
        return replace(built, notes=(*notes, *built.notes))
    notes = []
    if not target.builds_here:
        model, notes = _fit_for_device(model, target, shapes)
        model, more = _for_builder(model, target, shapes)
        notes += more
        model, more = finish(model, target.engine.name)
        notes += more
    files = _save(model, Path(out_dir))
    if not target.builds_here:
        bodies = {op_type for _, op_type, _ in model.functions}
        foreign = {node.op_type for node in model.graph if node.domain} - bodies
        notes.append(
            f"not parsed here: {', '.join(sorted(foreign))}: a plugin computes it; {NOT_ON_HARDWARE}"
            if foreign
            else _tried_here(files["model.onnx"], stand_in(arch, precision_of(model)), precision_of(model), shapes)
        )
    where = f"for {target.engine}" if target.builds_here else f"ready for TensorRT {target.library}, engine built there"
    return Built(
        files,
        notes=tuple(notes),
        summary=f"model.onnx {where}",
        opset=model.graph.opset_imports[""],
        outputs=_outputs(model),
    )


def _with_engine(
    model: ir.Model, target: Target, arch: str, shapes: Sizes, out: Path, progress: Listener | None, name: str
) -> Built:
    chip = check_arch(arch)
    files = _save(model, out)
    step = progress.step if progress else None
    built = build_rtx(files["model.onnx"], chip, shapes, progress=step)
    precision = precision_of(model)
    file = f"engines/{name}.{precision}.{chip}.engine"
    path = out / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(built.data)
    seen = read_engine(built.data)
    engine = {
        "file": file,
        "arch": chip,
        "builder": target.engine.name,
        "version": built.version,
        "seal": seal_of(built.data),
        "build_seconds": round(built.parse_seconds + built.build_seconds, 3),
        "xray": seen.to_json(),
    }
    notes = [f"TensorRT-RTX: {text}" for text in built.warnings[:5]]
    if seen.recognised < 1:
        notes.append(f"engine X-ray incomplete: {seen.recognised:.0%} of its steps recognised")
    summary = f"engine for {chip}, {seen.summary()}"
    opset = model.graph.opset_imports[""]
    return Built({**files, file: path}, (engine,), seen, tuple(notes), summary, opset, _outputs(model))


def _outputs(model: ir.Model) -> tuple[dict[str, Any], ...]:
    """The outputs of the graph as the manifest lists them; an open axis has a name."""
    found = []
    for value in model.graph.outputs:
        assert value.dtype is not None and value.shape is not None
        shape = [dim if isinstance(dim, int) else str(dim.value) for dim in value.shape]
        found.append({"name": str(value.name), "dtype": str(value.dtype.numpy()), "shape": shape})
    return tuple(found)


def precision_of(model: ir.Model) -> str:
    """What the graph computes in: a quantised precision, else that of the floating-point part."""
    props = model.metadata_props
    return props.get("edgesmith.quantised") or props.get("edgesmith.precision", FP32)


def _fit_for_device(model: ir.Model, target: Target, shapes: Sizes) -> tuple[ir.Model, list[str]]:
    """A copy that the device's parser reads: opset and IR version within what it knows; same numbers, checked here."""
    from ...graph.edit import clone

    have, limit = model.graph.opset_imports.get("", 0), target.opset_limit(precision_of(model))
    original, model, notes = model, clone(model), []
    if have > limit:
        try:
            replaced = lower_opset(model, limit)
        except UserMistake as refused:
            raise UserMistake(
                f"The graph cannot be made readable for {target.name} (TensorRT {target.library})",
                found=f"{refused.what}: {refused.found}",
                expected=refused.expected,
                because=f"its parser reads opset {limit}, the exporter writes {have}",
                attempt=refused.attempt,
            ) from refused
        what = ", ".join(f"{count} {op}" for op, count in replaced.items()) or "no node changed"
        notes.append(f"lowered from opset {have} to {limit} for TensorRT {target.library}: {what}")
        if replaced:
            notes.append(_same_numbers(original, model, shapes))
    model.ir_version = min(model.ir_version, target.max_ir)
    return model, notes


def _for_builder(model: ir.Model, target: Target, shapes: Sizes) -> tuple[ir.Model, list[str]]:
    """The graph as TensorRT's builder takes it, compared with the one before where it had to change; UserMistake: it never does."""
    made, notes = buildable(model, target.engine.name)
    return made, notes if made is model else [*notes, _same_numbers(model, made, shapes)]


def _same_numbers(before: ir.Model, after: ir.Model, shapes: Sizes) -> str:
    """Run both graphs on one seeded input; the note on how far they are apart, or EdgesmithError."""
    import numpy as np

    from ...graph.run import run_values
    from ...runtime.ground.numbers import relative_error

    rng = np.random.default_rng(0)
    usual = [shapes.opt] if isinstance(shapes, Shapes) else [bounds[1] for bounds in shapes.values()]
    feeds = {}
    for value, shape in zip(before.graph.inputs, usual, strict=True):
        kind = np.dtype(np.float32) if value.dtype is None else value.dtype.numpy()
        whole = kind.kind in "iu"  # pixels, or places in a table
        numbers = rng.integers(0, 256 if kind == np.uint8 else 2, shape) if whole else rng.standard_normal(shape)
        feeds[str(value.name)] = numbers.astype(kind)
    wanted, found = run_values(before, feeds, None), run_values(after, feeds, None)
    # the same arithmetic in other operators: rounding alone, of fp16 where the graph is fp16 (2^-11 a value, some add up)
    limit = 1e-5 if before.metadata_props.get("edgesmith.precision", FP32) == FP32 else 1e-2
    error = max(relative_error(wanted[name], found[name]) for name in wanted)
    if not error <= limit:
        raise EdgesmithError(
            "The graph as the device reads it does not compute the same",
            found=f"relative error {error:.1e}",
            expected=f"at most {limit:.0e}",
            because="a replacement for an operator that it does not have is wrong: a bug of ours",
        )
    return f"the changed file gives the same numbers here: relative error {error:.1e}"


def _tried_here(file: Path, chip: str, precision: str, shapes: Sizes) -> str:
    """The note on what could be tried without the device; a graph that the parser refuses is an error.

    A parser that says yes has checked little: TensorRT-RTX builds the file too, for a chip like the device's. What it does not
    build the device's own version may, so that is a note. Of a quantised graph the audit builds two engines anyway.
    """
    if not rtx.installed():
        return "neither parsed nor built by any TensorRT here: pip install 'edgesmith[rtx]' tries both"
    parsed = f"parsed by TensorRT-RTX, {rtx.parse_only(file)} layers"
    if PRECISIONS[precision].quantised:
        return f"{parsed}, not built; {NOT_ON_HARDWARE}"
    try:
        built = rtx.build_rtx(file, chip, shapes, timeout_s=TRIED_S)
    except rtx.BuildFailed as failed:
        why = failed.found.splitlines()[0] if failed.found else failed.what
        return f"{parsed}, but NOT built for {chip}, which stands in for the device: {why}; {NOT_ON_HARDWARE}"
    return f"{parsed}, and built for {chip} ({built.build_seconds:.1f} s), which stands in for the device; {NOT_ON_HARDWARE}"


def _save(model: ir.Model, out: Path) -> dict[str, Path]:
    """One file, or one and its weights when protobuf's limit is near."""
    import onnx_ir as ir

    from ...graph.beside import is_beside, is_large, settle

    path = out / "model.onnx"
    if not is_beside(model) and not is_large(model):
        ir.save(model, os.fspath(path))
        return {path.name: path}
    settle(model)
    ir.save(model, os.fspath(path), external_data="model.onnx.data")
    return {path.name: path, "model.onnx.data": out / "model.onnx.data"}
