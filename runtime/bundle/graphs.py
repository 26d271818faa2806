"""The graphs of a bundle: one, as ``model.onnx``, or several with names, of which each has inputs and outputs of its own.

    one       "inputs": [specs], "outputs": [specs]                              the graph "main" in model.onnx
    several   "graphs": {name: {"file": "vision.onnx", "inputs": [specs], "outputs": [specs], "engines": [rows]}}

The first one is what is meant where none is named. A version of Edgesmith that knows no ``graphs`` refuses such a bundle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BundleRefused
from ..pictures.contract import ImageContract
from .manifest import TensorSpec
from .vet import check_name, graph_rows


@dataclass(frozen=True)
class EngineFile:
    """An engine that travels in the bundle: ``arch`` such as sm89, ``builder`` tensorrt_rtx or tensorrt, its version.

    ``seal`` says with which secret it was built (backends/engine_seal.py); "" where the manifest has none.
    """

    path: Path
    arch: str
    builder: str
    version: str
    seal: str = ""


@dataclass(frozen=True)
class GraphSpec:
    """One graph: its file, what goes in and comes out, and the engines that were built from it where the bundle was made."""

    name: str
    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    engines: tuple[EngineFile, ...]


def read_graphs(folder: Path, manifest: Mapping[str, Any]) -> dict[str, GraphSpec]:
    """The graphs by name, in the manifest's order; BundleRefused for a spec that cannot be read or an unlisted engine."""
    found = {}
    for name, row in graph_rows(manifest).items():
        if not name or not name.isprintable() or len(name) > 100:
            raise BundleRefused(f"{folder} has a graph without a usable name", found=repr(name)[:100])
        inputs, outputs = (_specs(folder, name, key, row[key]) for key in ("inputs", "outputs"))
        engines = tuple(_engine(folder, one, manifest["files"]) for one in row.get("engines") or [])
        found[name] = GraphSpec(name, folder / row["file"], inputs, outputs, engines)
    return found


def check_pictures(folder: Path, graphs: Mapping[str, GraphSpec], contract: ImageContract) -> None:
    """BundleRefused where the one input cannot be what the input contract makes of a picture, (B, C, height, width) or as it says."""
    main = next(iter(graphs.values()))
    if len(graphs) > 1 or len(main.inputs) > 1:
        return  # then pictures alone do not feed it
    (spec,) = main.inputs
    made = contract.shape(1)[1:]
    bounds = [spec.limits(axis) for axis in range(1, len(spec.shape))]
    if (
        spec.dtype != contract.dtype
        or len(spec.shape) != 4
        or any(
            size < least or (most is not None and size > most) for size, (least, most) in zip(made, bounds, strict=True)
        )
    ):
        raise BundleRefused(
            f"{folder} contradicts itself",
            found=f"input {spec.name} {spec.dtype} ({', '.join(map(str, spec.shape))}), and pictures of {contract.dtype} "
            + " x ".join(map(str, made)),
            expected="an input that takes what the input contract makes of a picture",
            attempt="copy the bundle again, or export it again",
        )


def _specs(folder: Path, graph: str, key: str, rows: list[Any]) -> tuple[TensorSpec, ...]:
    specs = tuple(TensorSpec.from_json(row) for row in rows)
    names = [spec.name for spec in specs]
    if not names:
        raise BundleRefused(
            f"{folder} describes a graph that takes or gives nothing",
            found=f"graph {graph}: {key} []",
            expected="one tensor or more",
            attempt="copy the bundle again, or export it again",
        )
    if len(set(names)) < len(names):
        raise BundleRefused(
            f"{folder} describes two tensors of one name",
            found=f"graph {graph}: {', '.join(names)}"[:300],
            expected="each input and each output once",
        )
    return specs


def _engine(folder: Path, row: Mapping[str, Any], listed: Mapping[str, Any]) -> EngineFile:
    name = check_name(row.get("file"))
    if name not in listed:
        raise BundleRefused(f"{folder} names an engine that is not listed", found=Path(name).name)
    return EngineFile(folder / name, *(row.get(key) or "" for key in ("arch", "builder", "version", "seal")))
