"""A bundle -> the models of a repository: their configs, and the files that stand beside them.

backend python    NAME           the whole bundle in our runtime: picture -> answer
backend engine    NAME           an ensemble of the three below; of a bundle for arrays the engine alone
                  NAME_prepare   bytes of a picture -> what the graph takes, and the picture's size      our runtime
                  NAME_engine    the graph, in the backend of Triton that is made for it
                  NAME_answer    what the graph gives -> the answer                                      our runtime
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...backends import default_backend
from ...bundle.bundle import Bundle
from ...bundle.engines import ENGINES, OnDevice
from ...bundle.manifest import MANIFEST
from ...bundle.vet import SIGNATURE
from ...errors import UserMistake
from ...ground.version import __version__
from ...tasks.known import task_of
from ...tasks.task import TEXT
from . import warm
from .config import TYPES, Tensor, Word, most_in_a_batch, tensor_of
from .plans import how_to_build

IMAGE, INSTRUCTION, SIZE, JSON = "IMAGE", "INSTRUCTION", "EDGESMITH_SIZE", "JSON"
BUNDLE = "bundle.edge"  # in the version folder of a model that our runtime runs
PREPARE, ENGINE, ANSWER = "_prepare", "_engine", "_answer"
MODEL_PY = '''"""Written by edgesmith {version}. What this model does stands in the package edgesmith (docs/triton.md)."""

try:
    from edgesmith.runtime.commands.triton.served import {name} as TritonPythonModel
except ImportError as error:
    raise ImportError(
        f"{{error}}: the Python of the server's python backend has no edgesmith that can run this model; "
        "install edgesmith {version} there, or name an environment that has it in EXECUTION_ENV_PATH (docs/triton.md)"
    ) from error
'''


@dataclass(frozen=True)
class Choices:
    """What is asked of every model of a repository."""

    most: int  # pictures in a batch
    instances: int
    wait_us: int  # how long a request waits for others
    threads: int | None


@dataclass(frozen=True)
class Model:
    """One folder of the repository."""

    name: str
    config: dict[str, Any]
    files: dict[str, bytes | Path] = field(default_factory=dict)  # by their names in the folder
    comment: str = ""  # above the config


def whole(name: str, bundle: Bundle, choices: Choices) -> list[Model]:
    """``--backend python``: one model, which needs no other backend of the server."""
    task = task_of(bundle.task)
    if task.arrays:
        inputs, outputs = _tensors(bundle, 0)
        return [_python(name, "Graph", bundle, inputs, outputs, 0, choices, _bundle_files(bundle))]
    inputs = [Tensor(IMAGE, TEXT, (1,))] + [Tensor(INSTRUCTION, TEXT, (-1,))] * task.instructed
    most = 0 if task.instructed else choices.most  # instructions of several pictures are no table
    return [_python(name, "Whole", bundle, inputs, _answers(bundle), most, choices, _bundle_files(bundle))]


def apart(name: str, bundle: Bundle, choices: Choices) -> list[Model]:
    """``--backend engine``: the graph in Triton's own backend, our runtime before and after it."""
    engine = ENGINES[default_backend(bundle.target, bundle.manifest.get("engine"))]
    if not engine.triton or len(bundle.graphs) > 1:
        several = len(bundle.graphs) > 1
        raise UserMistake(
            f"no backend of Triton runs {bundle.path.name} as it is",
            found=f"{len(bundle.graphs)} graphs that are run in turn" if several else f"target {bundle.target}",
            expected="a bundle of one graph, for " + ", ".join(one.name for one in ENGINES.values() if one.triton),
            attempt="--backend python, which runs any bundle in our runtime on the server",
        )
    most = most_in_a_batch(bundle.inputs, bundle.outputs, choices.most)
    if task_of(bundle.task).arrays:
        return [_engine(name, bundle, engine, most, choices)]
    _ = bundle.picture_input  # several inputs are no picture: told in its words
    taken, given = _tensors(bundle, most)
    size = Tensor(SIZE, "int32", (2,) if most else (1, 2))  # (height, width)
    answers, image = _answers(bundle), Tensor(IMAGE, TEXT, (1,))
    described = _described_files(bundle)
    models = [
        _python(name + PREPARE, "Prepare", bundle, [image], [*taken, size], most, choices, described),
        _engine(name + ENGINE, bundle, engine, most, choices),
        _python(name + ANSWER, "Answer", bundle, [*given, size], answers, most, choices, described),
    ]
    steps = [
        _step(name + PREPARE, {IMAGE: IMAGE}, {one.name: _inner("in", one) for one in taken} | {SIZE: SIZE}),
        _step(name + ENGINE, {one.name: _inner("in", one) for one in taken}, {one.name: _inner("out", one) for one in given}),
        _step(
            name + ANSWER,
            {one.name: _inner("out", one) for one in given} | {SIZE: SIZE},
            {one.name: one.name for one in answers},
        ),
    ]  # fmt: skip
    config = {
        "name": name,
        "platform": "ensemble",
        "max_batch_size": most,
        "input": [image.fields()],
        "output": [one.fields() for one in answers],
        "ensemble_scheduling": {"step": steps},
    }
    return [
        *models,
        Model(name, config, {"1/README": b"An ensemble has no files of its own; Triton asks for the folder.\n"}),
    ]


