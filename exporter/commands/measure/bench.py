"""``edgesmith bench``: a bundle beside PyTorch eager, torch.compile and the plain export, in turns in one process.

Every candidate gets the same input and the same number of threads, and its outputs are compared with eager's, so that a
fast wrong answer cannot win. The result goes into the bundle: manifest, report, and ``benchmark.json``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ....runtime.backends.load import load
from ....runtime.bundle.bundle import Bundle, open_bundle, update_bundle
from ....runtime.bundle.report import write_report
from ....runtime.errors import EdgesmithError, UserMistake
from ....runtime.ground.scratch import temporary_folder
from ....runtime.session.benchmark import measure, to_json
from ...run.runners import session_runner
from ...run.stages import Progress, Silent
from ...tasks.known import find_export
from .file_peers import file_candidates, is_of_file
from .footprint import described, footprint
from .peers import Candidate, chosen_peers, peer_candidates, step
from .steps import timed_steps

if TYPE_CHECKING:
    from ...tasks.task import ExportTask

COLUMNS = ("candidate", "median ms", "p90 ms", "p99 ms", "images/s", "time ratio", "quartiles", "peak MB", "max abs")
MEGABYTE = 1e6


def bench(
    bundle: str,
    *,
    weights: str | None = None,
    model: str | None = None,
    against: str | None = None,
    rounds: int = 30,
    warmup: int = 3,
    threads: int = 1,
    batch: int | None = None,
    clock: str = "wall",
    memory: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure, print nothing, write the result into the bundle and return it (the ``benchmark`` of the manifest).

    Where the bundle cannot be written to, ``not_kept`` says why.

    ``against``: peers, comma between; None is all of them, OpenVINO where it is installed. ``memory`` also runs each
    candidate in a process of its own, for its peak memory.

    ``model``: the file or folder of the network, where the bundle was made from one: only the user may name it.

    Raises UserMistake for an unknown peer, a batch the graph does not take, or a checkpoint that is not the bundle's.
    """
    opened = open_bundle(bundle)
    peers = chosen_peers(against)
    progress = progress or Silent()
    task = find_export(opened.task)
    if task.in_steps:
        _check_alone(opened, peers if against else [], batch, weights)
        result = timed_steps(opened, task, rounds, warmup, threads, clock, memory, progress)
        return _kept(opened, result)
    shape = _shape(opened, batch)
    images, rule = task.bench_images(opened, shape), task.rule_of(opened)
    with load(opened, threads=threads) as session, temporary_folder() as folder:
        skipped: dict[str, str] = {}
        if is_of_file(opened):
            candidates = file_candidates(opened, model or weights, peers, images, threads, skipped, progress)
        else:
            candidates = peer_candidates(opened, (model, weights), peers, images, threads, folder, skipped, progress)
        name = f"Edgesmith, {session.backend}, {opened.precision}"
        alone = {"kind": "bundle", "path": str(opened.path)}
        candidates.append(Candidate(name, session_runner(session), alone, task.in_graph(rule)))
        with step(progress, "measure", f"{rounds} rounds of {len(candidates)} candidates, {threads} threads, in turns"):
            calls: dict[str, Callable[[], Any]] = {one.name: partial(one.run, images) for one in candidates}
            timings = measure(
                calls, rounds, warmup, clock, shape[0] if shape else 1, progress=partial(progress.step, "rounds")
            )
        result = to_json(timings, threads=threads, shape=list(shape), skipped=skipped)
        for row, agreement in zip(result["rows"], _agreements(candidates, images, task, rule), strict=True):
            row |= agreement
        if task.finds:
            with step(progress, f"to {task.finds}", "one photograph from its pixels on"):
                result["end_to_end"] = task.end_to_end(session)
        if memory:
            with step(progress, "memory", "each candidate in a process of its own"):
                for row, one in zip(result["rows"], candidates, strict=True):
                    peak = footprint(
                        {**one.alone, "threads": threads, "shape": list(shape), "feeds": described(images)}
                    )
                    row["peak_rss_bytes"] = peak or 0
    return _kept(opened, result)


