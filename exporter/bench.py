"""``edgesmith bench``: a bundle beside PyTorch eager, torch.compile and the plain export, in turns in one process.

Every candidate gets the same input and the same number of threads, and its outputs are compared with eager's, so that a
fast wrong answer cannot win. The result goes into the bundle: manifest, report, and ``benchmark.json``.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models.registry import find
from ..runtime.benchmark import measure, to_json
from ..runtime.bundle import Bundle, open_bundle, update_bundle
from ..runtime.errors import UserMistake
from ..runtime.report import write_report
from ..runtime.session import load
from . import arguments, verify
from .artifacts import Shapes
from .parity import session_runner
from .stages import Progress, Silent, Stage

if TYPE_CHECKING:
    from torch import nn

    from .verify import Runner

EAGER, COMPILED, PLAIN = "PyTorch eager", "torch.compile", "plain torch.onnx.export + ONNX Runtime"
PEERS = {"eager": EAGER, "compile": COMPILED, "plain": PLAIN}
COLUMNS = ("candidate", "median ms", "p90 ms", "p99 ms", "images/s", "ratio", "quartiles", "peak MB", "max abs")
MEGABYTE = 1e6


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
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure, print nothing, write the result into the bundle and return it (the ``benchmark`` of the manifest).

    Raises UserMistake for an unknown peer, a batch the graph does not take, or a checkpoint that is not the bundle's.
    """
    opened = open_bundle(bundle)
    peers = _peers(against)
    progress = progress or Silent()
    shape = _shape(opened, batch)
    images = verify.seeded(shape)
    session = load(opened, threads=threads)
    try:
        runners: dict[str, Runner] = {}
        skipped: dict[str, str] = {}
        if peers:
            module = _module(opened, weights, shape)
            runners[EAGER] = verify.torch_runner(module, threads)
            for peer in peers:
                _add_peer(peer, module, shape, images, threads, runners, skipped, progress)
            if "eager" not in peers:
                del runners[EAGER]
        runners[f"Edgesmith, {session.backend}, {opened.precision}"] = session_runner(session)
        judge = next(iter(runners.values()))(images)
        started = time.perf_counter()
        progress.start("measure", f"{rounds} rounds of {len(runners)} candidates")
        calls: dict[str, Callable[[], Any]] = {name: _call(runner, images) for name, runner in runners.items()}
        timings = measure(
            calls, rounds, warmup, clock, shape[0], progress=lambda done, total: progress.step("rounds", done, total)
        )
        took = time.perf_counter() - started
        progress.end(
            Stage("measure", f"{rounds} rounds of {len(runners)} candidates, {threads} threads, in turns", took)
        )
        result = to_json(timings, threads=threads, shape=list(shape), skipped=skipped)
        for row in result["rows"]:
            row["max_abs"] = float(np.abs(runners[row["name"]](images) - judge).max())
    finally:
        progress.abandon()
        session.close()
    _into_bundle(opened, result)
    return result


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


def _module(bundle: Bundle, weights: str | None, shape: tuple[int, ...]) -> nn.Module:
    """The PyTorch model that the bundle was made from, by the weights it names."""
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
    return made.module


def _is(path: Path, sha256: str | None) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _add_peer(
    peer: str,
    module: nn.Module,
    shape: tuple[int, ...],
    images: np.ndarray,
    threads: int,
    runners: dict[str, Runner],
    skipped: dict[str, str],
    progress: Progress,
) -> None:
    """Make one peer ready; a compiler that does not work on this machine is told in the table, not hidden."""
    if peer == "eager":
        return
    name = PEERS[peer]
    progress.start("prepare", name)
    try:
        runner = _compiled(module, threads) if peer == "compile" else _plain(module, shape, threads)
        runner(images)
    except Exception as error:  # noqa: BLE001 inductor raises whatever the compiler behind it did
        skipped[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}"
    else:
        runners[name] = runner
    progress.abandon()


def _compiled(module: nn.Module, threads: int) -> Runner:
    import torch

    return verify.torch_runner(torch.compile(module), threads)


def _plain(module: nn.Module, shape: tuple[int, ...], threads: int) -> Runner:
    """What a user gets from ``torch.onnx.export`` alone: traced at this very shape, none of our passes."""
    from .trace import trace

    return verify.graph_runner(trace(module, Shapes.fixed(*shape), name="plain").model, threads=threads)


def _call(runner: Runner, images: np.ndarray) -> Callable[[], Any]:
    return lambda: runner(images)


def _into_bundle(bundle: Bundle, result: dict[str, Any]) -> None:
    manifest = {**bundle.manifest, "benchmark": result}
    files = {
        "benchmark.json": json.dumps(result, indent=1).encode(),
        "report.html": write_report(manifest, {}).encode(),
    }
    update_bundle(bundle, files, {"benchmark": result})