def _inner(side: str, tensor: Tensor) -> str:
    """A tensor between the steps: inputs and outputs of a graph may share a name."""
    return f"{side}.{tensor.name}"


def _step(model: str, takes: Mapping[str, str], gives: Mapping[str, str]) -> dict[str, Any]:
    return {
        "model_name": model,
        "model_version": -1,
        "input_map": [{"key": key, "value": value} for key, value in takes.items()],
        "output_map": [{"key": key, "value": value} for key, value in gives.items()],
    }


def _tensors(bundle: Bundle, most: int) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs and outputs of the one graph; UserMistake for a type that Triton does not know."""
    sides = [[tensor_of(spec, most > 0) for spec in specs] for specs in (bundle.inputs, bundle.outputs)]
    for one in [*sides[0], *sides[1]]:
        if one.dtype not in TYPES or one.name == SIZE:
            raise UserMistake(
                f"Triton cannot serve {bundle.path.name}",
                found=f"a tensor {one.name} of {one.dtype}",
                expected=f"a name other than {SIZE}, and one of {', '.join(TYPES)}",
            )
    return sides[0], sides[1]


def _answers(bundle: Bundle) -> list[Tensor]:
    served = task_of(bundle.task).served(bundle)
    return [Tensor(JSON, TEXT, (1,)), *(Tensor(name, dtype, dims) for name, (dtype, dims) in served.items())]


def _python(
    name: str, kind: str, bundle: Bundle, inputs: list[Tensor], outputs: list[Tensor], most: int, choices: Choices,
    files: dict[str, bytes | Path],
) -> Model:  # fmt: skip
    config = _config(name, inputs, outputs, most, choices, "KIND_CPU") | {
        "backend": "python",
        "parameters": [
            {"key": "choices", "value": {"string_value": "{}"}},
            {"key": "threads", "value": {"string_value": str(choices.threads or "")}},
        ],
    }
    program = MODEL_PY.format(version=__version__, name=kind).encode()
    return Model(name, config, {"1/model.py": program, **files})


def _engine(name: str, bundle: Bundle, engine: OnDevice, most: int, choices: Choices) -> Model:
    inputs, outputs = _tensors(bundle, most)
    kind = "KIND_CPU" if engine.on_cpu else "KIND_GPU"
    config = _config(name, inputs, outputs, most, choices, kind, reshape=True)
    config |= {"backend": engine.triton, "default_model_filename": engine.triton_file}
    graph, weights = bundle.files_of(bundle.main)
    files: dict[str, bytes | Path] = {f"1/{one}": bundle.path / one for one in (graph, *weights)}
    row, data = warm.sample(bundle, most > 0)
    built = Path(graph).suffix != Path(engine.triton_file).suffix
    comment = how_to_build(name, bundle, engine.triton_file, most) if built else ""
    return Model(name, config | row, {**files, **data}, comment)


def _config(
    name: str,
    inputs: list[Tensor],
    outputs: list[Tensor],
    most: int,
    choices: Choices,
    kind: str,
    reshape: bool = False,
) -> dict[str, Any]:
    config: dict[str, Any] = {
        "name": name,
        "max_batch_size": most,
        "input": [one.fields(reshape) for one in inputs],
        "output": [one.fields(reshape) for one in outputs],
        "instance_group": [{"count": choices.instances, "kind": Word(kind)}],
    }
    return config | ({"dynamic_batching": {"max_queue_delay_microseconds": choices.wait_us}} if most > 1 else {})


def _bundle_files(bundle: Bundle) -> dict[str, bytes | Path]:
    """All of it; engines that were built on this machine are none of the bundle's."""
    return _copied(bundle, bundle.manifest["files"])


def _described_files(bundle: Bundle) -> dict[str, bytes | Path]:
    """What is read before and after the graph: the manifest and the names of the classes."""
    return _copied(bundle, [name for name in (bundle.labels_file,) if name in bundle.manifest["files"]])


def _copied(bundle: Bundle, names: Iterable[str]) -> dict[str, bytes | Path]:
    """With the manifest, and with the signature of one that has it: it is over the manifest, so it holds for a part too."""
    signed = [SIGNATURE] if (bundle.path / SIGNATURE).is_file() else []
    return {f"1/{BUNDLE}/{name}": bundle.path / name for name in (MANIFEST, *signed, *names)}
