"""The shared assertions of the pattern tests: what a rewrite turns a small graph into, and why it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir


def parse(text: str) -> ir.Model:
    """A model from ONNX text, checked, with shapes inferred."""
    proto = onnx.parser.parse_model(text)
    onnx.checker.check_model(proto)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def weights(**shapes: tuple[int, ...]) -> str:
    """Seeded initializers in ONNX text, ``weights(w=(2, 1, 3, 3))``: vectors in [0.5, 1.5), the others of norm 1 a row."""
    rng = np.random.default_rng(7)
    rows = []
    for name, shape in shapes.items():
        fan_in = int(np.prod(shape[1:]))
        filled = rng.uniform(0.5, 1.5, shape) if fan_in == 1 else rng.standard_normal(shape) / np.sqrt(fan_in)
        numbers = ", ".join(f"{number:.4f}" for number in filled.ravel())
        rows.append(f"float[{', '.join(map(str, shape))}] {name} = {{{numbers}}}")
    return ", ".join(rows)


def run(model: ir.Model, seed: int = 0, batch: int = 2) -> list[np.ndarray]:
    """The outputs of a model on seeded normal inputs; open axes get ``batch``."""
    import onnxruntime

    proto = ir.to_proto(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(seed)
    feeds = {}
    for value in session.get_inputs():
        shape = [dim if isinstance(dim, int) else batch for dim in value.shape]
        feeds[value.name] = rng.standard_normal(shape).astype(np.float32)
    return session.run(None, feeds)


def assert_told(model: ir.Model) -> None:
    """Every value on the way has the type and the shape that inference finds for it: later passes go by them.

    And it is read by nodes of the graph alone, not by one that a pass took out.
    """
    for value in (
        *model.graph.inputs,
        *model.graph.initializers.values(),
        *(v for n in model.graph for v in n.outputs),
    ):
        assert all(usage.node.graph is not None for usage in value.uses()), f"{value.name} is read by a node that went"
    proto = ir.to_proto(model)
    del proto.graph.value_info[:]
    inferred = {
        value.name: value.type.tensor_type for value in onnx.shape_inference.infer_shapes(proto).graph.value_info
    }
    for value in (value for node in model.graph for value in node.outputs):
        right = inferred.get(value.name or "")
        if right is None or not right.HasField("shape"):
            continue
        wanted = [dim.dim_value if dim.HasField("dim_value") else None for dim in right.shape.dim]
        assert value.shape is not None, f"{value.name} has no shape, it is {wanted}"
        told = [dim if isinstance(dim, int) else dim.value for dim in value.shape]  # a number, a name or None
        fits = (size is None or old == size or isinstance(old, str) for old, size in zip(told, wanted, strict=False))
        assert len(told) == len(wanted) and all(fits), f"{value.name} is told to be {told} and is {wanted}"
        assert value.dtype is None or int(value.dtype) == right.elem_type, f"{value.name} is told to be {value.dtype}"


def op_types(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def assert_rewrites(
    step: type, text: str | ir.Model, *, to: Sequence[str], count: int = 1, rtol: float = 1e-5, atol: float = 1e-5
) -> ir.Model:
    """The pass applies ``count`` times, leaves exactly the ops ``to``, keeps the numbers, and is idempotent."""
    model = parse(text) if isinstance(text, str) else text
    before = run(model)
    assert step().run(model).count == count
    assert sorted(op_types(model)) == sorted(to)
    onnx.checker.check_model(ir.to_proto(model))
    assert_told(model)
    for old, new in zip(before, run(model), strict=True):
        np.testing.assert_allclose(new, old, rtol=rtol, atol=atol)
    assert step().run(model).count == 0, "the second run changed the graph"
    return model


def assert_refuses(step: type, text: str | ir.Model, *, because: str) -> None:
    """The pass leaves the graph alone and says why (``because`` is part of the reason)."""
    model = parse(text) if isinstance(text, str) else text
    before = op_types(model)
    record = step().run(model)
    assert record.count == 0
    assert op_types(model) == before
    reasons = [refusal.why for refusal in record.refused]
    assert any(because in why for why in reasons), f"{because!r} is in none of {reasons}"


def distance_to_eager(module: Any, graph: ir.Model, shape: tuple[int, ...]) -> float:
    """The largest difference of a graph to the torch module, on seeded images of ``shape``."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(ir.to_proto(graph).SerializeToString(), options)
    images = np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(images)).numpy()
    assert expected.std() > 1e-3, "the logits do not depend on the picture: nothing would be compared"
    return float(np.abs(session.run(None, {"images": images})[0] - expected).max())
