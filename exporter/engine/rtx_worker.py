"""The child process that builds one TensorRT-RTX engine: ONNX file in, engine file out, events as JSON lines.

A process of its own because a crash inside the builder, or a signal, must end the build and not the export.  It needs no
GPU: the compute capability is named, nothing is timed.  Started by ``rtx.py`` as ``python -m edgesmith.exporter.engine.rtx_worker``
with one JSON object on stdin:

    {"model": path, "engine": path or null, "arch": "sm89", "shapes": [min, opt, max] or null, "log": path or null}

Events, one JSON object a line on stdout: ``progress`` {phase, step, steps}, ``warning`` {text}, then one ``done``
{version, parse_seconds, build_seconds, layers} or ``failed`` {stage, errors: [{node, op, message}]}.  Without ``engine`` it
only parses.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

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


def main() -> int:
    own_stdout()
    request = json.load(sys.stdin)
    import tensorrt_rtx as trt

    lines: list[str] = []

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, text: str) -> None:
            lines.append(text)
            if severity <= trt.ILogger.Severity.ERROR:
                self.errors.append(text)
            elif severity == trt.ILogger.Severity.WARNING:
                emit("warning", text=text)

    class Progress(trt.IProgressMonitor):
        """Phases and steps of the builder; the builder calls it from its own threads."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}
            self.shown = 0.0

        def phase_start(self, phase: str, parent: str, steps: int) -> None:
            self.steps[phase] = steps
            emit("progress", phase=phase, step=0, steps=steps)

        def step_complete(self, phase: str, step: int) -> bool:
            if time.monotonic() - self.shown > 0.1:  # some phases have a step for every layer
                self.shown = time.monotonic()
                emit("progress", phase=phase, step=step + 1, steps=self.steps.get(phase, 0))
            return True

        def phase_finish(self, phase: str) -> None:
            steps = self.steps.get(phase, 0)
            emit("progress", phase=phase, step=steps, steps=steps)

    logger = Logger()
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    started = time.perf_counter()
    if not parser.parse_from_file(request["model"]):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        rows = [{"node": e.node_name(), "op": e.node_operator(), "message": e.desc()} for e in errors]
        emit("failed", stage="parse", errors=rows or [{"node": "", "op": "", "message": "the parser gave no reason"}])
        return 1
    if not network.num_outputs:  # bytes that are no ONNX at all parse as an empty graph
        emit(
            "failed", stage="parse", errors=[{"node": "", "op": "", "message": "no outputs: this is not an ONNX model"}]
        )
        return 1
    parse_seconds = time.perf_counter() - started
    layers = network.num_layers
    if request["engine"] is None:
        emit("done", version=trt.__version__, parse_seconds=parse_seconds, build_seconds=0.0, layers=layers)
        return 0

    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, request["arch"].upper()), 0)
    config.progress_monitor = progress = Progress()  # noqa: F841  the builder keeps no reference of its own
    if request["log"]:
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # puts the layer list into the log
    open_inputs = [tensor for tensor in map(network.get_input, range(network.num_inputs)) if -1 in tuple(tensor.shape)]
    if open_inputs:
        if request["shapes"] is None:
            message = f"input {open_inputs[0].name} has shape {tuple(open_inputs[0].shape)}, -1 is open"
            emit("failed", stage="shapes", errors=[{"node": open_inputs[0].name, "op": "input", "message": message}])
            return 1
        profile = builder.create_optimization_profile()
        for tensor in open_inputs:
            profile.set_shape(tensor.name, *map(tuple, request["shapes"]))
        config.add_optimization_profile(profile)
    started = time.perf_counter()
    engine = builder.build_serialized_network(network, config)
    if request["log"]:
        Path(request["log"]).write_text("\n".join(lines))
    if engine is None:
        rows = [{"node": "", "op": "", "message": text} for text in logger.errors]
        emit("failed", stage="build", errors=rows or [{"node": "", "op": "", "message": "the builder gave no reason"}])
        return 1
    Path(request["engine"]).write_bytes(engine)
    seconds = time.perf_counter() - started
    emit("done", version=trt.__version__, parse_seconds=parse_seconds, build_seconds=seconds, layers=layers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
