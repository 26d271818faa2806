"""Does ONNX Runtime run this file on pictures? Asked in a process of its own (run/foreign/trial.py)."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from .....runtime.errors import UserMistake
from ....run.foreign.trial import ask_about
from ....run.foreign.words import cannot_run

RUN = f"{__package__}.in_child:run_pictures"
MOST_PICTURES = 512 * 2**20  # bytes of one batch, as float32


def try_graph(path: Path, shape: Sequence[int] | None = None, optimise: Sequence[bool] = (True,)) -> None:
    """UserMistake in words where the file does not load, run or end within its time and memory.

    It is run on float32 pictures of ``shape``, (B, 3, H, W); only loaded where that is None.
    """
    if not hasattr(os, "fork"):
        return
    if shape is not None and 4 * math.prod(shape) > MOST_PICTURES:
        raise UserMistake(
            f"{path} takes more pictures at once than can be tried",
            found=f"one batch of {' x '.join(map(str, shape))}, {4 * math.prod(shape) / 1e6:,.0f} MB",
            expected=f"at most {MOST_PICTURES / 1e6:,.0f} MB",
            attempt="a file of a smaller batch, or of an open one",
        )
    told = ask_about(path, RUN, shape=shape, optimise=list(optimise))
    if told.get("mistake"):
        raise UserMistake(**told["mistake"])
    if why := told.get("why"):
        raise cannot_run(path, why)
