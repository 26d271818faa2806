"""An engine gives up while it is loaded or runs: one place where its own exceptions become our error.

Each library raises in its own way: ONNX Runtime classes of its own, which share no base but Exception; OpenVINO and TensorRT
what pybind11 makes of C++ (RuntimeError, ValueError, MemoryError for bad_alloc). What is none of these is a bug of ours.
"""

from __future__ import annotations

from types import TracebackType

from ..errors import EdgesmithError, EngineFailed

OF_CPP = (RuntimeError, MemoryError, ValueError, OSError, IndexError, OverflowError)
NO_MEMORY = ("alloc", "out of memory", "outofmemory", "not enough memory")
LONGEST = 600  # characters of what an engine says; some print their whole graph


class InWords:
    """Within it an engine works: EngineFailed for its exceptions; ours, Ctrl-C and bugs go through as they are."""

    __slots__ = ("backend", "doing", "name")

    def __init__(self, backend: str, name: str, doing: str) -> None:
        self.backend, self.name, self.doing = backend, name, doing

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not isinstance(error, Exception) or isinstance(error, EdgesmithError):
            return
        if type(error).__module__ == "builtins" and not isinstance(error, OF_CPP):
            return
        raise _failed(self.backend, self.name, self.doing, error) from error


def _failed(backend: str, name: str, doing: str, error: Exception) -> EngineFailed:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = "\n".join(lines)[:LONGEST] or type(error).__name__
    if isinstance(error, MemoryError) or any(word in said.lower() for word in NO_MEMORY):
        return EngineFailed(
            f"{backend} has not enough memory to {doing} {name}",
            found=said,
            because="weights, inputs and what the layers hand on need more than is free",
            attempt="a smaller batch or picture, or close other programs",
        )
    return EngineFailed(
        f"{backend} cannot {doing} {name}",
        found=said,
        because="the graph is not the one that the manifest describes, or this engine has no kernel for a node of it",
        attempt="edgesmith inspect shows the graph; copy the bundle again, export it again, or name another backend",
    )
