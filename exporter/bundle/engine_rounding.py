"""What an engine rounds by itself, told beside the parity rows: it is no fault of the file.

OpenVINO rounds what meets int4 weights to 8 bits, 32 values a scale, which is what makes it twice as fast as float32.  The file
is exact: the same one with that switched off is what the budget is measured on (run/on_engine.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...calibration.judge.accuracy import sqnr_db
from ...calibration.nouns import WEIGHT_ONLY
from ..run import runners as verify
from ..run.on_engine import on_engine
from ..run.runners import Runner
from .as_written import EXACT_DB

if TYPE_CHECKING:
    import onnx_ir as ir

    from .judge import Judge


def rounding_notes(judge: Judge, typed: ir.Model, bundle: Runner) -> list[str]:
    """A note with the distance between the file as the engine runs it and as it is written; none where they are the same."""
    plan = judge.plan
    if plan.calibration is None or plan.calibration.recipe.form not in WEIGHT_ONLY:
        return []
    exact = on_engine(typed, plan.target.engine.name, exact=True)
    if exact is None:
        return []
    images = judge.one_batch(plan.shapes.opt)
    apart = sqnr_db(exact(images), verify.run_all(bundle, images, plan.shapes.opt[0]))
    if apart >= EXACT_DB:
        return []
    return [rounding_words(apart, plan.target.engine.words)]


def rounding_words(found_db: float, engine: str) -> str:
    """What every command says of it."""
    return (
        f"the engine rounds activations: {found_db:.1f} dB from the file as it is written. {engine} does so by default, for "
        "speed, in layers whose weights alone are in few bits"
    )
