"""How fast the graphs of a model are on ONNX Runtime: one thread, in turns, CPU time of the process.

time     the traced graph and the bundle's
guilty   the bundle's without each of its passes: what makes it slower than it could be
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from apart import Notes
from living import SEED
from steps import OURS, PLAIN

from edgesmith.exporter.patterns.cleanup.tidy import CleanUp
from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.run.nouns import ExportedGraph, Shapes
from edgesmith.runtime.session.benchmark import Timing, measure

MOST, LEAST = 40, 12  # rounds
ENOUGH_S = 10.0  # of rounds above the least


def time(name: str, folder: Path, notes: Notes) -> None:
    """Median CPU time of both graphs, the ratio with its quartiles."""
    notes.put(stage="time")
    timed = in_turns({form: folder / form for form in (PLAIN, OURS)})
    plain, ours = timed[PLAIN], timed[OURS]
    notes.put(plain_ms=round(plain.median_ms, 3), ours_ms=round(ours.median_ms, 3), rounds=ours.rounds)
    notes.put(ratio=round(ours.time_ratio, 4), low=round(ours.time_ratio_low, 4), high=round(ours.time_ratio_high, 4))
    notes.put(stage="")


def guilty(name: str, folder: Path, notes: Notes) -> None:
    """Each pass that fired left out: the ratio of the graph without it to that with all, below 1 where the pass costs time."""
    plain = ir.load(folder / PLAIN)
    shape = [int(side) for side in plain.graph.inputs[0].shape]
    outputs = tuple(str(value.name) for value in plain.graph.outputs)
    exported = ExportedGraph(plain, name, Shapes.fixed(*shape), str(plain.graph.inputs[0].name), outputs)
    whole = rewrite(exported, "cpu")
    graphs = {"all": whole.model}
    for record in whole.passes:
        if record.count and record.name != CleanUp.__name__:
            graphs[record.name] = rewrite(exported, "cpu", skip=[record.name]).model
    paths = {key: folder / f"without-{key}.onnx" for key in graphs}
    for key, model in graphs.items():
        ir.save(model, paths[key])
    timed = in_turns(paths)
    notes.put(without={key: round(timing.time_ratio, 3) for key, timing in timed.items() if key != "all"})
    for path in paths.values():
        path.unlink()


def in_turns(paths: dict[str, Path]) -> dict[str, Timing]:
    """As many rounds as fit into the time; ratios are to the first."""
    calls = {key: _onnxruntime(path) for key, path in paths.items()}
    once = measure(calls, rounds=1, warmup=1, clock="cpu")
    fit = int(ENOUGH_S * 1e3 / sum(one.median_ms for one in once.values()))
    return measure(calls, rounds=min(MOST, max(LEAST, fit)), warmup=1, clock="cpu")


def _onnxruntime(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    images = session.get_inputs()[0]
    feeds = {images.name: np.random.default_rng(SEED).standard_normal(images.shape).astype(np.float32)}
    return lambda: session.run(None, feeds)
