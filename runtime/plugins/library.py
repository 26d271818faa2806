"""Kernel pack -> the C++ plugin, for TensorRT 10.0 to 10.8, which take no plugin from Python that ends in an engine.

One library serves all ops: it reads plugins.txt and the PTX from the folder that ``EDGESMITH_KERNELS`` names. It is built on
the device (native/), because TensorRT's headers are there, and named by ``EDGESMITH_PLUGIN_LIBRARY``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import BackendUnavailable
from .pack import KernelPack
from .register import version
from .schema import DOMAIN, VERSION

LIBRARY, KERNELS = "EDGESMITH_PLUGIN_LIBRARY", "EDGESMITH_KERNELS"
SOURCES = Path(__file__).parent / "native"
FIRST = (10, 0)  # IPluginV3


def plugin_library() -> Path:
    """The library that the environment names; BackendUnavailable says how to build one."""
    named = os.environ.get(LIBRARY, "")
    path = Path(named)
    if named and path.is_file():
        return path.absolute()
    raise BackendUnavailable(
        "this bundle needs the C++ plugin of edgesmith",
        found=f"{LIBRARY} names {named}, which is no file" if named else f"{LIBRARY} is not set",
        expected=f"{LIBRARY}=/path/to/libedgesmith_plugins.so",
        because="TensorRT before 10.9 takes no ahead-of-time plugins from Python",
        attempt=f"on the device: cmake -S {SOURCES} -B build && cmake --build build",
    )


def load_plugin_library(trt: Any, pack: KernelPack, ops: Iterable[str], folder: Path) -> None:
    """Unpack the pack into ``folder`` and load the library, which reads it there; the folder has to stay.

    Raises:
        BackendUnavailable: no library is named, TensorRT is too old, it does not load the library, or has no plugin for
            one of ``ops`` then.
    """
    path = plugin_library()
    if version(trt) < FIRST:
        raise _refused(f"tensorrt {trt.__version__}", "it has no IPluginV3")
    pack.unpack(folder)
    os.environ[KERNELS] = str(folder)  # read by the library when it is loaded
    try:
        registry = trt.get_plugin_registry()
        handle = registry.load_library(str(path))
    except (RuntimeError, OSError, TypeError) as error:
        raise _refused(str(error)[:300], f"TensorRT {trt.__version__} did not load {path.name}") from None
    if handle is None:
        raise _refused(path.name, f"TensorRT {trt.__version__} gave no reason")
    if missing := [name for name in ops if registry.get_creator(name, VERSION, DOMAIN) is None]:
        raise _refused(f"no plugin for {', '.join(missing)}", f"{path.name} could not read the kernels, or is older")


def _refused(found: str, because: str) -> BackendUnavailable:
    return BackendUnavailable(
        "the C++ plugin of edgesmith could not be loaded",
        found=found,
        expected=f"TensorRT {FIRST[0]}.{FIRST[1]} or newer, and a library built for it on this device",
        because=because,
        attempt=f"build it again: cmake -S {SOURCES} -B build && cmake --build build",
    )
