"""model.onnx -> engine, built by TensorRT 8.5 to 11 or TensorRT-RTX in a process of its own: who starts it and hears it.

A builder that runs out of memory, or falls over, takes only that process with it (engine_child.py). A device asks for an
engine for the GPU that is in it; an export names a chip that is not here, which TensorRT-RTX compiles for without a GPU.
The build for a named chip is run by our tests; for the one in the machine see docs/hardware.md.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..bundle.bundle import Bundle
from ..bundle.graphs import GraphSpec
from ..bundle.manifest import TensorSpec
from ..errors import UserMistake
from ..ground.limits import FP16
from ..ground.scratch import temporary_folder
from ..plugins.routes import plugins_of
from .gpu.failures import BuildFailed, failure
from .gpu.memory import SHARE
from .gpu.progress import Watch

__all__ = [
    "Bounds",
    "BuildFailed",
    "EngineBuilt",
    "Progress",
    "Request",
    "build_engine",
    "profile_shapes",
    "run_builder",
]

log = logging.getLogger("edgesmith")
COMMAND = [sys.executable, "-m", "edgesmith.runtime.backends.engine_child"]
STILL_EVERY_S = 60.0  # between two signs of life, where nobody hears the progress
Progress = Callable[[str, int, int], None]  # phase, step, steps
Bounds = Sequence[Sequence[int]]  # smallest, usual and largest shape


@dataclass(frozen=True)
class Request:
    """What a child is asked to do."""

    library: str  # "tensorrt" or "tensorrt_rtx"
    model: str  # path of the ONNX file
    arch: str | None = None  # "sm89": a chip that is not in this machine, for TensorRT-RTX only
    half: bool = False  # fp16 allowed, to a library that does not follow the types of the graph
    workspace_bytes: int | None = None
    shapes: Mapping[str, Bounds] = field(default_factory=dict)  # of inputs with open sizes; "*" of every other
    plugins: Mapping[str, Any] | None = None  # what routes.plugins_of gave
    log: str | None = None  # file for all that the builder says, layer list included
    level: int | None = None  # of optimisation; the library's own where nothing is said
    dla_core: int | None = None  # of a deep learning accelerator, with the GPU for what it cannot
    timings: tuple[str, str] | None = None  # files: timings of kernels to begin with, and where to leave them


@dataclass(frozen=True)
class EngineBuilt:
    """The engine (empty when the graph was only parsed), its chip where one was named, and what the builder said of it."""

    data: bytes
    arch: str | None
    version: str
    parse_seconds: float
    build_seconds: float
    layers: int
    warnings: tuple[str, ...] = ()


def build_engine(
    bundle: Bundle,
    library: str,
    free_bytes: int | None = None,
    arch: str | None = None,
    graph: GraphSpec | None = None,
    *,
    level: int | None = None,
    dla_core: int | None = None,
    timings: tuple[Path, Path] | None = None,
    watch: Watch | None = None,
) -> bytes:
    """Build a graph of the bundle (its first) with ``library`` (tensorrt or tensorrt_rtx); takes minutes, raises EdgesmithError in words.

    ``arch`` (sm89) names a chip that is not in this machine, for TensorRT-RTX only; ``level`` to ``timings`` are those of Request.
    """
    graph = graph or bundle.main
    request = Request(
        library,
        os.path.abspath(graph.path),
        arch,
        half=bundle.precision == FP16,
        workspace_bytes=int(free_bytes * SHARE) if free_bytes else None,
        shapes=profile_shapes(graph.inputs),
        plugins=plugins_of(bundle, library),
        level=level,
        dla_core=dla_core,
        timings=timings and (str(timings[0]), str(timings[1])),
    )
    return run_builder(request, lambda _: f"{library} could not build an engine for {bundle.name}", watch=watch).data


def profile_shapes(specs: Sequence[TensorSpec]) -> dict[str, list[list[int]]]:
    """{input: [min, opt, max]} of the inputs with open sizes; UserMistake when the bundle does not bound them."""
    found = {}
    for spec in specs:
        if all(isinstance(size, int) for size in spec.shape):
            continue
        if not (spec.min and spec.opt and spec.max):
            raise UserMistake(f"input {spec.name!r} has open sizes without bounds", found=str(spec.shape))
        found[spec.name] = [list(spec.min), list(spec.opt), list(spec.max)]
    return found


def run_builder(
    request: Request,
    refused: Callable[[str], str],
    *,
    engine: bool = True,
    progress: Progress | None = None,
    watch: Watch | None = None,
    timeout_s: float | None = None,
) -> EngineBuilt:
    """Run a child to its end; it does not outlive this call, Ctrl-C included. Without ``engine`` it only parses.

    ``progress`` hears of every phase and step; without it a line a minute goes to the log, and ``watch`` hears how far it is.
    ``refused("parse")`` and ``refused("build")`` are the first line of the error when that did not work.

    Raises:
        BuildFailed: the parser or the builder refused, or died, or took longer than ``timeout_s``.
        UserMistake: the graph has open sizes and no shapes; the bundle's kernels cannot be used.
        BackendUnavailable: the library, or what it needs for the kernels, is not here.
    """
    with temporary_folder() as folder:
        path, errors = folder / "engine", folder / "stderr"
        words = {**asdict(request), "engine": str(path) if engine else None, "progress": bool(progress or watch)}
        warnings: list[str] = []
        code, last = _converse(json.dumps(words), errors, progress, watch or Watch(), timeout_s, warnings)
        if code == 0 and last.get("event") == "done":
            facts = {name: last[name] for name in ("version", "parse_seconds", "build_seconds", "layers")}
            data = path.read_bytes() if engine else b""
            return EngineBuilt(data, request.arch, **facts, warnings=tuple(dict.fromkeys(warnings)))
        tail = list(deque(errors.read_text(errors="replace").splitlines(), maxlen=6))
    raise failure(refused, code, last, tail, timeout_s)


def _converse(
    words: str, errors: Path, progress: Progress | None, watch: Watch, timeout_s: float | None, warnings: list[str]
) -> tuple[int, dict[str, Any]]:
    """Exit code and last event of a child that was told ``words``."""
    # the folder and SAFEPATH: what lies where the user works must not shadow a module of the standard library
    paths = [os.environ.get("PYTHONPATH", ""), *map(os.path.abspath, filter(None, sys.path))]
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    pipe, last, over = subprocess.PIPE, {}, threading.Event()
    with errors.open("w") as stderr:
        child = subprocess.Popen(
            COMMAND, cwd=errors.parent, env=environment, stdin=pipe, stdout=pipe, stderr=stderr, text=True,
            encoding="utf-8",
        )  # fmt: skip
        limit = threading.Timer(timeout_s or 0, child.kill)
        try:
            if timeout_s:
                limit.start()
            if progress is None:
                threading.Thread(target=_still_building, args=(over, watch), daemon=True).start()
            assert child.stdin and child.stdout
            with contextlib.suppress(BrokenPipeError):  # it died at once; how is told below
                child.stdin.write(words)
                child.stdin.flush()
            with contextlib.suppress(BrokenPipeError):
                child.stdin.close()
            for line in child.stdout:
                last = _event(line)
                if last.get("event") == "progress":
                    watch.heard(last.get("share"))
                    if progress:
                        progress(last["phase"], last["step"], last["steps"])
                elif last.get("event") == "warning":
                    warnings.append(last["text"])
            return child.wait(), last
        finally:
            over.set()
            limit.cancel()
            if child.poll() is None:
                child.kill()
                child.wait()
            if child.stdout:
                child.stdout.close()


def _event(line: str) -> dict[str, Any]:
    """One line of the child; a line of anybody else is no event."""
    with contextlib.suppress(ValueError):
        if isinstance(found := json.loads(line), dict):
            return found
    return {}


def _still_building(over: threading.Event, watch: Watch) -> None:
    while not over.wait(STILL_EVERY_S):
        log.warning("still building the engine, %s", watch)
