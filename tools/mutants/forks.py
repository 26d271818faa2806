"""Work in forked children of a process that has already imported the large libraries, with a limit of time and memory.

A child has imported none of our modules, so that it can be given one of them with a bug in it. What it answers comes back
as JSON. Everything it started ends with it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGE = (
    "pytest", "_pytest.assertion.rewrite", "hypothesis", "hypothesis.strategies", "numpy", "cv2", "onnx", "onnx.parser", "onnx.reference", "onnx_ir",
    "onnxruntime", "onnxscript", "onnx_graphsurgeon", "torch", "torch.onnx", "torchvision", "timm", "openvino", "PIL.Image",
    "skimage", "sklearn.datasets", "pycocotools.cocoeval", "typer", "rich", "safetensors.torch",
)  # fmt: skip
MEMORY_BYTES = 8 << 30
WAITING = 5  # times as long on the clock: others use the machine too, and a child may sleep for ever
TIMED_OUT = "timed out"
CRASHED = "crashed"


@dataclass
class Job:
    """``work(folder)`` answers with what JSON can hold, in ``seconds`` of its processor; ``folder`` is empty and goes."""

    name: Any
    work: Callable[[Path], Any]
    seconds: float


def preload() -> None:
    """Import what is large. What is not here is not tested here."""
    for name in LARGE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # or every child looks at a million objects of these libraries when it ends


def answers(jobs: Iterable[Job], workers: int) -> Iterator[tuple[Job, Any, float]]:
    """(job, its answer or TIMED_OUT or CRASHED, seconds) as they come."""
    waiting, running = iter(jobs), {}
    more = True
    while more or running:
        while more and len(running) < workers:
            job = next(waiting, None)
            if job is None:
                more = False
                break
            folder = Path(tempfile.mkdtemp(prefix="mutant-"))
            running[_start(job, folder)] = job, folder, time.monotonic()
        for child, (job, folder, start) in list(running.items()):
            ended, status = os.waitpid(child, os.WNOHANG)
            late = time.monotonic() - start > WAITING * job.seconds
            if not ended and not late:
                continue
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            if not ended:
                os.waitpid(child, 0)
            late |= bool(ended) and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU
            answer = folder / "answer.json"
            found = json.loads(answer.read_text()) if answer.exists() else TIMED_OUT if late else CRASHED
            if found == CRASHED and os.environ.get("MUTANTS_LOG"):
                print((folder / "log").read_text(), file=sys.stderr)
            shutil.rmtree(folder, ignore_errors=True)
            del running[child]
            yield job, found, time.monotonic() - start
        time.sleep(0.01)


def _start(job: Job, folder: Path) -> int:
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (int(job.seconds) + 1, int(job.seconds) + 2))
        log = os.open(folder / "log", os.O_CREAT | os.O_WRONLY)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # looking for plugins takes longer than most tests
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(folder / "hypothesis")
        (folder / "answer.part").write_text(json.dumps(job.work(folder)))
        os.replace(folder / "answer.part", folder / "answer.json")
        os._exit(0)
    finally:  # a fork must never go on as its parent
        traceback.print_exc()
        os._exit(1)
