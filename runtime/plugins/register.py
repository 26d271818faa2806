"""Kernel pack -> TensorRT's ahead-of-time plugins, on the device and before a graph is parsed; TensorRT 10.9 or newer.

    schema, launches  >  register   types and shapes of the outputs, from the schema's expressions
                      >  autotune   which types the pack has kernels for, and how many kernels each (tactics)
                      >  aot_impl   the PTX of one kernel, its grid, threads, shared memory and int32 scalars

Nothing is written by hand for an op; plugin_functions.py says what the three do. ``tensorrt.plugin`` reads what a function
takes from its signature, so the functions here carry a made one (``__signature__``) with real types in it. TensorRT keeps
the PTX in the engine: only the build needs this file. NVIDIA's own plugin code runs these functions in our tests; with
TensorRT's builder see docs/hardware.md.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from types import GenericAlias
from typing import Any

from ..errors import BackendUnavailable, UserMistake
from .functions import PluginFunctions
from .pack import KernelPack, OpKernels
from .schema import DOMAIN
from .symbols import algebra

FIRST = (10, 9)  # Python plugins that hand over PTX
KINDS = {"int": int, "float": float}


def register_plugins(trt: Any, pack: KernelPack, ops: Iterable[str] | None = None) -> list[str]:
    """Register the plugins of ``ops`` (all of the pack when None) with the module ``trt``; their names.

    TensorRT's registry belongs to the process: what stands there from the same pack is left as it is.

    Raises:
        BackendUnavailable: this TensorRT has no ahead-of-time plugins.
        UserMistake: the pack has no kernel for an op, or the process holds the op from another pack.
    """
    trtp = _plugin_module(trt)
    names = list(pack.ops) if ops is None else list(ops)
    if missing := [name for name in names if name not in pack.ops or not pack.ops[name].launches]:
        raise UserMistake(
            "the kernel pack has no kernel for an op of the graph",
            found=", ".join(missing),
            expected=", ".join(pack.ops),
            attempt="export the bundle again",
        )
    for name in names:
        _register(trt, trtp, pack.ops[name], pack.ptx)
    return names


def version(trt: Any) -> tuple[int, int]:
    """(major, minor) of a TensorRT module."""
    found = re.match(r"(\d+)\.(\d+)", str(trt.__version__))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _plugin_module(trt: Any) -> Any:
    found = f"tensorrt {trt.__version__}"
    if version(trt) >= FIRST and hasattr(trt, "QuickPluginCreationRequest"):
        try:
            return importlib.import_module("tensorrt.plugin")
        except ImportError as error:
            found += f", and {error}"
    raise BackendUnavailable(
        "this TensorRT cannot take the bundle's plugins",
        found=found,
        expected=f"TensorRT {FIRST[0]}.{FIRST[1]} or newer, with its Python module tensorrt.plugin",
        because="ahead-of-time plugins came with that version",
        attempt="export the bundle for the target of this device",
    )


def _register(trt: Any, trtp: Any, kernels: OpKernels, ptx: Mapping[str, str]) -> None:
    schema, namespace = kernels.schema, getattr(trtp.op, DOMAIN, None)
    if (held := getattr(namespace, schema.name, None)) is not None:
        if getattr(held.register_func, "kernels", None) == kernels:
            return
        raise UserMistake(
            f"this process already holds a plugin {DOMAIN}::{schema.name}",
            found="one that was not made from this kernel pack",
            because="TensorRT keeps one plugin of a name in a process, and nothing removes it",
            attempt="build each bundle in a process of its own",
        )
    plugin = PluginFunctions(trt, trtp, kernels, ptx, algebra(trtp))
    identity = f"{DOMAIN}::{schema.name}"
    inputs: dict[str, Any] = {tensor.name: trtp.TensorDesc for tensor in schema.inputs}
    inputs |= {attribute.name: KINDS[attribute.kind] for attribute in schema.attributes}
    described = GenericAlias(tuple, (trtp.TensorDesc,) * len(schema.outputs))
    combinations = GenericAlias(list, (trtp.AutoTuneCombination,))
    launch = GenericAlias(tuple, (str, str, trtp.KernelLaunchParams, trtp.SymIntExprs))
    tuned = {**inputs, "outputs": described}
    describe = _function(f"{schema.name}_register", inputs, described, plugin.describe)
    describe.kernels = kernels  # type: ignore[attr-defined]
    trtp.register(identity)(describe)
    trtp.autotune(identity)(_function(f"{schema.name}_autotune", tuned, combinations, plugin.combinations))
    started = {**tuned, "tactic": int}
    trtp.aot_impl(identity)(_function(f"{schema.name}_aot_impl", started, launch, plugin.launch))


def _function(
    name: str, parameters: Mapping[str, Any], returns: Any, run: Callable[[Mapping[str, Any]], Any]
) -> Callable[..., Any]:
    """A function with this signature that hands its arguments to ``run`` by name."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature(
        [inspect.Parameter(key, kind, annotation=type_) for key, type_ in parameters.items()],
        return_annotation=returns,
    )

    def function(*arguments: Any, **named: Any) -> Any:
        return run(signature.bind(*arguments, **named).arguments)

    function.__name__ = function.__qualname__ = name
    function.__signature__ = signature  # type: ignore[attr-defined]
    function.__annotations__ = {**parameters, "return": returns}
    return function
