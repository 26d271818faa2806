"""The one place where OpenVINO is imported, for everybody in this repository: quietly, and ready for several threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..bundle.engines import OPENVINO
from . import library

INSTALL = "pip install 'edgesmith[openvino]'"
_one_at_a_time, _one_core = threading.Lock(), threading.Lock()
_cores: list[Any] = []


def openvino() -> Any:
    """The module; BackendUnavailable says how to get it.

    Its import would write a client id under the home folder and send an event to an analytics host. The switch for one
    process is the variable that says CI, which its telemetry documents (``disable_in_ci``): it is set for the import alone,
    and neither the user's environment nor his consent file is changed.
    """
    with _one_at_a_time:
        with _environment("CI", "true"):
            found = library(OPENVINO, INSTALL)
        # its tables of types are filled at their first use; two threads that come to them then wait for each other for ever
        found.Type.f32.to_dtype()
        found.Tensor(np.zeros(1, np.float32)).data.fill(0)
        return found


def openvino_core() -> Any:
    """OpenVINO's core, one for the process and its whole life. BackendUnavailable as ``openvino``.

    A core gives the thread that first compiles with it a stack for its signals, and frees it with the last model. Where
    that is another thread, or the stack of an earlier core had been put aside, the thread keeps the address of what is
    gone, and the next signal, Ctrl-C say, ends the process with a segmentation fault. What is never freed cannot be missed.
    """
    library = openvino()
    with _one_core:
        if not _cores:
            _cores.append(library.Core())
        return _cores[0]


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