def _kept(bundle: Bundle, result: dict[str, Any]) -> dict[str, Any]:
    """The result, in the bundle too where it can be written to."""
    try:
        _into_bundle(bundle, result)
    except (
        EdgesmithError,
        OSError,
    ) as error:  # read-only, full, replaced meanwhile: what was measured is worth showing
        result["not_kept"] = str(error).splitlines()[0]
    return result


def _check_alone(bundle: Bundle, peers: Sequence[str], batch: int | None, weights: str | None) -> None:
    """UserMistake for what no bundle of several graphs is measured with."""
    asked = {"--against " + ",".join(peers): peers, f"--batch {batch}": batch, f"--weights {weights}": weights}
    for flag, given in asked.items():
        if given:
            raise UserMistake(
                f"{bundle.name} is measured by itself",
                found=flag,
                expected="a bundle alone, one instruction at a time",
                because="several graphs lead to its answer, which no peer of bench runs",
                attempt=f"edgesmith bench {bundle.path}, and edgesmith compare with a bundle of other settings",
            )


def _agreements(
    candidates: Sequence[Candidate], images: np.ndarray, task: ExportTask, rule: Any
) -> Iterator[dict[str, float]]:
    """How far each candidate's answer is from the first one's."""
    first = candidates[0]
    judge = first.run(images)
    for one in candidates:
        answer = one.run(images)
        if first.finished:  # the bundle alone, beside itself
            yield {"max_abs": float(np.abs(answer - judge).max())}
        else:
            yield task.apart(judge, answer, rule, one.finished)


def columns(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Of a detector max abs is that of the scores, and one column more says how many of the boxes match."""
    detects = any("matched" in row for row in result["rows"])
    return (*COLUMNS[:-1], "max abs score", "boxes") if detects else COLUMNS


def rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table of the command, one row a candidate; time ratios are to the first, lower is better."""
    lines: list[tuple[str, ...]] = [
        (
            row["name"],
            f"{row['median_ms']:.2f}",
            f"{row['p90_ms']:.2f}",
            f"{row['p99_ms']:.2f}",
            f"{row['throughput_per_s']:.1f}",
            f"{row['time_ratio']:.2f}",
            f"{row['time_ratio_low']:.2f}-{row['time_ratio_high']:.2f}",
            f"{row['peak_rss_bytes'] / MEGABYTE:.0f}",
            f"{row['max_abs']:.1e}" if "max_abs" in row else "",
            *([f"{row['matched']:.1%}"] if "matched" in row else []),
        )
        for row in result["rows"]
    ]
    empty = ("",) * (len(columns(result)) - 2)
    return lines + [(name, f"not measured: {why}") + empty for name, why in result["skipped"].items()]


def _shape(bundle: Bundle, batch: int | None) -> tuple[int, ...]:
    """The usual shape of the bundle, with another batch where the graph takes it."""
    spec = bundle.inputs[0] if find_export(bundle.task).runtime.arrays else bundle.picture_input
    usual = spec.opt or tuple(size if isinstance(size, int) else 1 for size in spec.shape)
    if batch is None or not usual:
        return tuple(usual)
    least, most = spec.limits(0)
    if batch < least or (most is not None and batch > most):
        raise UserMistake(
            f"{bundle.path} does not take a batch of {batch}",
            found=f"--batch {batch}",
            expected=f"{least}" if least == most else f"{least} to {most}",
            attempt=f"export it with --batch 1..{batch}",
        )
    return (batch, *usual[1:])


def _into_bundle(bundle: Bundle, result: dict[str, Any]) -> None:
    manifest = {**bundle.manifest, "benchmark": result}
    files = {
        "benchmark.json": json.dumps(result, indent=1).encode(),
        "report.html": write_report(manifest, {}).encode(),
    }
    update_bundle(bundle, files, {"benchmark": result})
