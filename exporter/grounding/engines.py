"""Written graphs -> engines of TensorRT-RTX where the target is built here, with what their X-ray says of attention.

For a device that builds its own (JetPack) the files are tried on TensorRT-RTX, the same family of library on another chip.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.backends.engine_seal import seal_of
from ...runtime.ground.words import NOT_ON_HARDWARE
from ..engine import rtx
from ..engine.xray import XRay, read_engine
from .bundle import MadeGrounding, limits
from .write import WrittenGraph

if TYPE_CHECKING:
    from ...models.folders.folder import ModelFolder
    from ..plan.plan import Plan
    from ..run.stages import Run


def built(plan: Plan, folder: ModelFolder, made: MadeGrounding, run: Run) -> MadeGrounding:
    """``made`` with its engines, and notes on each; BuildFailed where TensorRT-RTX refuses a graph of its own target."""
    compiled = plan.target.engine.compiled
    if not compiled:
        return replace(made, notes=(*made.notes, *tried(made)))
    engines: dict[str, tuple[dict[str, Any], ...]] = {}
    files: dict[str, Path] = {}
    notes = list(made.notes)
    (run.folder / "engines").mkdir()
    for graph in made.graphs:
        data, version = _engine(plan, folder, graph, run)
        name = f"engines/{graph.name}.{plan.precision}.{plan.gpu_arch}.engine"
        path = run.folder / name
        path.write_bytes(data)
        seen = read_engine(data)
        files[name] = path
        engines[graph.name] = (
            {
                "file": name,
                "arch": plan.gpu_arch,
                "builder": plan.target.engine.name,
                "version": version,
                "seal": seal_of(data),
                "xray": seen.to_json(),
            },
        )
        notes.append(attention_words(graph, seen))
    return replace(made, engines=engines, files=files, notes=tuple(notes))


def attention_words(graph: WrittenGraph, seen: XRay) -> str:
    """How many attentions of a graph run as one fused kernel, and why the others do not."""
    fused = seen.fused_attention
    told = f"{graph.name}: {seen.kernels} kernels, {fused} of {graph.attentions} attentions fused"
    if fused >= graph.attentions:
        return told
    if graph.name.startswith("instruction"):
        return f"{told}; the rows of attention are an answer here, and a fused kernel keeps them to itself"
    return f"{told}; the others stay three kernels each: the X-ray names them"


def tried(made: MadeGrounding) -> list[str]:
    """Notes on the parser's word for files that a device will build."""
    if not rtx.installed():
        return [f"neither parsed nor built by any TensorRT here; {NOT_ON_HARDWARE}"]
    parsed = [f"{graph.name} {rtx.parse_only(graph.path)} layers" for graph in made.graphs]
    return [f"parsed by TensorRT-RTX, not built: {', '.join(parsed)}; {NOT_ON_HARDWARE}"]


def _engine(plan: Plan, folder: ModelFolder, graph: WrittenGraph, run: Run) -> tuple[bytes, str]:
    """The engine of one graph, and the version of the library."""
    shapes = {
        one["name"]: (found["min"], found["opt"], found["max"])
        for one, found in zip(graph.inputs, limits(plan, folder, graph.inputs), strict=True)
    }
    assert plan.gpu_arch is not None
    found = rtx.build_rtx(graph.path, plan.gpu_arch, shapes, progress=run.progress.step)
    return found.data, found.version
