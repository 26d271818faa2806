"""What is inside a file: an engine's kernels, a bundle's manifest, an ONNX graph's operators; no GPU needed.

An ONNX graph can also be built for a chip of TensorRT-RTX and X-rayed, which tells how many kernels it becomes and which
of its attention blocks run fused.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....graph.read import called, is_op
from ....runtime.errors import UserMistake
from ....runtime.ground.regular import open_regular
from ...engine.foreign import read_foreign
from ...engine.xray import MAGIC, XRay, read_engine
from ...run.foreign.read import check_beside, look_through, unsound
from ...run.foreign.vet import bits_of
from ...run.nouns import Shapes

if TYPE_CHECKING:
    import onnx
    from rich.console import Console

    from ....runtime.bundle.manifest import TensorSpec

MICROSOFT = "com.microsoft"
ATTENTION_OPS = {"Attention", "MultiHeadAttention", "PackedMultiHeadAttention"}  # of that domain
BUILD_LIMIT_S = 3600.0  # the largest of our models takes some minutes
BETWEEN = {"Add", "Mul", "Div", "Cast", "Where", "Reshape", "Transpose", "Identity", "Sub", "Expand", "Unsqueeze"}


def inspect(path: str | os.PathLike[str], arch: str | None = None, shapes: Shapes | None = None) -> dict[str, Any]:
    """Facts on an ENGINE, a BUNDLE or an ONNX file; with ``arch`` the graph is built for that chip and X-rayed.

    Raises:
        UserMistake: nothing there, or none of the three (cut off, empty, another format).
    """
    place = Path(path)
    if not place.exists():
        raise UserMistake(
            f"There is nothing at {place}", expected="a bundle folder, an ONNX file or a TensorRT-RTX engine"
        )
    if place.is_dir():
        return _bundle(place, arch, shapes)
    with open_regular(place) as file:
        start = file.read(4)
    if start in MAGIC or place.suffix in (".engine", ".plan", ".trt"):
        return _engine(place, start)
    return _onnx(place, arch, shapes)


def _engine(path: Path, start: bytes) -> dict[str, Any]:
    seen = read_foreign(path)
    if start not in MAGIC and not seen.recognised:
        raise UserMistake(
            f"{path} is not an engine",
            found=f"{path.stat().st_size} bytes that start with {start!r}",
            expected="an engine as TensorRT-RTX serialises it",
        )
    return {"kind": "engine", "path": str(path), "xray": seen.to_json(kernels=True), "summary": seen.summary()}


def _bundle(path: Path, arch: str | None, shapes: Shapes | None) -> dict[str, Any]:
    from ....runtime.bundle.bundle import open_bundle
    from ...tasks.known import rule_keys

    bundle = open_bundle(path)
    keys = (
        "name", "model", "family", "task", "target", "precision", "gpu_arch", "num_classes", "edgesmith", "notes",
        "parity", *rule_keys(),
    )  # fmt: skip
    engines, xrays = [], [read_foreign(engine.path) for engine in bundle.engines]
    for engine, seen in zip(bundle.engines, xrays, strict=True):
        file = engine.path.relative_to(path).as_posix()
        engines.append({"file": file, "arch": engine.arch, "version": engine.version, "xray": seen.to_json(),
                        "summary": seen.summary()})  # fmt: skip
    graph = _onnx(bundle.graph, arch, shapes or _manifest_shapes(bundle.inputs))
    if engines and "xray" not in graph:
        _mark_fused(graph["attention"], xrays[0])
    manifest = {key: bundle.manifest.get(key) for key in keys}
    told = {"kind": "bundle", "path": str(path), "manifest": manifest, "engines": engines, "graph": graph}
    if others := [one for one in bundle.graphs.values() if one is not bundle.main]:
        told["others"] = [{"name": one.name, **_onnx(one.path, arch, shapes)} for one in others]
    return told


def _manifest_shapes(inputs: tuple[TensorSpec, ...]) -> Shapes | None:
    """The shapes that the bundle was exported for, when it is open in any."""
    first = inputs[0]
    return Shapes(first.min, first.opt, first.max) if first.min and first.opt and first.max else None


def _onnx(path: Path, arch: str | None, shapes: Shapes | None) -> dict[str, Any]:
    model, wrong, beside = look_through(path)
    graph = model.graph
    ops = Counter(called(node) for node in graph.node)
    weights: Counter[str] = Counter()
    for tensor in graph.initializer:
        weights[_dtype(tensor.data_type)] += _tensor_bytes(tensor)
    constants = {tensor.name for tensor in graph.initializer}
    data: dict[str, Any] = {
        "kind": "onnx",
        "path": str(path),
        "bytes": path.stat().st_size,
        "opset": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "ir_version": model.ir_version,
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "precision": {entry.key: entry.value for entry in model.metadata_props}.get("edgesmith.precision"),
        "nodes": len(graph.node),
        "ops": dict(ops.most_common()),
        "functions": [f"{function.domain}.{function.name}" for function in model.functions],
        "weights_bytes": sum(weights.values()),
        "weights_by_type": dict(weights.most_common()),
        "inputs": [_tensor(value) for value in graph.input if value.name not in constants],
        "outputs": [_tensor(value) for value in graph.output],
        "attention": _attention(graph),
        "wrong": wrong,
        "beside": [asdict(one) for one in beside],
    }
    if arch:
        if wrong:
            raise unsound(path, wrong)
        check_beside(path, beside)
        from ...engine.rtx import build_rtx

        built = build_rtx(path, arch, shapes or _small_batch(data["inputs"]), timeout_s=BUILD_LIMIT_S)
        seen = read_engine(built.data)
        data["xray"], data["summary"] = seen.to_json(), seen.summary()
        data["builder"] = {"name": "TensorRT-RTX", "version": built.version, "arch": built.arch}
        _mark_fused(data["attention"], seen)
    return data


def load_onnx(path: Path) -> onnx.ModelProto:
    """The graph without its external data; UserMistake when it is no whole ONNX file, or none that could run."""
    model, why, _ = look_through(path)
    if why:
        raise unsound(path, why)
    return model


def _attention(graph: onnx.GraphProto) -> list[dict[str, Any]]:
    """Blocks of MatMul > ... > Softmax > ... > MatMul, and single attention operators, in graph order."""
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def reaches(node: onnx.NodeProto, up: bool) -> bool:
        """Whether a MatMul lies before (after) this node with nothing but light arithmetic between."""
        seen, todo = set(), [node]
        while todo:
            current = todo.pop()
            names = current.input if up else current.output
            near = (
                [makers[name] for name in names if name in makers]
                if up
                else [r for n in names for r in readers.get(n, [])]
            )
            for other in near:
                if is_op(other, ("MatMul", "Einsum")):
                    return True
                if is_op(other, BETWEEN) and id(other) not in seen:
                    seen.add(id(other))
                    todo.append(other)
        return False

    found = []
    for node in graph.node:
        if is_op(node, "Attention") or is_op(node, ATTENTION_OPS, MICROSOFT):
            found.append({"node": node.name, "form": node.op_type})
        elif is_op(node, "Softmax") and reaches(node, up=True) and reaches(node, up=False):
            found.append({"node": node.name, "form": "MatMul, Softmax, MatMul"})
    return found


def _mark_fused(blocks: list[dict[str, Any]], seen: XRay) -> None:
    """Say of each block whether the engine runs it as one kernel; nothing when the engine could not be read."""
    for block in blocks if seen.recognised else ():
        block["fused"] = seen.fused_in(block["node"])


def _small_batch(inputs: list[dict[str, Any]]) -> Shapes | None:
    """Batch 1 to 8 for a graph whose batch alone is open; None leaves the question to the user."""
    shape = inputs[0]["shape"] if inputs else []
    if not shape or isinstance(shape[0], int) or not all(isinstance(size, int) for size in shape[1:]):
        return None
    rest = tuple(shape[1:])
    return Shapes((1, *rest), (1, *rest), (8, *rest))


def _tensor(value: onnx.ValueInfoProto) -> dict[str, Any]:
    kind = value.type.tensor_type
    shape = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in kind.shape.dim]
    return {"name": value.name, "dtype": _dtype(kind.elem_type), "shape": shape}


def _dtype(number: int) -> str:
    import onnx

    known = onnx.TensorProto.DataType
    return known.Name(number).lower() if number in known.values() else f"type {number}"


def _tensor_bytes(tensor: onnx.TensorProto) -> int:
    """Size of the values, external ones too; 4-bit types count half a byte."""
    import math

    count = math.prod(tensor.dims) if all(size >= 0 for size in tensor.dims) else 0
    return math.ceil(count * (bits_of(tensor.data_type) or 0) / 8)


def show(data: dict[str, Any], console: Console) -> None:
    """The facts for a terminal."""
    from .screen import lines

    for line in lines(data):
        console.print(line, markup=False, highlight=False)
