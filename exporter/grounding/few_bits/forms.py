"""Weights of few bits in the graph, written as the engine reads them; each is made while it is written (store.py).

    nbits      x > MatMulNBits(codes uint8 (N, K / block, block / 2), scale, zero (N, K / block))  ONNX Runtime, OpenVINO
    blocks     codes INT4 (K, N), scale (K / block, N) > DequantizeLinear<block_size> > MatMul   TensorRT, opset 21
    channels   codes INT8 (K, N), scale (N) > DequantizeLinear<axis = 1> > MatMul                every engine
    integers   DynamicQuantizeLinear(x) > MatMulInteger(codes INT8 (K, N)) > Mul(scale (N))      ONNX Runtime
    table      ids > Gather(codes INT8 (W, D)) > Cast > Mul(Gather(scale (W, 1)))                the words of the vocabulary

A weight stands in the graph as (K, N), in the checkpoint as (N, K): codes are made of the latter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ....calibration.forms.dynamic import product, quantise
from ....calibration.forms.nbits import DOMAIN
from ....graph.edit import insert, take_over
from ....graph.read import is_op
from .codes import Codes, int4_codes, int8_codes
from .store import Store, packed

if TYPE_CHECKING:
    import onnx_ir as ir

    from ....calibration.forms.dynamic import Quantised
    from ..parts.weights import Weight

NBITS_LEVEL = 0  # of MatMulNBits: computes in float32, see calibration/forms/nbits.py
BLOCKS_OPSET = 21
Read = Callable[[str], np.ndarray]  # state name -> array as the checkpoint has it


@dataclass
class Written:
    """What was written in few bits, by kind: how many, their values, and the error as energies."""

    counts: dict[str, int] = field(default_factory=dict)
    values: dict[str, int] = field(default_factory=dict)
    energies: dict[str, tuple[float, float]] = field(default_factory=dict)

    def add(self, kind: str, codes: Codes) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.values[kind] = self.values.get(kind, 0) + codes.codes.size
        signal, noise = self.energies.get(kind, (0.0, 0.0))
        self.energies[kind] = (signal + codes.signal, noise + codes.noise)


class Forms:
    """Codes of the weights of one export: made once each, whoever reads them, and put into graphs."""

    def __init__(self, store: Store, read: Read, block: int, nbits: bool, low: Any, integers: bool = False) -> None:
        """``nbits``: the engine has MatMulNBits; ``integers``: what a product of 8 bits multiplies becomes 8 bits, too."""
        self.store, self.read, self.block, self.nbits, self.low = store, read, block, nbits, low
        self.integers = integers
        self.written = Written()
        self._seen: dict[ir.Value, Quantised] = {}

    def product(self, node: ir.Node, of: Weight, bits: int) -> None:
        """``node`` is a MatMul whose second input is the weight ``of`` of the checkpoint, turned."""
        weight = node.inputs[1]
        assert weight is not None and weight.shape is not None
        inputs, outputs = (int(side) for side in weight.shape.numpy())
        blocked = bits == 4 and inputs % self.block == 0
        if blocked and self.nbits:
            self._nbits(node, of, inputs, outputs)
        elif blocked:
            self._blocks(node, of, inputs, outputs)
        elif self.integers:
            self._integers(node, of, inputs, outputs)
        else:
            self._channels(node, of, inputs, outputs)

    def table(self, node: ir.Node, of: Weight) -> None:
        """``node`` is a Gather of rows of the weight ``of``."""
        import onnx_ir as ir

        table, ids = node.inputs[0], node.inputs[1]
        assert table is not None and table.shape is not None
        words, channels = (int(side) for side in table.shape.numpy())
        made = _Once(lambda: self._codes(of, "int8 rows", int8_codes))
        codes = self._constant(node, f"{of.key} codes", ir.DataType.INT8, (words, channels), lambda: made().codes)
        scale = self._constant(node, f"{of.key} scale", ir.DataType.FLOAT, (words, 1), lambda: made().scale)
        out, name = node.outputs[0], str(node.name)
        assert out.shape is not None
        rows = insert(
            node, "Gather", [codes, ids], name=f"{name}_codes", dtype=ir.DataType.INT8, shape=out.shape, axis=0
        )
        steps = insert(node, "Gather", [scale, ids], name=f"{name}_steps", dtype=ir.DataType.FLOAT,
                       shape=[*out.shape.dims[:-1], 1], axis=0)  # fmt: skip
        floats = insert(node, "Cast", [rows], name=f"{name}_cast", dtype=ir.DataType.FLOAT, shape=out.shape,
                        to=int(ir.DataType.FLOAT))  # fmt: skip
        take_over(node, insert(node, "Mul", [floats, steps], name=f"{name}_scaled", shape=out.shape))

    def _nbits(self, node: ir.Node, of: Weight, inputs: int, outputs: int) -> None:
        import onnx_ir as ir

        made = _Once(lambda: self._codes(of, "int4 blocks", lambda weight: int4_codes(weight, self.block, zeros=True)))
        blocks = inputs // self.block
        codes = self._constant(
            node, f"{of.key} codes", ir.DataType.UINT8, (outputs, blocks, self.block // 2), lambda: packed(made().codes + 8)
        )  # fmt: skip
        scale = self._constant(node, f"{of.key} scale", ir.DataType.FLOAT, (outputs, blocks), lambda: made().scale)
        zero = self._constant(
            node, f"{of.key} zero", ir.DataType.UINT8, (outputs, (blocks + 1) // 2), lambda: _packed_zeros(made())
        )  # fmt: skip
        y = insert(
            node, "MatMulNBits", [node.inputs[0], codes, scale, zero], name=f"{node.name}_4bit", domain=DOMAIN,
            shape=node.outputs[0].shape, K=inputs, N=outputs, bits=4, block_size=self.block, accuracy_level=NBITS_LEVEL,
        )  # fmt: skip
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        take_over(node, y)
        graph.opset_imports.setdefault(DOMAIN, 1)

    def _blocks(self, node: ir.Node, of: Weight, inputs: int, outputs: int) -> None:
        import onnx_ir as ir

        made = _Once(lambda: self._codes(of, "int4 blocks", lambda weight: int4_codes(weight, self.block)))
        codes = self._constant(
            node, f"{of.key} codes", ir.DataType.INT4, (inputs, outputs), lambda: packed(np.ascontiguousarray(made().codes.T))
        )  # fmt: skip
        scale = self._scale(node, of, (inputs // self.block, outputs), lambda: made().scale.T)
        self._dequantised(node, codes, scale, axis=0, block_size=self.block)

    def _channels(self, node: ir.Node, of: Weight, inputs: int, outputs: int) -> None:
        import onnx_ir as ir

        made = _Once(lambda: self._codes(of, "int8 channels", int8_codes))
        codes = self._constant(node, f"{of.key} codes", ir.DataType.INT8, (inputs, outputs), lambda: made().codes.T)
        scale = self._scale(node, of, (outputs,), lambda: made().scale[:, 0])
        self._dequantised(node, codes, scale, axis=1)

    def _integers(self, node: ir.Node, of: Weight, inputs: int, outputs: int) -> None:
        import onnx_ir as ir

        made, x = (
            _Once(lambda: self._codes(of, "int8 channels, and what they multiply", int8_codes)),
            node.inputs[0],
        )
        assert x is not None
        codes = self._constant(node, f"{of.key} codes", ir.DataType.INT8, (inputs, outputs), lambda: made().codes.T)
        scale = self._constant(node, f"{of.key} scale", ir.DataType.FLOAT, (outputs,), lambda: made().scale[:, 0])
        if x not in self._seen:
            self._seen[x] = quantise(node, x)
        take_over(node, product(node, self._seen[x], codes, scale))

    def _scale(self, node: ir.Node, of: Weight, shape: tuple[int, ...], make: Callable[[], np.ndarray]) -> ir.Value:
        """In the type that the graph computes in around it."""
        return self._constant(node, f"{of.key} scale", self.low, shape, lambda: make().astype(self.low.numpy()))

    def _dequantised(self, node: ir.Node, codes: ir.Value, scale: ir.Value, **how: Any) -> None:
        weight = node.inputs[1]
        assert weight is not None
        found = insert(node, "DequantizeLinear", [codes, scale], name=f"{node.name}_weight", dtype=self.low,
                       shape=weight.shape, **how)  # fmt: skip
        node.replace_input_with(1, found)

    def _codes(self, of: Weight, kind: str, make: Callable[[np.ndarray], Codes]) -> Codes:
        found = make(of.part(self.read(of.source)))
        self.written.add(kind, found)
        return found

    def _constant(
        self, node: ir.Node, key: str, kind: Any, shape: tuple[int, ...], make: Callable[[], np.ndarray]
    ) -> ir.Value:
        import onnx_ir as ir

        graph = node.graph
        assert isinstance(graph, ir.Graph)
        if key not in graph.initializers:
            tensor = self.store.put(key, kind, shape, make)
            graph.register_initializer(
                ir.Value(name=key, shape=ir.Shape(shape), type=ir.TensorType(kind), const_value=tensor)
            )
        return graph.initializers[key]


def _packed_zeros(made: Codes) -> np.ndarray:
    """uint8 (N, half the blocks of a row), 8 added as the codes have it."""
    assert made.zero is not None
    return packed(np.pad(made.zero + np.int8(8), ((0, 0), (0, made.zero.shape[1] % 2))))


class _Once:
    """The result of a call that is made when it is first needed; codes and scales come of one."""

    def __init__(self, make: Callable[[], Codes]) -> None:
        self._make = make
        self._found: Codes | None = None

    def __call__(self) -> Codes:
        if self._found is None:
            self._found = self._make()
        return self._found


def products(model: ir.Model, names: Any) -> list[tuple[ir.Node, str]]:
    """The MatMuls whose second input is one of the initialisers ``names``, and which."""
    found = []
    for node in model.graph:
        weight = node.inputs[1] if is_op(node, "MatMul") else None
        if weight is not None and weight.is_initializer() and weight.name in names:
            found.append((node, str(weight.name)))
    return found
