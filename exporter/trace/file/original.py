"""The file itself on ONNX Runtime: the judge of everything that is made of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

    from ...run.runners import Runner


def open_original(model: Path | onnx.ModelProto, *, optimise: bool = True, threads: int = 1) -> Any:
    """An InferenceSession of the file where it lies, so that weights beside it are found; or of a model in memory."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = os.fspath(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run_by_name(session: Any, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One run of all outputs."""
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def picture_runner(path: Path) -> Runner:
    """Pictures as the file takes them -> the one output, float32. A file of a fixed batch is given as many as it takes."""
    from ....runtime.tasks.known import joined

    session = open_original(path)
    (taken,) = session.get_inputs()

    def run(images: np.ndarray) -> np.ndarray:
        return joined(run_by_name(session, {taken.name: np.ascontiguousarray(images)}))

    return run
