"""An engine's failure on somebody else's graph, as our error: one place for all commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np

from ....runtime.errors import UserMistake

LONGEST = 300
Answers = TypeVar("Answers")


def engine_errors() -> tuple[type[BaseException], ...]:
    """What ONNX Runtime raises: types of its own without a common base, and those that Python's bindings make."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kinds = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*kinds, RuntimeError, MemoryError)


def said(error: BaseException) -> str:
    """The engine's own words, short: the first line, without its codes."""
    text = str(error).strip().removeprefix("[ONNXRuntimeError] : ")
    return text.partition("\n")[0][:LONGEST] or type(error).__name__


@contextmanager
def asked_of_engine(path: Path) -> Iterator[None]:
    """Around everything that runs the graph of ``path``: what ONNX Runtime raises becomes a UserMistake."""
    try:
        yield
    except engine_errors() as error:
        if isinstance(error, (RecursionError, NotImplementedError)):
            raise
        raise cannot_run(path, said(error)) from error


def in_words(path: Path, run: Callable[[np.ndarray], Answers]) -> Callable[[np.ndarray], Answers]:
    """``run``, which runs the graph of ``path`` on pictures, with its failures as ours."""

    def asked(images: np.ndarray) -> Answers:
        with asked_of_engine(path):
            return run(images)

    return asked


def cannot_run(path: Path, why: str) -> UserMistake:
    """The refusal of a graph that the engine does not take."""
    return UserMistake(
        f"ONNX Runtime does not run {path}",
        found=why,
        expected="a graph with operators that ONNX Runtime has on a CPU, and with shapes that fit each other",
        attempt="edgesmith inspect shows what the file holds",
    )


def too_large(memory_bytes: int) -> str:
    """What became of a graph that was given so much memory."""
    return f"it takes more than {memory_bytes / 1e6:,.0f} MB of memory, many times its weights"
