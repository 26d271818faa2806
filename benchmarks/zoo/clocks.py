"""How fast the graphs of a model are on ONNX Runtime: one thread, in turns, CPU time of the process.

time     the traced graph and the bundle's
guilty   the bundle's without each of its passes: what makes it slower than it could be

Two sessions of one file differ by up to 10 % for as long as they live: it is luck where their memory lies. So each graph is
opened several times and the median over the openings stands, and glibc is asked for large pages, of which less luck is left
(2 %, twins_svt_small).
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass
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

OPENINGS = 3  # of each graph, one after the other
MOST, LEAST = 15, 5  # rounds of an opening
ENOUGH_S = 3.5  # of an opening's rounds above the least
TUNABLES, LARGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"


@dataclass(frozen=True)
class Turns:
    """One graph: medians over the openings of its median time and of its ratio to the first graph, with the ratio's quartiles."""

    rounds: int
    ms: float
    ratio: float
    low: float
    high: float


def with_large_pages() -> None:
    """Start this program once more where its memory is not in large pages yet: glibc reads the wish as a process begins."""
    told = os.environ.get(TUNABLES, "")
    if sys.platform == "linux" and "glibc.malloc.hugetlb" not in told:
        wishes = ":".join(filter(None, (told, LARGE_PAGES)))
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, TUNABLES: wishes})


def time(name: str, folder: Path, notes: Notes) -> None:
    """Median CPU time of both graphs, the ratio with its quartiles."""
    notes.put(stage="time")
    timed = in_turns({form: folder / form for form in (PLAIN, OURS)})
    plain, ours = timed[PLAIN], timed[OURS]
    notes.put(plain_ms=round(plain.ms, 3), ours_ms=round(ours.ms, 3), rounds=ours.rounds)
    notes.put(ratio=round(ours.ratio, 4), low=round(ours.low, 4), high=round(ours.high, 4))
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
    notes.put(without={key: round(one.ratio, 3) for key, one in timed.items() if key != "all"})
    for path in paths.values():
        path.unlink()


def in_turns(paths: Mapping[str, Path]) -> dict[str, Turns]:
    """As many rounds as fit into the time, in new sessions each time; ratios are to the first."""
    openings = [_opened(paths) for _ in range(OPENINGS)]
    return {key: _middle([opening[key] for opening in openings]) for key in paths}


def _opened(paths: Mapping[str, Path]) -> dict[str, Timing]:
    calls = {key: _onnxruntime(path) for key, path in paths.items()}
    once = measure(calls, rounds=1, warmup=1, clock="cpu")
    fit = int(ENOUGH_S * 1e3 / sum(one.median_ms for one in once.values()))
    return measure(calls, rounds=min(MOST, max(LEAST, fit)), warmup=1, clock="cpu")


def _middle(timings: list[Timing]) -> Turns:
    fields = ("median_ms", "time_ratio", "time_ratio_low", "time_ratio_high")
    medians = [statistics.median(getattr(timing, field) for timing in timings) for field in fields]
    return Turns(sum(timing.rounds for timing in timings), *medians)


def _onnxruntime(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    images = session.get_inputs()[0]
    feeds = {images.name: np.random.default_rng(SEED).standard_normal(images.shape).astype(np.float32)}
    return lambda: session.run(None, feeds)
