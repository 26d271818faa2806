"""Graphs that are nearly what a pass looks for: whatever it does with one, the numbers, names and shapes that come out stay.

A near miss is ONNX text; ``changed`` writes the usual ones from a graph that a pass takes: half precision, an opset, a
value read twice, a value handed out.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
from graph_asserts import assert_told
from onnx import numpy_helper

KINDS = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


def outputs(model: ir.Model, batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    """The outputs by name on seeded inputs; open axes get ``batch``, integers are small and not negative."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    proto = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
    rng, feeds = np.random.default_rng(seed), {}
    for value in (*session.get_inputs(), *session.get_overridable_initializers()):  # defaults are fed as well
        shape, kind = [dim if isinstance(dim, int) else batch for dim in value.shape], KINDS[value.type]
        drawn = rng.standard_normal(shape) if np.issubdtype(kind, np.floating) else rng.integers(0, 2, shape)
        feeds[value.name] = drawn.astype(kind)
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def read(text: str) -> ir.Model:
    """The model of a text; outputs without a shape, ``float[] y``, get the one that follows."""
    proto = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text), strict_mode=True)
    onnx.checker.check_model(proto)
    return ir.from_proto(proto)


def assert_sound(step: type, text: str | ir.Model, count: int | None = None, because: str = "") -> ir.Model:
    """The pass applies ``count`` times (None: as it likes), and what comes out is what came out, for two batches.

    A second run changes nothing, and where the pass raises the graph is as it was. With ``count`` 0 and ``because`` that
    is part of the reason.
    """
    model = read(text) if isinstance(text, str) else text
    written = ir.to_proto(model).SerializeToString(deterministic=True)
    batches = (2, 3) if any(not isinstance(dim, int) for value in model.graph.inputs for dim in value.shape) else (2,)
    before = {batch: outputs(model, batch) for batch in batches}
    work = step()
    try:
        record = work.run(model)
    except Exception:
        same = ir.to_proto(model).SerializeToString(deterministic=True) == written
        assert same, "the pass raised on a graph that it had changed already"
        raise
    found = [refusal.why for refusal in record.refused]
    assert count is None or record.count == count, f"applied {record.count} times; refusals {found}"
    if because:
        assert any(because in why for why in found), f"{because!r} is in none of {found}"
    if record.count == 0 and step.__name__ != "CleanUp":  # that one counts nodes that went
        old = onnx.ModelProto.FromString(written)
        assert [node.op_type for node in model.graph] == [node.op_type for node in old.graph.node], (
            "changed and not told"
        )
    onnx.checker.check_model(ir.to_proto(model))
    assert_told(model)
    for batch in batches:
        after = outputs(model, batch)
        assert list(after) == list(before[batch]), "the outputs have other names"
        for name, old in before[batch].items():
            new = after[name]
            assert (new.dtype, new.shape) == (old.dtype, old.shape), name
            limit = 2e-2 if old.dtype == np.float16 else 1e-5
            scale = max(1.0, float(np.abs(old.astype(np.float64)).max(initial=0)))
            np.testing.assert_allclose(
                new.astype(np.float64), old.astype(np.float64), rtol=0, atol=limit * scale, err_msg=name
            )
    again = step().run(model)
    assert again.count == 0, "the second run changed the graph"
    return model


def half(text: str, keep: tuple[str, ...] = ()) -> ir.Model:
    """The same graph in float16, but for the initializers called ``keep``."""
    proto = onnx.parser.parse_model(text)
    for value in (*proto.graph.input, *proto.graph.output):
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    for one in proto.graph.initializer:
        if one.data_type == onnx.TensorProto.FLOAT and one.name not in keep:
            one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one).astype(np.float16), one.name))
    proto = onnx.shape_inference.infer_shapes(proto, strict_mode=True)
    onnx.checker.check_model(proto)
    return ir.from_proto(proto)


def opset(text: str, version: int) -> str:
    import re

    return re.sub(r'"" : \d+', f'"" : {version}', text)


def graph(inputs: str, made: str, body: str, constants: str = "", version: int = 20) -> str:
    """ONNX text: ``graph("2, 3 x", "y", "y = Relu(x)")``; inputs are float, outputs of unknown shape unless told."""
    fed = ", ".join(f"float[{one.rsplit(' ', 1)[0]}] {one.rsplit(' ', 1)[1]}" for one in inputs.split("; "))
    out = ", ".join(one if "[" in one else f"float[] {one}" for one in made.split("; "))
    head = f'<ir_version: 10, opset_import: ["" : {version}]>\n'
    return f"{head}g ({fed}) => ({out})\n" + (f"<{constants}>\n" if constants else "") + "{ " + body + " }"
