"""What runs the two sides of ``quant-report``, and how far the engine itself is from the graph.

Layers with nothing but their weight in few bits are judged as the graph says, with float activations. Engines round those
activations too unless they are told not to, which is faster; that is measured apart, and is no fault of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ....graph.edit import clone
from ....graph.read import attribute, is_op
from ....runtime.errors import BackendUnavailable
from ....runtime.ground.words import NOT_ON_HARDWARE
from ...foreign.words import asked_of_engine, engine_errors, said
from ...run.runners import session_runner

if TYPE_CHECKING:
    import onnx_ir as ir

    from ....graph.run import Runner
    from ....runtime.bundle.bundle import Bundle
    from .sides import File

MICROSOFT = "com.microsoft"
FEW = 8  # pictures on which the engine's own rounding is measured


def bundle_runner(bundle: Bundle, notes: list[str]) -> Runner:
    """The bundle as this machine runs it; its graph with explicit rounding where the engine cannot run here."""
    import onnx_ir

    from ....runtime.backends.load import load
    from ...bundle.parity import typed_runner

    try:
        return session_runner(load(bundle))
    except BackendUnavailable as unavailable:
        notes.append(
            f"measured on the graph with every rounding as written, engine {NOT_ON_HARDWARE}: {unavailable.what}"
        )
        return typed_runner(onnx_ir.load(bundle.graph))


def file_runner(file: File, notes: list[str]) -> Runner:
    """Integer kernels where ONNX Runtime has them; the roundings as written where it cannot open the file otherwise."""
    from ....calibration.judge.evaluation import any_batch

    try:
        run = any_batch(exact_products(file.runnable), optimise=True)
    except engine_errors() as error:
        told = f"ONNX Runtime cannot optimise this file; the roundings ran as they are written ({said(error)[:200]})"
        notes.append(told)
        with asked_of_engine(file.path):
            run = any_batch(file.runnable)
    return _said_in_words(run, file)


def engine_rounding(file: File, images: np.ndarray) -> dict[str, Any]:
    """How far ONNX Runtime's default is from the graph, on a few ``images`` (n, 3, H, W); empty where it is exact.

    Only a file with layers that have nothing but their weight in few bits is asked.
    """
    from ....calibration.judge.accuracy import sqnr_db
    from ....calibration.judge.evaluation import any_batch

    if not any(place.weight is not None and not place.activations for place in file.places):
        return {}
    try:
        exact, usual = (
            any_batch(model, optimise=True, exact=exactly)(images[:FEW])
            for model, exactly in ((exact_products(file.runnable), True), (file.runnable, False))
        )
    except engine_errors():
        return {}  # what it cannot run is told where it is judged
    if np.array_equal(exact, usual) or exact.shape != usual.shape:
        return {}
    found = float(sqnr_db(exact, usual))
    return {"name": "ONNX Runtime", "rounding_db": found} if found < EXACT_DB else {}


EXACT_DB = 100.0  # sums in another order differ by more than this; eight bits reach some 45


def rounding_words(told: dict[str, Any]) -> str:
    """The note on it."""
    return (
        f"the engine rounds activations: {told['rounding_db']:.1f} dB. {told['name']} does so by default in layers whose "
        "weights alone are in few bits, for speed; all other figures are without it "
        "(session.qdq_matmulnbits_accuracy_level=1)"
    )


def exact_products(model: ir.Model) -> ir.Model:
    """A copy whose MatMulNBits compute in float32, where one asks for less; else the graph itself."""
    import onnx_ir as ir

    def rounds(node: ir.Node) -> bool:
        return is_op(node, "MatMulNBits", MICROSOFT) and attribute(node, "accuracy_level", 0) not in (0, 1)

    if not any(rounds(node) for node in model.graph):
        return model
    copy = clone(model)
    for node in copy.graph:
        if rounds(node):
            node.attributes["accuracy_level"] = ir.AttrInt64("accuracy_level", 1)
    return copy


def _said_in_words(run: Runner, file: File) -> Runner:
    def asked(images: np.ndarray) -> np.ndarray:
        with asked_of_engine(file.path):
            return run(images)

    return asked


def wide(shape: Sequence[int]) -> list[int]:
    """The axes that hold more than one entry."""
    return [size for size in shape if size != 1]
