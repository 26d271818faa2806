"""What a bundle is measured beside: the same weights in PyTorch, and its plain export on the engines of others.

A network that has a deploy form is taken in it: the authors' own export starts there, so the training form would be an
easy peer.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....models.registry import find_recorded, names_a_place
from ....runtime.backends.openvino import HINTS
from ....runtime.backends.openvino_library import openvino_core
from ....runtime.bundle.engines import OPENVINO as ENGINE
from ....runtime.errors import UserMistake
from ....runtime.tasks.known import TASKS, find_task, joined
from ...run import arguments
from ...run import runners as verify
from ...run.nouns import Shapes
from ...run.stages import Progress, Stage

if TYPE_CHECKING:
    from torch import nn

    from ....models.loading import Prepared
    from ....runtime.bundle.bundle import Bundle
    from ...run.runners import Runner

EAGER, COMPILED, PLAIN = "PyTorch eager", "torch.compile", "plain torch.onnx.export + ONNX Runtime"
OPENVINO = "plain torch.onnx.export + OpenVINO"
OWN = "own"  # weights that come with the network
ELSEWHERE = "its network is a file or folder of its maker's; --model names it"
PEERS = {"eager": EAGER, "compile": COMPILED, "plain": PLAIN, ENGINE: OPENVINO}


@dataclass(frozen=True)
class Candidate:
    """Something to measure: how to run it here, and what a process of its own needs to load it (footprint.py)."""

    name: str
    run: Runner
    alone: dict[str, Any]
    finished: bool = False  # its graph holds the last step of the task, such as NMS


def chosen_peers(against: str | None) -> list[str]:
    """The keys of PEERS that were asked for; None is all, OpenVINO where it is installed."""
    if against is None:
        return [peer for peer in PEERS if peer != ENGINE or importlib.util.find_spec(ENGINE)]
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


def _module(bundle: Bundle, model: str | None, weights: str | None, shape: tuple[int, ...]) -> tuple[Prepared, str]:
    """The PyTorch model that the bundle was made from, by the weights it names, and where these were found."""
    from ....models import prepare

    told = bundle.manifest["weights"]
    spec, source = find_recorded(bundle.manifest, model), str(told.get("source", ""))
    if weights is None and source.startswith("random"):
        weights = "random"
    elif weights is None and spec.usual_weights == OWN and source in spec.name:
        weights = OWN  # its hash is compared below
    elif weights is None:
        beside = [
            Path(source),
            Path(spec.usual_weights) / source,
            bundle.path.parent / Path(source).name,
            Path(Path(source).name),
        ]
        weights = next((str(path) for path in beside if _is(path, told.get("sha256"))), None)
        weights = weights or ("pretrained" if source.startswith("pretrained") else None)
    if weights is None:
        raise UserMistake(
            "The checkpoint of this bundle was not found",
            found=f"nothing at {source} with the hash that the bundle was made from",
            expected="the same file, to measure PyTorch with",
            attempt="--weights PATH, or --against none to measure the bundle alone",
        )
    size, classes = bundle.contract.sides(shape), bundle.manifest["num_classes"]
    made = prepare(spec, weights, classes, size, int(told.get("seed", 0)), bool(told.get("ema")))
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


def peer_candidates(
    bundle: Bundle,
    typed: tuple[str | None, str | None],
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
    model, weights = typed
    if model is None and names_a_place(bundle.manifest):
        skipped |= dict.fromkeys((PEERS[peer] for peer in peers), ELSEWHERE)
        return []
    made, chosen = _module(bundle, model, weights, images.shape)
    module, form = deploy_form(made.module)
    torch_alone = {
        "model": made.spec.name,
        "model_args": dict(made.spec.asked),
        "typed": model,
        "weights": chosen,
        "classes": made.num_classes,
        "size": list(made.image_size),
    }
    ready, outputs = [], find_task(bundle.task).outputs
    for peer in peers:
        name = PEERS[peer] + form
        with step(progress, "prepare", name):
            try:
                if peer == "plain":
                    run, alone = _plain(module, images, threads, folder, outputs)
                elif peer == ENGINE:
                    name = f"{name}, {HINTS.get(bundle.precision, 'its own precision')}"
                    run, alone = _openvino(module, images, threads, folder, bundle, outputs)
                else:
                    run, alone = _torch(module, peer, threads, outputs), {**torch_alone, "kind": peer}
                run(images)
            except Exception as error:  # noqa: BLE001 inductor raises whatever the compiler behind it did
                skipped[name] = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:120]}"
            else:
                ready.append(Candidate(name, run, alone))
    return ready


def _torch(module: nn.Module, peer: str, threads: int, outputs: Sequence[str]) -> Runner:
    import torch

    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # says at every start that CUDA is not here
    return verify.torch_runner(torch.compile(module) if peer == "compile" else module, threads, outputs)


def _plain(
    module: nn.Module, images: np.ndarray, threads: int, folder: Path, outputs: Sequence[str]
) -> tuple[Runner, dict[str, Any]]:
    """What a user gets from ``torch.onnx.export`` alone: traced at this very shape, none of our passes."""
    path = _plain_file(module, images, folder, outputs)
    return verify.graph_runner(_read(path), threads=threads), {"kind": "graph", "path": str(path)}


def _openvino(
    module: nn.Module, images: np.ndarray, threads: int, folder: Path, bundle: Bundle, outputs: Sequence[str]
) -> tuple[Runner, dict[str, Any]]:
    """The plain export again, at the precision of the bundle where OpenVINO has it: like beside like."""
    path, precision = _plain_file(module, images, folder, outputs), HINTS.get(bundle.precision)
    alone = {"kind": ENGINE, "path": str(path), "precision": precision}
    return openvino_runner(path, threads, precision), alone


def _plain_file(module: nn.Module, images: np.ndarray, folder: Path, outputs: Sequence[str]) -> Path:
    """The plain export on disk, made once for both engines."""
    import onnx_ir

    from ...trace.trace import trace

    path = folder / "plain.onnx"
    if not path.exists():
        shapes, dtype = Shapes.fixed(*images.shape), str(images.dtype)
        plain = trace(module, shapes, name="plain", outputs=outputs, folder=folder, dtype=dtype)
        onnx_ir.save(plain.model, path)
    return path


def _read(path: Path) -> Any:
    import onnx_ir

    return onnx_ir.load(path)


@contextlib.contextmanager
def step(progress: Progress, name: str, detail: str) -> Iterator[None]:
    """A stage of the command, on the screen while it runs."""
    started = time.perf_counter()
    progress.start(name, detail)
    try:
        yield
    except BaseException:
        progress.abandon()
        raise
    progress.end(Stage(name, detail, time.perf_counter() - started))


def deploy_form(module: nn.Module) -> tuple[nn.Module, str]:
    """The re-parameterised network with words for its name, where the family has such a form; else the module as it is."""
    deployed = getattr(importlib.import_module(type(module).__module__), "deployed", None)
    return (deployed(module), " (deploy form)") if deployed else (module, "")


def openvino_runner(
    path: Path | str,
    threads: int,
    precision: str | None,
    join: Callable[[Mapping[str, np.ndarray]], np.ndarray] = joined,
) -> Runner:
    """An ONNX file on OpenVINO's CPU engine; ``precision`` None leaves it the choice: bf16 where the chip has it."""
    config: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if precision:
        config["INFERENCE_PRECISION_HINT"] = precision
    compiled = openvino_core().compile_model(str(path), "CPU", config)
    request = compiled.create_infer_request()
    known = {name for task in TASKS.values() for name in (*task.outputs, *task.finished)}
    names = [next(iter(known & output.names), output.any_name) for output in compiled.outputs]  # one value, many names

    def run(images: Any) -> np.ndarray:
        results = request.infer(dict(images) if isinstance(images, Mapping) else [images])
        return join({name: np.array(results[name]) for name in names})

    return run
