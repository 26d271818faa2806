"""What a bundle that was made of an ONNX file is measured beside: the file itself, on the engines of others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....runtime.backends.openvino import HINTS
from ....runtime.bundle.engines import OPENVINO as ENGINE
from ....runtime.bundle.vet import sha256
from ....runtime.errors import UserMistake
from ....runtime.tasks.known import find_task, joined
from ...run.runners import by_name
from ...trace.file.original import open_original, run_by_name
from .peers import Candidate, openvino_runner, step

if TYPE_CHECKING:
    from ....runtime.bundle.bundle import Bundle
    from ...run.runners import Runner
    from ...run.stages import Progress

NAMES = {"plain": "the file + ONNX Runtime", ENGINE: "the file + OpenVINO"}


def is_of_file(bundle: Bundle) -> bool:
    """Whether a bundle's judge was a file, and no network in PyTorch."""
    return bool(bundle.manifest.get("judge"))


def file_candidates(
    bundle: Bundle, given: str | None, peers: list[str], images: Any, threads: int, skipped: dict[str, str],
    progress: Progress,
) -> list[Candidate]:  # fmt: skip
    """The file on each engine that was asked for, warmed up; there is no PyTorch to be measured beside."""
    asked = [peer for peer in peers if peer in NAMES]
    if not asked:
        return []
    path, ready = file_of(bundle, given), []
    task = find_task(bundle.task)
    join = task.joined if task.arrays else joined
    for peer in asked:
        name = NAMES[peer]
        with step(progress, "prepare", name):
            try:
                alone: dict[str, Any] = {"kind": "graph", "path": str(path)}
                if peer == ENGINE:
                    precision = HINTS.get(bundle.precision)
                    name = f"{name}, {HINTS.get(bundle.precision, 'its own precision')}"
                    alone |= {"kind": ENGINE, "precision": precision}
                    run: Runner = openvino_runner(path, threads, precision, join)
                else:
                    run = _on_onnxruntime(path, threads, join)
                run(images)
            except Exception as error:  # noqa: BLE001 engines raise what they like on a graph that is not theirs
                skipped[name] = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:120]}"
            else:
                ready.append(Candidate(name, run, alone))
    return ready


def _on_onnxruntime(path: Path, threads: int, join: Any) -> Runner:
    session = open_original(path, threads=threads)
    names = [one.name for one in session.get_inputs()]
    return lambda images: join(run_by_name(session, by_name(images, names)))


def file_of(bundle: Bundle, given: str | None) -> Path:
    """The file that the bundle was made of: where it was, beside the bundle, or where --weights says."""
    told = bundle.manifest["weights"]
    source = Path(str(told.get("source", "")))
    places = [Path(given)] if given else [source, bundle.path.parent / source.name, Path(source.name)]
    for place in places:
        if place.is_file() and sha256(place) == told.get("sha256"):
            return place
    raise UserMistake(
        "The ONNX file of this bundle was not found",
        found=f"nothing with its hash at {' or '.join(map(str, places))}",
        expected="the file that the bundle was exported from, to measure it beside",
        attempt="--model PATH with that file, or --against none to measure the bundle alone",
    )
