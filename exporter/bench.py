"""``edgesmith bench``: a bundle beside PyTorch eager, torch.compile and the plain export, in turns in one process.

Every candidate gets the same input and the same number of threads, and its outputs are compared with eager's, so that a
fast wrong answer cannot win. The result goes into the bundle: manifest, report, and ``benchmark.json``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models.registry import find
from ..runtime.benchmark import measure, to_json
from ..runtime.bundle import Bundle, open_bundle, update_bundle
from ..runtime.errors import UserMistake
from ..runtime.load import load
from ..runtime.report import write_report
from . import arguments, verify
from .artifacts import Shapes
from .footprint import footprint
from .parity import session_runner
from .stages import Progress, Silent, Stage

if TYPE_CHECKING:
    from torch import nn

    from ..models.loading import Prepared
    from .verify import Runner

EAGER, COMPILED, PLAIN = "PyTorch eager", "torch.compile", "plain torch.onnx.export + ONNX Runtime"
PEERS = {"eager": EAGER, "compile": COMPILED, "plain": PLAIN}
COLUMNS = ("candidate", "median ms", "p90 ms", "p99 ms", "images/s", "ratio", "quartiles", "peak MB", "max abs")
MEGABYTE = 1e6


@dataclass(frozen=True)
class Candidate:
    """Something to measure: how to run it here, and what a process of its own needs to load it (footprint.py)."""

    name: str
    run: Runner
    alone: dict[str, Any]


def bench(
    bundle: str,
    *,
    weights: str | None = None,
    against: str = "eager,compile,plain",
    rounds: int = 30,
    warmup: int = 3,
    threads: int = 1,
    batch: int | None = None,
    clock: str = "wall",
    memory: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure, print nothing, write the result into the bundle and return it (the ``benchmark`` of the manifest).

    ``memory`` also runs each candidate in a process of its own, for its peak memory.

    Raises UserMistake for an unknown peer, a batch the graph does not take, or a checkpoint that is not the bundle's.
    """
    opened = open_bundle(bundle)
    peers = _peers(against)
    progress = progress or Silent()
    shape = _shape(opened, batch)
    images = verify.seeded(shape)
    with load(opened, threads=threads) as session, tempfile.TemporaryDirectory(prefix="edgesmith-") as folder:
        skipped: dict[str, str] = {}
        candidates = _peer_candidates(opened, weights, peers, images, threads, Path(folder), skipped, progress)
        name = f"Edgesmith, {session.backend}, {opened.precision}"
        candidates.append(Candidate(name, session_runner(session), {"kind": "bundle", "path": str(opened.path)}))
        with _step(
            progress, "measure", f"{rounds} rounds of {len(candidates)} candidates, {threads} threads, in turns"
        ):
            calls: dict[str, Callable[[], Any]] = {one.name: partial(one.run, images) for one in candidates}
            timings = measure(calls, rounds, warmup, clock, shape[0], progress=partial(progress.step, "rounds"))
        result = to_json(timings, threads=threads, shape=list(shape), skipped=skipped)
        judge = candidates[0].run(images)
        for row, one in zip(result["rows"], candidates, strict=True):
            row["max_abs"] = float(np.abs(one.run(images) - judge).max())
        if memory:
            with _step(progress, "memory", "each candidate in a process of its own"):
                for row, one in zip(result["rows"], candidates, strict=True):
                    peak = footprint({**one.alone, "threads": threads, "shape": list(shape)})
                    row["peak_rss_bytes"] = peak or 0
    _into_bundle(opened, result)
    return result


@contextlib.contextmanager
def _step(progress: Progress, name: str, detail: str) -> Iterator[None]:
    started = time.perf_counter()
    progress.start(name, detail)
    try:
        yield
    except BaseException:
        progress.abandon()
        raise
    progress.end(Stage(name, detail, time.perf_counter() - started))


def rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table of the command, one row a candidate; ratios are to the first."""
    lines = [
        (
            row["name"],
            f"{row['median_ms']:.2f}",
            f"{row['p90_ms']:.2f}",
            f"{row['p99_ms']:.2f}",
            f"{row['throughput_per_s']:.1f}",
            f"{row['ratio']:.2f}",
            f"{row['ratio_low']:.2f}-{row['ratio_high']:.2f}",
            f"{row['peak_rss_bytes'] / MEGABYTE:.0f}",
            f"{row['max_abs']:.1e}",
        )
        for row in result["rows"]
    ]
    return lines + [(name, f"not measured: {why}") + ("",) * 7 for name, why in result["skipped"].items()]


def _peers(against: str) -> list[str]:
    words = [word.strip() for word in against.split(",") if word.strip() and word.strip() != "none"]
    for word in words:
        if word not in PEERS:
            raise UserMistake(
                f"Nothing to measure against is called {word!r}",
                found=f"--against {against}",
                expected="some of " + ",".join(PEERS) + ", or none",
                attempt=arguments.nearest(word, PEERS) or "--against eager,plain",
            )
    return [peer for peer in PEERS if peer in words]


def _shape(bundle: Bundle, batch: int | None) -> tuple[int, ...]:
    """The usual shape of the bundle, with another batch where the graph takes it."""
    (spec,) = bundle.inputs
    usual = spec.opt or tuple(size if isinstance(size, int) else 1 for size in spec.shape)
    if batch is None:
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


def _module(bundle: Bundle, weights: str | None, shape: tuple[int, ...]) -> tuple[Prepared, str]:
    """The PyTorch model that the bundle was made from, by the weights it names, and where these were found."""
    from ..models import prepare

    told = bundle.manifest["weights"]
    name, source = find(str(bundle.manifest["model"])).name, str(told.get("source", ""))
    if weights is None and source.startswith("random"):
        weights = "random"
    elif weights is None:
        beside = [Path(source), bundle.path.parent / Path(source).name, Path(Path(source).name)]
        weights = next((str(path) for path in beside if _is(path, told.get("sha256"))), None)
        weights = weights or ("pretrained" if source.startswith("pretrained") else None)
    if weights is None:
        raise UserMistake(
            "The checkpoint of this bundle was not found",
            found=f"nothing at {source} with the hash that the bundle was made from",
            expected="the same file, to measure PyTorch with",
            attempt="--weights PATH, or --against none to measure the bundle alone",
        )
    size, classes = (shape[2], shape[3]), bundle.manifest["num_classes"]
    made = prepare(name, weights, classes, size, int(told.get("seed", 0)))
    if made.sha256 != told.get("sha256"):
        raise UserMistake(
            "That is not the checkpoint of this bundle",
            found=f"{weights}, sha256 {str(made.sha256)[:12]}...",
            expected=f"{source}, sha256 {str(told.get('sha256'))[:12]}...",
            attempt="--weights with the file that the bundle was exported from",
        )
    return made, str(weights)


def _is(path: Path, sha256: str | None) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _peer_candidates(
    bundle: Bundle,
    weights: str | None,
    peers: list[str],
    images: np.ndarray,
    threads: int,
    folder: Path,
    skipped: dict[str, str],
    progress: Progress,
) -> list[Candidate]:
    """The peers, warmed up; a compiler that does not work on this machine is told in the table, not hidden."""
    if not peers:
        return []
    made, chosen = _module(bundle, weights, images.shape)
    module = made.module
    torch_alone = {"model": made.spec.name, "weights": chosen, "classes": made.num_classes}
    ready = []
    for peer in peers:
        with _step(progress, "prepare", PEERS[peer]):
            try:
                if peer == "plain":
                    run, alone = _plain(module, images.shape, threads, folder)
                else:
                    run, alone = _torch(module, peer, threads), {**torch_alone, "kind": peer}
                run(images)
            except Exception as error:  # noqa: BLE001 inductor raises whatever the compiler behind it did
                skipped[PEERS[peer]] = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:120]}"
            else:
                ready.append(Candidate(PEERS[peer], run, alone))
    return ready


def _torch(module: nn.Module, peer: str, threads: int) -> Runner:
    import torch

    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # says at every start that CUDA is not here
    return verify.torch_runner(torch.compile(module) if peer == "compile" else module, threads)


def _plain(module: nn.Module, shape: tuple[int, ...], threads: int, folder: Path) -> tuple[Runner, dict[str, Any]]:
    """What a user gets from ``torch.onnx.export`` alone: traced at this very shape, none of our passes."""
    import onnx_ir

    from .trace import trace

    model = trace(module, Shapes.fixed(*shape), name="plain").model
    path = folder / "plain.onnx"
    onnx_ir.save(model, path)
    return verify.graph_runner(model, threads=threads), {"kind": "graph", "path": str(path)}


def _into_bundle(bundle: Bundle, result: dict[str, Any]) -> None:
    manifest = {**bundle.manifest, "benchmark": result}
    files = {
        "benchmark.json": json.dumps(result, indent=1).encode(),
        "report.html": write_report(manifest, {}).encode(),
    }
    update_bundle(bundle, files, {"benchmark": result})
