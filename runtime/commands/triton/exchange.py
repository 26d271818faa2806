"""Requests of Triton's python backend and our arrays. Its module exists inside the server alone."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...errors import EdgesmithError, UserMistake
from ...ground.version import __version__

Answering = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


def utils() -> Any:
    """``triton_python_backend_utils``."""
    return importlib.import_module("triton_python_backend_utils")


def check_numpy() -> None:
    """UserMistake where this server's stub hands out wrong numbers.

    A stub that was built with pybind11 before 2.12 reads the size of an element where NumPy 1 had it. With NumPy 2 that is 0, and
    every array is its first element again and again, without an error.
    """
    probe = np.arange(3, dtype=np.float32)
    sent = utils().Tensor("probe", probe)
    found = utils().Tensor.from_dlpack("probe", sent.to_dlpack()).as_numpy()
    if not np.array_equal(found, probe):
        raise UserMistake(
            "the python backend of this server hands out wrong numbers",
            found=f"{probe.tolist()} became {found.tolist()}, with NumPy {np.__version__}",
            expected="the same numbers",
            because="it is older than NumPy 2",
            attempt="pip install 'numpy<2' in the Python of the backend, or a newer server",
        )


def answered(request: Any, answer: Answering) -> Any:
    """The response to one request; whatever goes wrong becomes its error, and no other's."""
    pb = utils()
    try:
        given = {one.name(): one.as_numpy() for one in request.inputs()}
        wanted = set(request.requested_output_names())
        results = answer(given)
        return pb.InferenceResponse([pb.Tensor(name, array) for name, array in results.items() if name in wanted])
    except EdgesmithError as error:
        return pb.InferenceResponse(error=pb.TritonError(str(error)))
    except Exception as error:  # noqa: BLE001 the process serves others too
        text = f"a bug in edgesmith {__version__}: {type(error).__name__}: {error}"
        return pb.InferenceResponse(error=pb.TritonError(text))
