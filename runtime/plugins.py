"""Kernel pack -> TensorRT's ahead-of-time plugins, on the device and before a graph is parsed; TensorRT 10.9 or newer.

    schema, launches  >  register   types and shapes of the outputs, from the schema's expressions
                      >  autotune   which types the pack has kernels for, and how many kernels each (tactics)
                      >  aot_impl   the PTX of one kernel, its grid, threads, shared memory and int32 scalars

Nothing is written by hand for an op. ``tensorrt.plugin`` reads what a function takes from its signature, so the functions
here carry a made one (``__signature__``) with real types in it. TensorRT keeps the PTX in the engine: only the build needs
this file. NVIDIA's own plugin code runs these functions in our tests; TensorRT's builder is not yet run on hardware.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import GenericAlias
from typing import Any

from .errors import BackendUnavailable, EdgesmithError, UserMistake
from .expressions import Algebra, parse
from .fused_ops import DOMAIN, Launch, OpSchema, Tensor, chosen
from .kernel_pack import KernelPack, OpKernels
from .plugin_symbols import Size, algebra, bind, graph_sizes, known, tuning_sizes

FIRST = (10, 9)  # Python plugins that hand over PTX
WORDS = {"float32": "FP32", "float16": "FP16", "bfloat16": "BF16", "int32": "INT32"}  # for AutoTuneCombination
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
    plugin = _Plugin(trt, trtp, kernels, ptx, algebra(trtp))
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


@dataclass(frozen=True)
class _Plugin:
    """What the three functions of one op do; ``given`` holds their arguments by name."""

    trt: Any
    trtp: Any
    kernels: OpKernels
    ptx: Mapping[str, str]
    algebra: Algebra

    @property
    def schema(self) -> OpSchema:
        return self.kernels.schema

    def describe(self, given: Mapping[str, Any]) -> tuple[Any, ...]:
        """The outputs; the first call has shapes that know nothing but their number of axes."""
        descs, t = self._descs(given), self._type(given)
        names = bind(self.schema, [graph_sizes(desc) for desc in descs], self._attributes(given))
        return tuple(
            self.trtp.from_shape_expr(
                tuple(self._value(size, names) for size in tensor.shape), getattr(self.trt, tensor.type_for(t))
            )
            for tensor in self.schema.outputs
        )

    def combinations(self, given: Mapping[str, Any]) -> list[Any]:
        """One for every type that the pack has kernels for; tactics only where there is a choice."""
        names = bind(self.schema, [tuning_sizes(desc) for desc in self._descs(given)], self._attributes(given))
        found = []
        for t in self._types():
            if launches := self._launches(t, names):
                types = ", ".join(WORDS[tensor.type_for(t)] for tensor in self._tensors())
                # 0 is TensorRT's own number for "no choice", so ours start at 1
                tactics = list(range(1, len(launches) + 1)) if len(launches) > 1 else None
                found.append(self.trtp.AutoTuneCombination(types, "LINEAR", tactics))
        if not found:
            raise self._no_kernel("any type", names)
        return found

    def launch(self, given: Mapping[str, Any]) -> tuple[str, str, Any, Any]:
        """Entry, PTX, launch parameters and scalars of the kernel that was chosen."""
        descs, t = self._descs(given), self._type(given)
        names = bind(self.schema, [graph_sizes(desc) for desc in descs], self._attributes(given))
        launches, index = self._launches(t, names), max(given["tactic"] - 1, 0)
        if index >= len(launches):
            raise self._no_kernel(f"{t}, tactic {given['tactic']}", names)
        launch = launches[index]
        parameters = self.trtp.KernelLaunchParams()
        parameters.grid_x, parameters.grid_y, parameters.grid_z = (self._value(text, names) for text in launch.grid)
        parameters.block_x, parameters.shared_mem = launch.threads, launch.shared_bytes
        scalars = self.trtp.SymIntExprs(len(launch.scalars))
        for place, text in enumerate(launch.scalars):
            scalars[place] = self.trtp.SymInt32(self._value(text, names))
        return launch.entry, self.ptx[launch.entry], parameters, scalars

    def _value(self, text: str, names: Mapping[str, Size]) -> Size:
        return parse(text).value(names, self.algebra)

    def _tensors(self) -> Sequence[Tensor]:
        return (*self.schema.inputs, *self.schema.outputs)

    def _descs(self, given: Mapping[str, Any]) -> list[Any]:
        return [given[tensor.name] for tensor in self.schema.inputs]

    def _attributes(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {attribute.name: given[attribute.name] for attribute in self.schema.attributes}

    def _types(self) -> Sequence[str]:
        """What T can be; an op without T is launched as float32."""
        return self.schema.types if any(tensor.type == "T" for tensor in self._tensors()) else ("float32",)

    def _type(self, given: Mapping[str, Any]) -> str:
        """T of these inputs; UserMistake when the inputs' types are not those of the schema."""
        found = {tensor.name: given[tensor.name].dtype for tensor in self.schema.inputs}
        for t in self._types():
            if all(found[tensor.name] == getattr(self.trt, tensor.type_for(t)) for tensor in self.schema.inputs):
                return t
        raise UserMistake(
            f"a node {self.schema.name} has inputs of types that no kernel takes",
            found=", ".join(f"{name} {type_}" for name, type_ in found.items()),
            expected=", ".join(f"{tensor.name} {tensor.type}" for tensor in self.schema.inputs),
            because=f"T is one of {', '.join(self._types())}, the same everywhere",
        )

    def _launches(self, t: str, names: Mapping[str, Size]) -> list[Launch]:
        fixed = known(names)
        try:
            return chosen(self.kernels.launches, t, fixed)
        except KeyError as error:
            raise UserMistake(
                f"a node {self.schema.name} leaves a size open that its kernels have to know",
                found=f"no number for {error.args[0]}",
                because="a kernel is compiled for it",
                attempt="export with this size fixed",
            ) from None

    def _no_kernel(self, what: str, names: Mapping[str, Size]) -> EdgesmithError:
        rules = dict.fromkeys(f"{launch.type} when {launch.when}" for launch in self.kernels.launches)
        return UserMistake(
            f"the kernel pack has no kernel for a node {self.schema.name}",
            found=f"{what}, {', '.join(f'{name} {size}' for name, size in known(names).items())}",
            expected="; ".join(rules),
            attempt="export the bundle again without plugins for this op",
        )
