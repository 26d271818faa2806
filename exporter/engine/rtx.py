"""rewritten graph -> TensorRT-RTX engine, built in a child process and without a GPU.

The library compiles for a named compute capability, so an engine for any RTX card can be built on any x86 machine.  It
cannot run one here without such a card: that an engine *computes* the right thing is checked on the device.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.bundle.engines import TENSORRT_RTX
from ...runtime.errors import BackendUnavailable, EdgesmithError, UserMistake
from ..plan.targets import check_arch
from ..run.nouns import Shapes

if TYPE_CHECKING:
    import onnx_ir as ir

Progress = Callable[[str, int, int], None]  # phase, step, steps


class BuildFailed(EdgesmithError):
    """The parser or the builder refused the graph, or died; the graph is ours, so this is no mistake of the user."""


@dataclass(frozen=True)
class RtxEngine:
    """A built engine: the bytes, the builder's version, the seconds, and what the builder warned of."""

    data: bytes
    arch: str
    version: str
    parse_seconds: float
    build_seconds: float
    layers: int
    warnings: tuple[str, ...] = ()


def build_rtx_engine(
    model: ir.Model | bytes | str | Path, arch: str = "sm89", shapes: Shapes | None = None, **options: Any
) -> bytes:
    """The engine as bytes; see ``build_rtx`` for the options and the errors."""
    return build_rtx(model, arch, shapes, **options).data


def build_rtx(
    model: ir.Model | bytes | str | Path,
    arch: str = "sm89",
    shapes: Shapes | None = None,
    *,
    progress: Progress | None = None,
    log: Path | None = None,
    timeout_s: float | None = None,
) -> RtxEngine:
    """Build ``model`` (graph, ONNX bytes or file; strongly typed) for ``arch``.

    ``shapes`` is needed when the graph leaves a dimension open.  ``log`` receives the builder's whole verbose log, layer
    list included.  Raises UserMistake (arch), BackendUnavailable (library), BuildFailed (parser, builder, crash).
    """
    with tempfile.TemporaryDirectory(prefix="edgesmith-") as folder:
        engine = Path(folder, "engine")
        chip = check_arch(arch)
        request = {
            "model": str(_as_file(model, Path(folder))),
            "engine": str(engine),
            "arch": chip,
            "shapes": [shapes.min, shapes.opt, shapes.max] if shapes else None,
            "log": str(Path(log).absolute()) if log else None,
        }
        done, warnings = _run(request, folder, progress, timeout_s)
        seconds = done["parse_seconds"], done["build_seconds"]
        return RtxEngine(engine.read_bytes(), chip, done["version"], *seconds, done["layers"], warnings)


def parse_only(model: ir.Model | bytes | str | Path, timeout_s: float | None = None) -> int:
    """The real TensorRT parser as a check; the number of layers it made.  Raises as ``build_rtx`` does."""
    with tempfile.TemporaryDirectory(prefix="edgesmith-") as folder:
        request = {"model": str(_as_file(model, Path(folder))), "engine": None}
        done, _ = _run(request, folder, None, timeout_s)
        return int(done["layers"])


def installed() -> bool:
    """Whether the library is here; looks, does not import."""
    from importlib.util import find_spec

    return find_spec(TENSORRT_RTX) is not None


def _as_file(model: ir.Model | bytes | str | Path, folder: Path) -> Path:
    if isinstance(model, (str, Path)):
        if not Path(model).is_file():
            raise UserMistake(f"{model}: no such file", expected="an ONNX file")
        return Path(model).absolute()
    file = folder / "model.onnx"
    if isinstance(model, bytes):
        file.write_bytes(model)
    else:
        import onnx_ir as ir

        ir.save(model, file)
    return file


def _run(
    request: dict[str, Any], folder: str, progress: Progress | None, timeout_s: float | None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Run the child to its end; its last event, and the warnings.  The child never outlives this call."""
    if not installed():
        raise BackendUnavailable("TensorRT-RTX is not installed", attempt="pip install 'edgesmith[rtx]'")
    import threading

    # cwd and SAFEPATH: a module of ours must not shadow one of the standard library
    command = [sys.executable, "-m", f"{__package__}.rtx_worker"]
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    pipe = subprocess.PIPE
    stderr_path = Path(folder, "stderr")
    last: dict[str, Any] = {}
    warnings: list[str] = []
    with stderr_path.open("w") as stderr:
        child = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=pipe, stdout=pipe, stderr=stderr, text=True, encoding="utf-8"
        )
        timer = threading.Timer(timeout_s or 0, child.kill)
        try:
            if timeout_s:
                timer.start()
            assert child.stdin and child.stdout
            with contextlib.suppress(BrokenPipeError):  # it died at once; how is told below
                child.stdin.write(json.dumps(request))
                child.stdin.flush()
            with contextlib.suppress(BrokenPipeError):
                child.stdin.close()
            for line in child.stdout:
                last = json.loads(line)
                if last["event"] == "progress" and progress:
                    progress(last["phase"], last["step"], last["steps"])
                elif last["event"] == "warning":
                    warnings.append(last["text"])
            code = child.wait()
        finally:  # Ctrl-C included
            timer.cancel()
            if child.poll() is None:
                child.kill()
                child.wait()
            if child.stdout:
                child.stdout.close()
    if last.get("event") == "done" and code == 0:
        return last, tuple(dict.fromkeys(warnings))
    tail = "\n".join(deque(stderr_path.read_text(errors="replace").splitlines(), maxlen=6))
    raise _failure(last, code, tail, timeout_s)


def _failure(last: dict[str, Any], code: int, tail: str, timeout_s: float | None) -> EdgesmithError:
    """The error of a child that did not finish, in words."""
    if last.get("event") != "failed":
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        limit = f" (limit {timeout_s:g} s)" if timeout_s else ""
        return BuildFailed(
            f"The TensorRT-RTX builder ended {how}{limit}", found=tail, because="it runs in a process of its own"
        )
    if last["stage"] == "shapes":
        return UserMistake(
            "The graph has open dimensions and no shapes were given",
            found=last["errors"][0]["message"],
            expected="smallest, usual and largest shape",
            attempt="--dynamic with --min-shapes, --opt-shapes and --max-shapes",
        )
    rows = []
    for error in last["errors"][:5]:
        where = f"node {error['node'] or '(no name)'} ({error['op']}): " if error["node"] or error["op"] else ""
        rows.append(where + error["message"].strip()[:400])
    what = "parse" if last["stage"] == "parse" else "build"
    return BuildFailed(f"TensorRT-RTX did not {what} the graph", found="\n".join(rows))
