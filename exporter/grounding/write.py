"""A traced part -> its ONNX file: tidied, its weights in the precision of the plan, typed, and as the engine takes it.

The weights are read, turned into what ships and written one at a time; two graphs that have one share it in the file beside
them. In a plan of 16 bits the weights of one graph are in memory at a time, else those of one layer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...calibration.precisions import PRECISIONS
from ...graph.edit import sweep
from ...graph.read import is_op, node_types
from ...runtime.ground.limits import FP32
from ..engine.fused_ops import lower
from ..engine.lower_opset import lower_opset
from ..patterns.attention.ort_attention import MICROSOFT
from ..patterns.cleanup.fold_constants import FoldConstants
from ..patterns.cleanup.fold_shapes import FoldShapes
from ..patterns.cleanup.no_ops import DropNoOps
from ..patterns.cleanup.tidy import CleanUp
from ..patterns.ort import IN_CACHE
from .few_bits.forms import BLOCKS_OPSET, Forms, Read, products
from .few_bits.store import SMALL_BYTES, Store
from .typed import SCORING, typed

if TYPE_CHECKING:
    import onnx_ir as ir

    from ..plan.plan import Plan
    from .parts.trace import Part
    from .parts.weights import Weight

LANGUAGE = "model.language_model."  # the weights that become 4 bits where a plan says so; those of the tower become 8


@dataclass(frozen=True)
class WrittenGraph:
    """One graph of the bundle: its file, what goes in and comes out as the manifest has it, and what was done to it."""

    name: str
    path: Path
    inputs: tuple[dict[str, Any], ...]
    outputs: tuple[dict[str, Any], ...]
    opset: int
    nodes: dict[str, int]
    passes: dict[str, int]
    attentions: int
    fused: dict[str, int] = field(default_factory=dict)
    precision: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    bundled: dict[str, Path] = field(default_factory=dict)


def write(name: str, part: Part, plan: Plan, forms: Forms, read: Read, folder: Path) -> WrittenGraph:
    """Write ``folder / name.onnx``; its large weights go to the store of ``forms``."""
    import onnx_ir as ir

    model = part.model
    passes = tidied(model)
    if PRECISIONS[plan.precision].quantised:
        in_few_bits(model, part.weights, forms, plan.precision)
    if in_cache(plan):
        for step in IN_CACHE:
            passes[step.__name__] = step().run(model).count
    for key, weight in part.weights.items():
        if key in model.graph.initializers:
            _lazy(model.graph.initializers[key], weight, read)
    made = typed(plan, model)
    lowered = lower(made.model, plan.plugin_route)
    model, notes = _for_parser(lowered.model, plan)
    _set_down(model, name, part.weights, forms.store)
    path = folder / f"{name}.onnx"
    ir.save(model, path)
    return WrittenGraph(
        name, path, _specs(model.graph.inputs), _specs(model.graph.outputs), model.graph.opset_imports[""],
        node_types(model), passes, attentions(model), dict(lowered.ops), dict(made.report), (*lowered.notes, *notes),
        dict(lowered.files),
    )  # fmt: skip


def attentions(model: ir.Model) -> int:
    """Softmaxes over keys, a chunk of query rows each, or nodes of an engine; that of the weighting of heads is none."""
    return sum(
        is_op(node, "MultiHeadAttention", MICROSOFT)
        or (is_op(node, "Softmax") and not str(node.name).startswith(SCORING))
        for node in model.graph
    )


def in_cache(plan: Plan) -> bool:
    """Whether the graph may hold nodes of ONNX Runtime's own, whose kernels on a CPU compute in float32."""
    return plan.target.order == "cpu" and plan.rest == FP32


def tidied(model: ir.Model) -> dict[str, int]:
    """Fold what is constant and drop what does nothing; weights have no values yet, so nothing of them is touched."""
    counts: dict[str, int] = {}
    logger = logging.getLogger("onnx_ir")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of each weight that cannot be compared with others, which is meant
    try:
        for step in (CleanUp, FoldConstants, FoldShapes, DropNoOps, CleanUp):
            counts[step.__name__] = counts.get(step.__name__, 0) + step().run(model).count
    finally:
        logger.setLevel(level)
    return counts


def in_few_bits(model: ir.Model, weights: Mapping[str, Weight], forms: Forms, precision: str) -> None:
    """Products of the language model in 4 or 8 bits, those of the vision tower in 8, the table of words in 8."""
    words = PRECISIONS[precision].bits
    for node, key in products(model, weights):
        source = weights[key].source
        forms.product(node, weights[key], words if source.startswith(LANGUAGE) else 8)
    for node in list(model.graph):
        table = node.inputs[0] if is_op(node, "Gather") else None
        found = weights.get(str(table.name)) if table is not None else None
        if found is not None and not found.layout and not found.rows and forms.nbits:
            forms.table(node, found)
    if any(is_op(node, "DequantizeLinear") and "block_size" in node.attributes for node in model.graph):
        model.graph.opset_imports[""] = max(model.graph.opset_imports[""], BLOCKS_OPSET)
    model.metadata_props["edgesmith.quantised"] = precision
    sweep(model)


def _lazy(value: ir.Value, weight: Weight, read: Read) -> None:
    import onnx_ir as ir

    assert value.shape is not None

    def make() -> ir.TensorProtocol:
        return ir.tensor(weight.of(read(weight.source)).astype(np.float32), name=value.name)

    value.const_value = ir.LazyTensor(make, ir.DataType.FLOAT, value.shape, name=value.name)


def _set_down(model: ir.Model, name: str, weights: Any, store: Store) -> None:
    """Large tensors into the store; what is made of a weight of the checkpoint is shared by all graphs, the rest is this one's."""
    import onnx_ir as ir

    for value in model.graph.initializers.values():
        tensor = value.const_value
        assert tensor is not None, f"{value.name} has no value"
        if isinstance(tensor, ir.ExternalTensor):
            continue
        places = tensor.dtype == ir.DataType.INT64  # widths of a Split and the like: shapes are inferred from them
        if places or tensor.nbytes <= SMALL_BYTES:
            value.const_value = ir.tensor(np.asarray(tensor.numpy(), order="C"), name=value.name)
            continue
        source = str(value.name).removesuffix("_fp16").removesuffix("_bf16")
        key = str(value.name) if source in weights else f"{name}/{value.name}"
        value.const_value = store.put(key, tensor.dtype, tuple(tensor.shape.numpy()), tensor.numpy)


def _for_parser(model: ir.Model, plan: Plan) -> tuple[ir.Model, list[str]]:
    """Within the opset and IR version that the device's parser reads."""
    target, have = plan.target, model.graph.opset_imports[""]
    if target.builds_here:
        return model, []
    limit, notes = target.opset_limit(plan.precision), []
    if have > limit:
        replaced = lower_opset(model, limit)
        told = ", ".join(f"{count} {op}" for op, count in replaced.items()) or "no node changed"
        notes.append(f"lowered from opset {have} to {limit} for TensorRT {target.library}: {told}")
    model.ir_version = min(model.ir_version, target.max_ir)
    return model, notes


def _specs(values: Any) -> tuple[dict[str, Any], ...]:
    found = []
    for value in values:
        assert value.dtype is not None and value.shape is not None
        shape = [dim if isinstance(dim, int) else str(dim.value) for dim in value.shape]
        found.append({"name": str(value.name), "dtype": str(value.dtype.numpy()), "shape": shape})
    return tuple(found)


def low_type(plan: Plan) -> Any:
    """ir.DataType of the floating-point part."""
    import onnx_ir as ir

    return ir.DataType[PRECISIONS[plan.rest].onnx]
