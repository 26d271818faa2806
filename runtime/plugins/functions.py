"""What the three functions of a TensorRT plugin answer for one op of the kernel pack; plugins.py gives them signatures.

TensorRT calls them while it builds an engine: ``describe`` first with sizes that know nothing, then with those of the graph;
``combinations`` for the types and kernels it may time; ``launch`` for the kernel that it times or takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import EdgesmithError, UserMistake
from .expressions import Algebra, parse
from .pack import OpKernels
from .schema import Launch, OpSchema, Tensor, chosen
from .symbols import Size, bind, graph_sizes, known, tuning_sizes

WORDS = {"float32": "FP32", "float16": "FP16", "bfloat16": "BF16", "int32": "INT32"}  # for AutoTuneCombination


@dataclass(frozen=True)
class PluginFunctions:
    """One op; ``given`` holds a function's arguments by name."""

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
        try:
            return parse(text).value(names, self.algebra)
        except ZeroDivisionError:
            raise self._by_zero(text) from None

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
        except ZeroDivisionError:
            raise self._by_zero(", ".join(dict.fromkeys(one.when for one in self.kernels.launches))) from None
        except KeyError as error:
            raise UserMistake(
                f"a node {self.schema.name} leaves a size open that its kernels have to know",
                found=f"no number for {error.args[0]}",
                because="a kernel is compiled for it",
                attempt="export with this size fixed",
            ) from None

    def _by_zero(self, text: str) -> UserMistake:
        return UserMistake(
            f"a node {self.schema.name} has sizes or attributes that its kernels cannot be started with",
            found=f"{text} divides by 0",
            attempt="export the bundle again",
        )

    def _no_kernel(self, what: str, names: Mapping[str, Size]) -> EdgesmithError:
        rules = dict.fromkeys(f"{launch.type} when {launch.when}" for launch in self.kernels.launches)
        return UserMistake(
            f"the kernel pack has no kernel for a node {self.schema.name}",
            found=f"{what}, {', '.join(f'{name} {size}' for name, size in known(names).items())}",
            expected="; ".join(rules),
            attempt="export the bundle again without plugins for this op",
        )
