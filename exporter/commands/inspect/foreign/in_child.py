"""What the child of run/foreign/trial.py is asked about files that take pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .....graph.run import open_session
from ....run.foreign.child import limit_memory
from ....run.foreign.read import look_through
from ....run.foreign.trial import A_BYTE
from .graphs import read_picture_graph
from .shapes import infer_shapes


def run_pictures(asked: Mapping[str, Any]) -> dict[str, Any]:
    """In the child: read, load and run it once."""
    import numpy as np

    foreign = read_picture_graph(Path(asked["path"]), tried=True)
    limit_memory(asked["memory"] + A_BYTE * 4 * int(np.prod(asked["shape"] or 1)))
    images = np.random.default_rng(0).standard_normal(asked["shape"] or 1, dtype=np.float32)
    for optimise in asked["optimise"]:
        session = open_session(foreign.model, optimise=optimise, threads=1)
        if asked["shape"]:
            session.run(None, {session.get_inputs()[0].name: images})
    return {}


def infer(asked: Mapping[str, Any]) -> dict[str, Any]:
    """In the child: read the file, which is sound, and infer."""
    limit_memory(asked["memory"])
    return {"shapes": infer_shapes(look_through(Path(asked["path"]))[0])}
