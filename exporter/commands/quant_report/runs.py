"""What runs the quantised side of ``quant-report``: a bundle's engine, or ONNX Runtime on a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ....runtime.errors import BackendUnavailable
from ....runtime.ground.words import NOT_ON_HARDWARE
from ...run.foreign.words import asked_of_engine, engine_errors, in_words, said
from ...run.runners import session_runner
from ..inspect.foreign.rounding import exact_products

if TYPE_CHECKING:
    from ....graph.run import Runner
    from ....runtime.bundle.bundle import Bundle
    from .sides import File


def bundle_runner(bundle: Bundle, notes: list[str]) -> Runner:
    """The bundle as this machine runs it; its graph with explicit rounding where the engine cannot run here."""
    import onnx_ir

    from ....calibration.judge.evaluation import BATCH, in_batches_of
    from ....runtime.backends.load import load
    from ...bundle.parity import typed_runner

    try:
        session = load(bundle)
        least, most = session.batch_sizes(BATCH)  # an open batch ends somewhere too
        return in_batches_of(session_runner(session), max(least, min(most, BATCH)))
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
    return in_words(file.path, run)


def wide(shape: Sequence[int]) -> list[int]:
    """The axes that hold more than one entry."""
    return [size for size in shape if size != 1]
