"""model.onnx -> engine for the GPU in this machine, built by TensorRT 8.5 to 11 or TensorRT-RTX in a process of its own.

A builder that runs out of memory, or falls over, takes only that process with it. Types are decided in our graph: where
the library knows strongly typed networks (from TensorRT 10 on) it must follow them; TensorRT 8 is only allowed fp16.
Where the bundle brings kernels, their plugins are registered in that process before the graph is parsed.
Started as ``python -m edgesmith.runtime.backends.engine_build`` with one JSON object on stdin; the answer is one on stdout.
The build for a named chip is run by our tests; building for the chip in the machine is not yet run on hardware.
"""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..bundle.bundle import Bundle
from ..bundle.graphs import GraphSpec
from ..bundle.manifest import TensorSpec
from ..errors import BackendUnavailable, EdgesmithError, UserMistake
from ..plugins.routes import add_plugins, plugins_of
from ..tasks.limits import FP16

log = logging.getLogger("edgesmith")
COMMAND = [sys.executable, "-m", "edgesmith.runtime.backends.engine_build"]
WORKSPACE_SHARE = 0.5  # of the free memory: on a Jetson the CPU lives in the same memory


def build_engine(
    bundle: Bundle,
    library: str,
    free_bytes: int | None = None,
    arch: str | None = None,
    graph: GraphSpec | None = None,
) -> bytes:
    """Build a graph of the bundle (its first) with ``library`` (tensorrt or tensorrt_rtx); takes minutes, raises EdgesmithError in words.

    ``arch`` (sm89) names a chip that is not in this machine, for TensorRT-RTX only.
    """
    graph = graph or bundle.main
    with tempfile.TemporaryDirectory(prefix="edgesmith-") as folder:
        engine = Path(folder) / "engine"
        request = {
            "library": library,
            "model": str(graph.path),
            "engine": str(engine),
            "arch": arch,
            FP16: bundle.precision == FP16,
            "workspace_bytes": int(free_bytes * WORKSPACE_SHARE) if free_bytes else None,
            "shapes": profile_shapes(graph.inputs),
            "plugins": plugins_of(bundle, library),
        }
        child = _run(json.dumps(request))
        if child.returncode == 0 and engine.is_file():
            return engine.read_bytes()
    raise _failure(bundle, library, child)


def _run(request: str) -> subprocess.CompletedProcess[str]:
    """Run the child to its end, saying once a minute that it still works; it does not outlive us."""
    pipe, minutes, words = subprocess.PIPE, 0, request or None
    with subprocess.Popen(COMMAND, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as child:
        try:
            while True:
                try:
                    out, err = child.communicate(words, timeout=60)
                    return subprocess.CompletedProcess(COMMAND, child.returncode, out, err)
                except subprocess.TimeoutExpired:
                    minutes, words = minutes + 1, None  # what was asked is sent once
                    log.warning("still building the engine, %d min", minutes)
        except BaseException:
            child.kill()
            raise


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


def _failure(bundle: Bundle, library: str, child: subprocess.CompletedProcess[str]) -> EdgesmithError:
    """What the child's end means."""
    what = f"{library} could not build an engine for {bundle.name}"
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        killed = name == "SIGKILL"
        return EdgesmithError(
            what,
            found=f"the builder ended by {name}",
            because="the system takes memory back this way" if killed else "an error inside the library",
            attempt="close other programs, add swap, or a smaller batch" if killed else "another version of it",
        )
    kind = {2: UserMistake, 3: BackendUnavailable}.get(child.returncode, EdgesmithError)
    try:
        answer = json.loads(child.stdout.strip().splitlines()[-1])
        if "refused" in answer:  # one of our own errors: it has its four lines already
            return kind(**answer["refused"])
        errors = answer["errors"]
    except (ValueError, IndexError, KeyError, TypeError):
        errors = child.stderr.strip().splitlines()[-3:] or ["it gave no reason"]
    return kind(what, found="\n".join(map(str, errors[:5]))[:800], attempt="edgesmith doctor")


def main() -> int:
    """The child: 0 built, 1 refused by parser or builder, 2 plugins that cannot be used, 3 no library."""
    request = json.load(sys.stdin)
    try:
        trt = __import__(request["library"])
    except (ImportError, OSError) as error:
        print(json.dumps({"errors": [f"{type(error).__name__}: {error}"]}))
        return 3
    with ExitStack() as stack:
        try:
            add_plugins(trt, request.get("plugins"), stack)
        except EdgesmithError as error:
            print(json.dumps({"refused": vars(error)}))
            return 3 if isinstance(error, BackendUnavailable) else error.exit_code
        return _answer(trt, request)


def _answer(trt: Any, request: dict[str, Any]) -> int:
    """Build and write the engine; what the library says goes to stdout."""
    errors: list[str] = []

    class Log(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                errors.append(text)

    engine = _build(trt, Log(), request, errors)
    if engine is None:
        print(json.dumps({"errors": errors or ["it gave no reason"]}))
        return 1
    Path(request["engine"]).write_bytes(engine)
    print(json.dumps({"version": trt.__version__}))
    return 0


def _build(trt: Any, log: Any, request: dict[str, Any], errors: list[str]) -> Any:
    if hasattr(trt, "init_libnvinfer_plugins"):  # suppression inside a detector's graph is one of TensorRT's plugins
        trt.init_libnvinfer_plugins(log, "")
    builder = trt.Builder(log)
    kinds = trt.NetworkDefinitionCreationFlag
    typed = hasattr(kinds, "STRONGLY_TYPED")
    flags = 1 << int(kinds.STRONGLY_TYPED if typed else kinds.EXPLICIT_BATCH)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(request["model"]) or not network.num_outputs:
        errors[:0] = [str(parser.get_error(index).desc()) for index in range(parser.num_errors)]
        return None
    config = builder.create_builder_config()
    if not typed and request[FP16]:
        config.set_flag(trt.BuilderFlag.FP16)
    if request["workspace_bytes"]:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request["workspace_bytes"])
    if request["arch"]:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, request["arch"].upper()), 0)
    if request["shapes"]:
        profile = builder.create_optimization_profile()
        for name, bounds in request["shapes"].items():
            profile.set_shape(name, *map(tuple, bounds))
        config.add_optimization_profile(profile)
    return builder.build_serialized_network(network, config)


if __name__ == "__main__":
    sys.exit(main())
