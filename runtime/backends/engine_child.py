"""The child process that builds one engine: ONNX file in, engine file out, events as JSON lines.

Started by engine_build.py as ``python -m edgesmith.runtime.backends.engine_child`` with one JSON object on stdin, the
fields of its ``Request`` and ``engine``, the path to write to; without ``engine`` it only parses. On stdout, one JSON
object a line: ``progress`` {phase, step, steps, share of the whole}, ``warning`` {text}, and last ``done`` {version, parse_seconds, build_seconds,
layers} or ``failed`` with {stage, errors: [text]}, or {refused: the parts of one of our own errors}.

Types are decided in our graph: where the library knows strongly typed networks (from TensorRT 10 on) it must follow them;
TensorRT 8 is only allowed fp16. Plugins of the bundle's kernels are registered before the graph is parsed.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from ..errors import BackendUnavailable, EdgesmithError, UserMistake
from ..plugins.routes import add_plugins
from .gpu.builder_settings import keep_timings, set_up, typed_network
from .gpu.progress import Phases

PR_SET_PDEATHSIG = 1  # linux/prctl.h
SHOWN_EVERY_S = 0.1  # some phases have a step for every layer
_one_at_a_time = threading.Lock()  # the builder reports from threads of its own
_events = sys.stdout


def emit(event: str, **fields: Any) -> None:
    with _one_at_a_time:
        _events.write(json.dumps({"event": event, **fields}) + "\n")
        _events.flush()


def own_stdout() -> None:
    """Keep stdout for the events: what the library's C++ code prints goes to stderr."""
    global _events
    _events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)


def end_with_parent() -> None:
    """A parent that is killed cannot end us; nobody would fetch the engine."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> int:
    """0 built or parsed, 1 refused by parser or builder, 2 what was asked cannot be done, 3 no library."""
    end_with_parent()
    own_stdout()
    request = json.load(sys.stdin)
    try:
        trt = __import__(request["library"])
    except (ImportError, OSError) as error:
        emit("failed", stage="build", errors=[f"{type(error).__name__}: {error}"])
        return 3
    with ExitStack() as stack:
        try:
            add_plugins(trt, request.get("plugins"), stack)
            return _build(trt, request)
        except EdgesmithError as error:
            emit("failed", stage="build", refused=vars(error))
            return 3 if isinstance(error, BackendUnavailable) else error.exit_code


def _build(trt: Any, request: dict[str, Any]) -> int:
    log = _listener(trt, bool(request["log"]))
    if hasattr(trt, "init_libnvinfer_plugins"):  # suppression inside a detector's graph is one of TensorRT's plugins
        trt.init_libnvinfer_plugins(log, "")
    builder = trt.Builder(log)
    flags, typed = typed_network(trt, request)
    network = builder.create_network(flags)
    parser, started = trt.OnnxParser(network, log), time.perf_counter()
    parsed = parser.parse_from_file(request["model"])
    if not parsed or not network.num_outputs:  # bytes that are no ONNX at all parse as an empty graph
        errors = ["no outputs: this is not an ONNX model"] if parsed else _refusals(parser) or log.errors
        emit("failed", stage="parse", errors=errors or ["the parser gave no reason"])
        return 1
    told = {"version": trt.__version__, "parse_seconds": time.perf_counter() - started, "layers": network.num_layers}
    if not request["engine"]:
        emit("done", build_seconds=0.0, **told)
        return 0

    config = builder.create_builder_config()
    if not typed and request["half"]:
        config.set_flag(trt.BuilderFlag.FP16)
    if request["workspace_bytes"]:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request["workspace_bytes"])
    if request["arch"]:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, request["arch"].upper()), 0)
    if request["progress"] and hasattr(config, "progress_monitor"):  # from 10.0 on
        config.progress_monitor = monitor = _monitor(trt)  # noqa: F841  the builder keeps no reference of its own
    if request["log"]:
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # puts the layer list into the log
    for text in set_up(trt, builder, config, request):
        emit("warning", text=text)
    _bound(builder, network, config, request["shapes"])
    started = time.perf_counter()
    try:
        engine = builder.build_serialized_network(network, config)
    finally:
        keep_timings(config, request)
    if request["log"]:
        Path(request["log"]).write_text("\n".join(log.lines))
    if engine is None:
        emit("failed", stage="build", errors=log.errors or ["the builder gave no reason"])
        return 1
    Path(request["engine"]).write_bytes(engine)
    emit("done", build_seconds=time.perf_counter() - started, **told)
    return 0


def _bound(builder: Any, network: Any, config: Any, shapes: dict[str, Sequence[Sequence[int]]]) -> None:
    """Smallest, usual and largest shape of every input with an open size: its own, or those for ``*``."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    if not any(-1 in tuple(tensor.shape) for tensor in inputs):
        return
    profile = builder.create_optimization_profile()
    for tensor in inputs:
        if -1 not in tuple(tensor.shape):
            continue
        bounds = shapes.get(tensor.name) or shapes.get("*")
        if bounds is None:
            raise UserMistake(
                "The graph has open dimensions and no shapes were given",
                found=f"input {tensor.name} has shape {tuple(tensor.shape)}, -1 is open",
                expected="smallest, usual and largest shape",
                attempt="--dynamic with --min-shapes, --opt-shapes and --max-shapes",
            )
        profile.set_shape(tensor.name, *map(tuple, bounds))
    config.add_optimization_profile(profile)


def _refusals(parser: Any) -> list[str]:
    """``node NAME (OP): why`` of each; parsers before 10 do not tell the node."""
    found = []
    for error in map(parser.get_error, range(parser.num_errors)):
        node, op = (getattr(error, part, str)() for part in ("node_name", "node_operator"))
        why = str(error.desc()).strip()
        why = "TensorRT has no such operator" if "Plugin not found" in why else why  # it looks for one of its name last
        found.append((f"node {node or '(no name)'} ({op}): " if node or op else "") + why)
    return found


def _listener(trt: Any, keep: bool) -> Any:
    class Log(trt.ILogger):
        """Errors are kept, warnings handed on, and all that is said kept too where somebody wants to read it."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []
            self.errors: list[str] = []

        def log(self, severity: Any, text: str) -> None:
            if keep:
                self.lines.append(text)
            if severity <= trt.ILogger.Severity.ERROR:
                self.errors.append(text)
            elif severity == trt.ILogger.Severity.WARNING:
                emit("warning", text=text)

    return Log()


def _monitor(trt: Any) -> Any:
    class Monitor(trt.IProgressMonitor):
        """Phases and steps of the builder; the builder calls it from its own threads."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)  # there where ``progress_monitor`` is
            self.phases, self.shown = Phases(), 0.0

        def phase_start(self, phase: str, parent: str, steps: int) -> None:
            self.phases.start(phase, parent, steps)
            self.tell(phase, 0)

        def step_complete(self, phase: str, step: int) -> bool:
            self.phases.reached(phase, step + 1)
            if time.monotonic() - self.shown > SHOWN_EVERY_S:
                self.shown = time.monotonic()
                self.tell(phase, step + 1)
            return True

        def phase_finish(self, phase: str) -> None:
            self.phases.reached(phase, self.phases.steps(phase))
            self.tell(phase, self.phases.steps(phase))

        def tell(self, phase: str, step: int) -> None:
            emit("progress", phase=phase, step=step, steps=self.phases.steps(phase), share=self.phases.share)

    return Monitor()


if __name__ == "__main__":
    sys.exit(main())
