"""sites + scales -> chains of integer kernels on unsigned codes: the form of convolutional networks on a CPU.

    x > Q > DQ > Conv(., DQ(codes), DQ(bias)) > Q > DQ > Sigmoid > Q > DQ > Mul > Q > DQ > Conv ...

ONNX Runtime computes QLinearConv, QLinearSigmoid, QLinearMul ... where a node stands between DequantizeLinear and
QuantizeLinear, and float32 everywhere else.  So here outputs are quantised too: a Conv with a float output runs at 0.6 of
float32, a Conv within a chain at 3 times (one thread).  Codes are unsigned with a zero point, since SiLU is one-sided, and
each value has one QuantizeLinear and a DequantizeLinear for every reader.  TensorRT refuses zero points: this form is for
ONNX Runtime alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...graph.edit import add_constant, insert, sweep
from ...graph.read import constant
from ..nouns import Range, Recipe, ScaleTable, Site, WeightScales
from ..sites.observed import chain_nodes, chain_values

if TYPE_CHECKING:
    import onnx_ir as ir

MOST_BIAS = 2**30  # half of what int32 holds: the sums of the products come on top


def insert_u8(model: ir.Model, sites: Sequence[Site], scales: ScaleTable, recipe: Recipe) -> ir.Model:
    """A copy of ``model`` (float32) whose chains through the sites in ``scales.weights`` run on uint8 codes.

    ``scales.values`` has the range of every value that ``observed.chain_values`` names for these sites; a site's own input
    may stand in ``scales.activations``.

    Raises:
        KeyError: a value of a chain has no range.
    """
    model = model.clone()
    chosen = {site.node: site for site in sites if site.node in scales.weights}
    chains = chain_nodes(model, set(chosen))
    given = {site.input: scales.activations[name] for name, site in chosen.items() if name in scales.activations}
    given.update(scales.values)
    ranges = {value: given[str(source.name)] for value, source in chain_values(model, set(chosen)).items()}
    for node in chains:
        if node.name in chosen and node.inputs[0] is not None:
            _weight(model, node, scales.weights[str(node.name)], ranges[node.inputs[0]])
    for value, found in ranges.items():
        _quantise(model, value, found, chains)
    sweep(model)
    return model


def _weight(model: ir.Model, node: ir.Node, weight: WeightScales, source: Range) -> None:
    """int8 codes behind DequantizeLinear, and the bias in int32 at the scale of the sums: input times weight."""
    import onnx_ir as ir

    name, axis = str(node.name), weight.axis
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    scale, integers = _fit_for_bias(weight, bias, np.float32(source.scale))
    steps = add_constant(model, f"{name}_weight_scale", scale)
    codes = add_constant(model, f"{name}_weight_codes", integers)
    zero = add_constant(model, f"{name}_weight_zero", np.zeros(scale.shape, np.int8))
    real = insert(
        node, "DequantizeLinear", [codes, steps, zero], output=f"{name}_weight", name=f"{name}_weight_DQ",
        dtype=ir.DataType.FLOAT, shape=ir.Shape(weight.codes.shape), axis=axis,
    )  # fmt: skip
    node.replace_input_with(1, real)
    if bias is None:
        return
    sums = (scale * np.float32(source.scale)).astype(np.float32)
    whole = np.clip(np.rint(bias.astype(np.float64) / sums), -(2**31), 2**31 - 1).astype(np.int32)
    real = insert(
        node, "DequantizeLinear",
        [add_constant(model, f"{name}_bias_codes", whole), add_constant(model, f"{name}_bias_scale", sums)],
        output=f"{name}_bias", name=f"{name}_bias_DQ", dtype=ir.DataType.FLOAT, shape=ir.Shape(bias.shape), axis=0,
    )  # fmt: skip
    node.replace_input_with(2, real)


def _fit_for_bias(weight: WeightScales, bias: np.ndarray | None, source: np.float32) -> tuple[np.ndarray, np.ndarray]:
    """Scales (N,) and int8 codes of a weight, coarser where a channel's bias would not fit into int32 at the scale of its sums.

    So it is for a channel of zeros, or nearly so: all that it says is its bias. The scale of the sums stays a normal number,
    too: OpenVINO computes with none smaller.
    """
    scale = weight.scale.astype(np.float32).reshape(-1)
    if bias is None:
        return scale, weight.codes
    least = np.maximum(np.abs(bias.astype(np.float64)) / MOST_BIAS, np.finfo(np.float32).tiny) / np.float64(source)
    fitted = np.where(scale < least, least * (1 + 1e-6), scale).astype(np.float32)  # rounded down it would be too small
    if np.array_equal(fitted, scale):
        return scale, weight.codes
    shape = [1] * weight.codes.ndim
    shape[weight.axis] = -1
    return fitted, np.rint(weight.codes * (scale.astype(np.float64) / fitted).reshape(shape)).astype(np.int8)


def _quantise(model: ir.Model, value: ir.Value, found: Range, chains: Mapping[ir.Node, None]) -> None:
    """One QuantizeLinear behind the value, one DequantizeLinear before each reader.

    Readers outside the chains read the float value, unless a chain makes it: then only its codes exist.
    """
    import onnx_ir as ir

    name, graph, producer = str(value.name), model.graph, value.producer()
    readers = [(use.node, use.idx) for use in value.uses() if use.node in chains or producer in chains]
    scale = add_constant(model, f"{name}_scale", np.float32(found.scale))
    zero = add_constant(model, f"{name}_zero", np.uint8(found.zero_point))
    codes = ir.Value(name=f"{name}_codes", type=ir.TensorType(ir.DataType.UINT8), shape=value.shape)
    quantise = ir.node("QuantizeLinear", [value, scale, zero], outputs=[codes], name=f"{name}_Q")
    if producer is not None:
        graph.insert_after(producer, quantise)
    else:
        graph.insert_before(graph[0], quantise)
    for count, (reader, index) in enumerate(readers):
        real = insert(
            reader, "DequantizeLinear", [codes, scale, zero], output=f"{name}_real_{count}", name=f"{name}_DQ_{count}",
            dtype=ir.DataType.FLOAT, shape=value.shape,
        )  # fmt: skip
        reader.replace_input_with(index, real)
