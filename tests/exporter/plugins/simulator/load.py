"""TensorRT's Python bindings without TensorRT: empty libraries in place of its own, then the import."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path
from typing import Any

from sizes import Argument, Registry, Shape, Size

LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
MAJOR = 11  # of the bindings that pyproject.toml pins


def load(folder: Path) -> tuple[Any, Registry]:
    """(the module tensorrt, its registry); the libraries are built in ``folder``, which may go away afterwards."""
    for name in LIBRARIES:
        library = folder / f"lib{name}.so.{MAJOR}"
        command = ["gcc", "-shared", "-fPIC", f"-D{name.upper()}", f"-Wl,-soname,{library.name}", "-o", str(library)]
        subprocess.run([*command, str(Path(__file__).with_name("stub.c"))], check=True)
        ctypes.CDLL(str(library))  # found by its soname when the bindings ask for it
    import tensorrt_bindings

    sys.modules["tensorrt"] = tensorrt_bindings
    registry = Registry()
    # before tensorrt.plugin is imported: it derives classes from these
    tensorrt_bindings.IDimensionExpr, tensorrt_bindings.DimsExprs = Size, Shape
    tensorrt_bindings.ISymExpr = Argument
    tensorrt_bindings.get_plugin_registry = lambda: registry
    return tensorrt_bindings, registry
