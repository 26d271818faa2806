"""A foreign ONNX file -> its graph, or UserMistake that says what is wrong with it. Every command that takes a file asks here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ....graph.read import ONNX
from ....runtime.bundle.onnx_scan import NotOnnx, scan
from ....runtime.errors import UserMistake
from .beside import Beside, files_beside
from .vet import wrong

LEAST_OPSET = 7  # ONNX Runtime promises to run these; what was before is read by inspect alone

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir


def look_through(path: Path) -> tuple[onnx.ModelProto, str, tuple[Beside, ...]]:
    """The protobuf without its external weights, what is wrong with the graph (or ""), and the files of weights beside it.

    Raises:
        UserMistake: the file is no whole ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        entries = scan(path)
        model = onnx.load(path, "protobuf", load_external_data=False)
        return model, wrong(model), files_beside(path, entries)
    except (NotOnnx, DecodeError, UnicodeDecodeError) as error:
        raise UserMistake(
            f"{path} is not an ONNX model",
            found=f"{path.stat().st_size} bytes; {str(error).splitlines()[0][:200] if str(error) else 'no more is known'}",
            expected="a whole ONNX file",
            because="a download or a copy that was cut off looks like this",
            attempt="edgesmith inspect tells engines, bundles and ONNX files apart",
        ) from None


def read_foreign_graph(path: Path) -> ir.Model:
    """The graph, its nodes in an order in which they can run; external weights stay in their files.

    Raises:
        UserMistake: no ONNX model, one of an opset before 7, a graph that no engine can run, or weights beside it that are missing or cut off.
    """
    import onnx_ir as ir

    model, why, beside = look_through(path)
    if why:
        raise unsound(path, why)
    version = next((one.version for one in model.opset_import if one.domain in ("", ONNX)), LEAST_OPSET)
    if version < LEAST_OPSET:
        raise too_old(
            path, version, LEAST_OPSET, "before, operators broadcast by attributes, which engines do not read"
        )
    check_beside(path, beside)
    try:
        graph = ir.from_proto(model)
        graph.graph.sort()
        ir.external_data.set_base_dir(graph.graph, path.absolute().parent)
        check_beside(path, _cut_off(graph))
    except (ValueError, TypeError, NotImplementedError, KeyError, AttributeError) as error:
        raise unsound(path, f"{str(error).splitlines()[0][:200] if str(error) else type(error).__name__}") from None
    return graph


def _cut_off(graph: ir.Model) -> Iterator[Beside]:
    """Files of weights too short for a tensor that does not say how many bytes it has."""
    import onnx_ir as ir

    for value in graph.graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            end, found = (tensor.offset or 0) + tensor.nbytes, Path(tensor.path).stat().st_size
            if end > found:
                yield Beside(
                    str(tensor.location), end, found, f"it has {found:,} bytes, {end:,} are expected: it is cut off"
                )


def check_beside(path: Path, beside: Iterable[Beside]) -> None:
    """UserMistake for the first file of weights that is missing, cut off, or outside the folder of ``path``."""
    for one in beside:
        if one.why:
            raise UserMistake(
                f"The weights of {path.name} are not beside it",
                found=f"{one.name}: {one.why}",
                expected=f"every file of weights in {path.parent}, as it was written",
                because="an ONNX file with external data is useless without it",
                attempt="copy the file of weights too, under its own name; edgesmith inspect lists them",
            )


def bytes_of(path: Path) -> int:
    """Size of an ONNX file with the weights that lie beside it."""
    try:
        beside = files_beside(path, scan(path))
    except NotOnnx:
        beside = ()
    return path.stat().st_size + sum(one.found or 0 for one in beside)


def too_old(path: Path, found: int, least: int, because: str) -> UserMistake:
    """The refusal of a graph of an opset in which things are written in another way."""
    return UserMistake(
        f"{path} is written in an opset that is too old for this",
        found=f"opset {found}",
        expected=f"opset {least} or later",
        because=because,
        attempt="export it again, or onnx.version_converter.convert_version(onnx.load(FILE), 13)",
    )


def unsound(path: Path, why: str) -> UserMistake:
    """The refusal of a graph that no engine can run."""
    return UserMistake(
        f"{path} is not a sound ONNX graph",
        found=why,
        expected="a graph as the ONNX standard has it",
        attempt="export it again; onnx.checker.check_model says more",
    )
