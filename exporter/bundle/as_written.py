"""A bundle whose layers have nothing but their weights in few bits, run as its graph is written.

Engines round the activations of such layers to 8 bits by default, which is faster; the device does so too. A comparison is
between files, so there the engine is told not to, and what it rounds by itself is told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from ...calibration.report.quantised_file import read_places
from ...graph.run import open_session
from ...runtime.bundle.engines import ENGINES, ONNXRUNTIME, OPENVINO
from ...runtime.errors import BackendUnavailable
from ..run.on_engine import compiled_by_openvino

if TYPE_CHECKING:
    import onnx_ir as ir

    from ...runtime.bundle.bundle import Bundle

Run = Callable[[np.ndarray], dict[str, np.ndarray]]
EXACT_DB = 100.0  # float32 sums in another order; 8 bits give some 45 dB


def as_written(bundle: Bundle) -> Run | None:
    """Pictures -> outputs by name; None where the engine itself runs the graph as it is written, or cannot run here."""
    import onnx_ir

    engine = next((one.name for one in ENGINES.values() if bundle.target in one.targets), "")
    if engine not in (ONNXRUNTIME, OPENVINO) or not weight_only(model := onnx_ir.load(bundle.graph)):
        return None
    try:
        return _on_openvino(bundle) if engine == OPENVINO else _on_onnxruntime(model)
    except BackendUnavailable:
        return None


def weight_only(model: ir.Model) -> bool:
    """Whether a layer has codes for its weight and floats for its activations."""
    return any(place.weight is not None and not place.activations for place in read_places(model)[1])


def apart_db(exact: Mapping[str, np.ndarray], usual: Mapping[str, np.ndarray]) -> float | None:
    """dB between two runs of the same file, over all outputs of floats; None where they are the same but for float32 sums."""
    from ...calibration.judge.accuracy import sqnr_db

    names = [name for name, array in exact.items() if array.dtype.kind == "f" and usual[name].shape == array.shape]
    if not names:
        return None
    one, two = (np.concatenate([side[name].ravel() for name in names]) for side in (exact, usual))
    found = float(sqnr_db(one, two)) if np.isfinite(one).all() and np.isfinite(two).all() else np.inf
    return found if found < EXACT_DB else None


def _on_onnxruntime(model: ir.Model) -> Run:
    session = open_session(model)
    feed, names = session.get_inputs()[0].name, [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {feed: images}), strict=True))


def _on_openvino(bundle: Bundle) -> Run:
    compiled = compiled_by_openvino(bundle.graph, exact=True)
    feed, names = bundle.picture_input.name, [spec.name for spec in bundle.outputs]

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        found = compiled({feed: images})
        return {name: np.array(found[name]) for name in names}

    return run
