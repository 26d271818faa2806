"""rewritten graph -> TensorRT-RTX engine for a named chip, without a GPU: the device's builder, asked from here.

The library compiles for a named compute capability, so an engine for any RTX card can be built on any x86 machine.  It
cannot run one here without such a card: that an engine *computes* the right thing is checked on the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...calibration.precisions import PRECISIONS
from ...runtime.backends.engine_build import Bounds, BuildFailed, EngineBuilt, Progress, Request, run_builder
from ...runtime.bundle.engines import TENSORRT_RTX
from ...runtime.errors import BackendUnavailable, UserMistake
from ...runtime.ground.scratch import temporary_folder
from ..plan.targets import RTX_ARCHS, check_arch
from ..run.nouns import Shapes

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["BuildFailed", "build_rtx", "build_rtx_engine", "installed", "parse_only", "stand_in"]

STAND_IN = {"sm87": "sm86", "sm110": "sm120", None: "sm89"}  # chip of the target -> the one TensorRT-RTX builds for


def build_rtx_engine(
    model: ir.Model | bytes | str | Path, arch: str = "sm89", shapes: Shapes | None = None, **options: Any
) -> bytes:
    """The engine as bytes; see ``build_rtx`` for the options and the errors."""
    return build_rtx(model, arch, shapes, **options).data


def build_rtx(
    model: ir.Model | bytes | str | Path,
    arch: str = "sm89",
    shapes: Shapes | Mapping[str, Bounds] | None = None,
    *,
    progress: Progress | None = None,
    log: Path | None = None,
    timeout_s: float | None = None,
) -> EngineBuilt:
    """Build ``model`` (graph, ONNX bytes or file; strongly typed) for ``arch``.

    ``shapes`` is needed when the graph leaves a dimension open: of all inputs, or of each (smallest, usual, largest).  ``log`` receives the builder's whole verbose log, layer
    list included.  Raises UserMistake (arch), BackendUnavailable (library), BuildFailed (parser, builder, crash).
    """
    chip, bounds = (
        check_arch(arch),
        {"*": (shapes.min, shapes.opt, shapes.max)} if isinstance(shapes, Shapes) else shapes,
    )
    with _as_file(model) as file:
        _needs_library()
        request = Request(
            TENSORRT_RTX, str(file), chip, shapes=bounds or {}, log=str(Path(log).absolute()) if log else None
        )
        return run_builder(request, _refused, progress=progress, timeout_s=timeout_s)


def parse_only(model: ir.Model | bytes | str | Path, timeout_s: float | None = None) -> int:
    """The real TensorRT parser; the number of layers it made, which says nothing of building.  Raises as ``build_rtx`` does."""
    with _as_file(model) as file:
        _needs_library()
        return run_builder(Request(TENSORRT_RTX, str(file)), _refused, engine=False, timeout_s=timeout_s).layers


def stand_in(arch: str | None, precision: str) -> str:
    """The chip that TensorRT-RTX builds for in place of the device's: the nearest, or the first that has the precision."""
    able = [chip for chip in RTX_ARCHS if int(chip.removeprefix("sm")) >= PRECISIONS[precision].first_chip]
    nearest = STAND_IN.get(arch, STAND_IN[None])
    return nearest if nearest in able else able[0]


def installed() -> bool:
    """Whether the library is here; looks, does not import."""
    from importlib.util import find_spec

    return find_spec(TENSORRT_RTX) is not None


def _needs_library() -> None:
    if not installed():
        raise BackendUnavailable("TensorRT-RTX is not installed", attempt="pip install 'edgesmith[rtx]'")


def _refused(stage: str) -> str:
    return f"TensorRT-RTX did not {stage} the graph"


@contextmanager
def _as_file(model: ir.Model | bytes | str | Path) -> Iterator[Path]:
    """The graph as an ONNX file, which lives as long as the build where it was not one before."""
    if isinstance(model, (str, Path)):
        if not Path(model).is_file():
            raise UserMistake(f"{model}: no such file", expected="an ONNX file")
        yield Path(model).absolute()
        return
    with temporary_folder() as folder:
        file = folder / "model.onnx"
        if isinstance(model, bytes):
            file.write_bytes(model)
        else:
            import onnx_ir as ir

            from ...graph.beside import is_beside

            ir.save(model, file, external_data=f"{file.name}.data" if is_beside(model) else None)
        yield file
