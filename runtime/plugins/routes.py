"""How the plugins that a bundle asks for get into TensorRT: from Python (10.9 and newer), or from the C++ library.

manifest.json   "plugins": {"route": "aot" or "native", "ops": [names]}; nothing there, and no plugin is needed
kernels.zip     their kernels
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..bundle.bundle import Bundle
from ..bundle.engines import ENGINES
from ..errors import BackendUnavailable, BundleRefused
from ..ground.scratch import temporary_folder
from .engine import ROUTES
from .library import load_plugin_library, plugin_library
from .pack import PACK, read_pack
from .register import register_plugins
from .vet import check_pack


def only_there(bundle: Bundle, error: BackendUnavailable) -> BackendUnavailable:
    """The same without the advice to try the CPU, for a graph that only the C++ plugin runs."""
    asked = bundle.manifest.get("plugins")
    if not isinstance(asked, dict) or asked.get("route") != "native":
        return error
    return BackendUnavailable(
        error.what,
        found=error.found,
        expected=error.expected,
        because="only TensorRT with the C++ plugin runs this graph: it has fused ops and not their bodies",
        attempt="run the bundle on the device; for a CPU export again without --native-plugins",
    )


def plugins_of(bundle: Bundle, library: str) -> dict[str, Any] | None:
    """What the child has to register: {"route", "ops", "pack": path}, or None; TensorRT-RTX runs the ops' bodies.

    Raises:
        BundleRefused: the manifest names plugins in a way this version does not know, or there is no pack.
        BackendUnavailable: the C++ plugin is needed and no library is named.
    """
    asked = bundle.manifest.get("plugins")
    if not asked or not ENGINES[library].plugins:
        return None
    ops = asked.get("ops") if isinstance(asked, dict) else None
    listed = isinstance(ops, list) and all(isinstance(name, str) for name in ops)
    if not listed or asked.get("route") not in ROUTES:
        raise BundleRefused(
            f"{bundle.path} asks for plugins in a way this version does not know",
            found=json.dumps(asked)[:200],
            expected=f'{{"route": {" or ".join(ROUTES)}, "ops": [names]}}',
            attempt="pip install --upgrade edgesmith",
        )
    pack = bundle.path / PACK
    if not pack.is_file():
        raise BundleRefused(f"{bundle.path} asks for plugins and has no kernels", found=f"no {PACK}", expected=PACK)
    if asked["route"] == "native":
        plugin_library()  # said here and now: without a library the child need not start
    return {"route": asked["route"], "ops": ops, "pack": str(pack)}


def add_plugins(trt: Any, asked: dict[str, Any] | None, stack: ExitStack) -> None:
    """Register in this process what ``plugins_of`` gave; the folder of the C++ plugin lives as long as ``stack``.

    Raises:
        EdgesmithError: the pack is damaged, has no kernel for an op, or this TensorRT cannot take the plugins.
    """
    if asked is None:
        return
    pack = read_pack(Path(asked["pack"]))
    check_pack(pack)
    if asked["route"] == "aot":
        register_plugins(trt, pack, asked["ops"])
    else:
        folder = stack.enter_context(temporary_folder())
        load_plugin_library(trt, pack, asked["ops"], folder)


def load_plugins(trt: Any, bundle: Bundle, library: str, stack: ExitStack) -> None:
    """What an engine of this bundle needs before it is loaded: the C++ plugin, or nothing, since PTX of ``aot`` is in it.

    Raises:
        EdgesmithError: as ``plugins_of`` and ``add_plugins``.
    """
    asked = plugins_of(bundle, library)
    if asked and asked["route"] == "native":
        add_plugins(trt, asked, stack)
