"""A graph on the engine that it is made for, as a plain function of images: what a budget is measured on.

Engines round in ways of their own. OpenVINO rounds an exact tie after it has added the zero point, where ONNX Runtime and the
operator's text round before: with an odd zero point every tie has another code. So a graph for OpenVINO is judged there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph.run import Runner
from ...runtime.bundle.engines import OPENVINO
from ...runtime.errors import BackendUnavailable
from ...runtime.ground.limits import FP32

if TYPE_CHECKING:
    import onnx_ir as ir


def on_engine(model: ir.Model, engine: str, *, exact: bool = False) -> Runner | None:
    """(N, 3, H, W) float32 -> the outputs as one float32 array, for any N; None: ONNX Runtime stands for this engine.

    ``exact``: activations that meet 4-bit weights keep their 32 bits, which OpenVINO rounds to 8 unless it is told not to.
    """
    if engine != OPENVINO:
        return None
    try:
        return _on_openvino(model, exact)
    except (
        BackendUnavailable
    ):  # a graph can be made without the library; what was measured is then ONNX Runtime's answer
        return None


def compiled_by_openvino(graph: bytes | Path, *, exact: bool) -> Any:
    """OpenVINO's compiled model of a graph or a file of one, in float32; ``exact`` as above. BackendUnavailable without it."""
    from ...runtime.backends.openvino import EXACT, HINTS
    from ...runtime.backends.openvino_library import openvino_core

    core = openvino_core()
    config = {"INFERENCE_PRECISION_HINT": HINTS[FP32], **(EXACT if exact else {})}
    return core.compile_model(core.read_model(graph), "CPU", config)


def _compiled_where_it_lies(model: ir.Model, exact: bool) -> Any:
    """A graph whose weights lie in a file: OpenVINO looks for them beside the graph's own."""
    import onnx_ir

    from ...graph.beside import settle
    from ...graph.run import weights_folder

    settle(model)
    path = Path(weights_folder(model)) / "as-it-lies.onnx"
    onnx_ir.save(model, path)
    try:
        return compiled_by_openvino(path, exact=exact)
    finally:
        path.unlink()


def _on_openvino(model: ir.Model, exact: bool) -> Runner:
    import onnx_ir

    from ...calibration.judge.evaluation import in_batches_of
    from ...graph.beside import is_beside
    from ...runtime.tasks.known import joined

    if is_beside(model):
        compiled = _compiled_where_it_lies(model, exact)
    else:
        compiled = compiled_by_openvino(onnx_ir.to_proto(model).SerializeToString(), exact=exact)
    (feed,), outputs = model.graph.inputs, [str(value.name) for value in model.graph.outputs]

    def run(images: np.ndarray) -> np.ndarray:
        found = compiled({str(feed.name): images})
        return joined({name: np.asarray(found[name]) for name in outputs})

    batch = feed.shape[0] if feed.shape is not None else None
    return in_batches_of(run, batch if isinstance(batch, int) else 0)
