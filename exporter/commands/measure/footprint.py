"""Peak memory of one candidate alone: a process of its own that loads it, runs it, and says how much it ever held.

In the process that measures time all candidates are loaded at once, so its memory says nothing of any of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ....runtime.bundle.engines import OPENVINO
from ...run.feeds import seeded_feeds
from ...run.runners import by_name

RUNS = 3
PICTURES = "\0pictures"  # no tensor has this name


def footprint(request: Mapping[str, Any], timeout_s: float = 600) -> int | None:
    """Peak resident bytes of the candidate that ``request`` describes (see ``_load``), None when it cannot be had."""
    command = [sys.executable, "-m", "edgesmith.exporter.commands.measure.footprint", json.dumps(dict(request))]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL, check=True
        )
        return int(done.stdout.split()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def described(images: Any) -> list[tuple[str, str, list[int]]] | None:
    """Name, type and sizes of arrays by name, which the other process makes for itself; None for pictures of floats."""
    if isinstance(images, np.ndarray) and images.dtype == np.uint8:
        return [(PICTURES, str(images.dtype), list(images.shape))]
    if not isinstance(images, Mapping):
        return None
    return [(name, str(array.dtype), list(array.shape)) for name, array in images.items()]


def _load(request: Mapping[str, Any]) -> Any:
    """A function of images. ``kind`` bundle, step: the runtime alone; graph, openvino: that engine alone; eager, compile: PyTorch."""
    threads = request["threads"]
    if request["kind"] == "bundle":
        from ....runtime.backends.load import load

        session = load(request["path"], threads=threads)
        return lambda images: session.run(by_name(images, [spec.name for spec in session.inputs]))
    if request["kind"] == "step":
        from ....runtime.backends.load import load
        from ...tasks.known import find_export

        session = load(request["path"], threads=threads)
        call = find_export(session.bundle.task).steps(session)[request["name"]]
        return lambda images: call()
    if request["kind"] == "graph":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        graph = onnxruntime.InferenceSession(request["path"], options, providers=["CPUExecutionProvider"])
        names = [one.name for one in graph.get_inputs()]
        return lambda images: graph.run(None, by_name(images, names))
    if request["kind"] == OPENVINO:
        from .peers import openvino_runner

        return openvino_runner(request["path"], threads, request["precision"])
    from ....models import create, find_recorded
    from ...run.runners import torch_runner
    from ...tasks.known import find_export
    from .peers import deploy_form

    spec = find_recorded(request, request["typed"])
    made = create(spec, request["weights"], request["classes"], tuple(request["size"]))
    module: Any = deploy_form(made)[0]
    del made  # the training form is not what is measured
    if request["kind"] == "compile":
        import torch

        module = torch.compile(module)
    return torch_runner(module, threads, find_export(spec.task).runtime.outputs)


def main() -> None:
    request = json.loads(sys.argv[1])
    run = _load(request)
    images: Any = np.random.default_rng(0).standard_normal(request["shape"], dtype=np.float32)
    if request.get("feeds"):
        images = seeded_feeds(request["feeds"])
        images = images.get(PICTURES, images)
    for _ in range(RUNS):
        run(images)
    print(_peak_bytes())


def _peak_bytes() -> int:
    """Of this process since it started; ``ru_maxrss`` would count the parent's memory too on Linux."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes


if __name__ == "__main__":
    main()
