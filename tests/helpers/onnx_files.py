"""Small ONNX files as other tools write them: a classifier of pictures in any opset, a table of words with two inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

SIDE, CLASSES, WORDS, WIDTH = 16, 5, 20, 8
PICTURES = """
<ir_version: {ir}, opset_import: ["" : {opset}{mine}]>
net (float[{batch}, 3, 16, 16] pixels) => (float[{batch}, 5] scores)
{{
  conv = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(pixels, filters, shifts)
  normed = BatchNormalization(conv, scale, bias, mean, var)
  bent = {bent}(normed)
  wide = Conv<pads = [1, 1, 1, 1]>(bent, more)
  up = Relu(wide)
  pooled = GlobalAveragePool(up)
  flat = Flatten<axis = 1>(pooled)
  scores = Gemm<transB = 1>(flat, rows, offsets)
}}
"""
SWISH = """
<domain: "mine", opset_import: ["" : {opset}]>
Swish (x) => (y)
{{
  gate = Sigmoid(x)
  y = Mul(x, gate)
}}
"""
TWO = """
<ir_version: 8, opset_import: ["" : 13]>
net (int64[n, t] ids, float[n, t] weights) => (float[n, t, 8] "tokens/out:0", float[n, 8] pooled, int64[n] best)
<int64[1] last = {2}>
{
  words = Gather(table, ids)
  column = Unsqueeze(weights, last)
  weighed = Mul(words, column)
  "tokens/out:0" = MatMul(weighed, product)
  pooled = ReduceMean<axes = [1], keepdims = 0>("tokens/out:0")
  best = ArgMax<axis = 1, keepdims = 0>(pooled)
}
"""


def weights() -> dict[str, np.ndarray]:
    """Of the classifier; the statistics of its norm are none that a fresh layer has."""
    rng = np.random.default_rng(7)
    shapes = {"filters": (8, 3, 3, 3), "shifts": (8,), "scale": (8,), "bias": (8,), "mean": (8,), "more": (8, 8, 3, 3),
              "rows": (CLASSES, 8), "offsets": (CLASSES,)}  # fmt: skip
    found = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return {**found, "var": rng.uniform(0.5, 2.0, 8).astype(np.float32)}


def classifier(
    path: Path,
    opset: int = 17,
    batch: str | int = "n",
    function: bool = False,
    as_inputs: bool = False,
    softmax: bool = False,
) -> Path:
    """pixels (n, 3, 16, 16) > Conv, BatchNormalization, Relu or a function of the file, Conv, Relu, mean, Gemm > scores (n, 5)."""
    ir = 3 if as_inputs else 7 if opset < 15 else 8 if opset < 19 else 10
    text = PICTURES.format(
        ir=ir,
        opset=opset,
        batch=batch,
        bent="mine.Swish" if function else "Relu",
        mine=', "mine" : 1' if function else "",
    )
    model = onnx.parser.parse_model(text)
    if softmax:
        model.graph.node[-1].output[0] = "logits"
        model.graph.node.append(onnx.helper.make_node("Softmax", ["logits"], ["scores"], axis=1))
    if function:
        model.functions.append(onnx.parser.parse_function(SWISH.format(opset=opset)))
    for name, array in weights().items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
        if as_inputs:
            model.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, array.shape))
    onnx.save(model, path)
    return path


def beside(source: Path, path: Path) -> Path:
    """The same file with its weights in another."""
    onnx.save(onnx.load(source), path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)
    return path


def two_inputs(path: Path) -> Path:
    """ids (n, t), weights (n, t) > tokens (n, t, 8) with a name that no file has, their mean (n, 8), its largest place (n)."""
    rng = np.random.default_rng(3)
    model = onnx.parser.parse_model(TWO.replace('"tokens/out:0"', "tokens"))
    for name, shape in (("table", (WORDS, WIDTH)), ("product", (WIDTH, 8))):
        array = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    for value in (*model.graph.output, *(name for node in model.graph.node for name in [node])):
        _rename(value, "tokens", "tokens/out:0")
    onnx.save(model, path)
    return path


def _rename(thing: onnx.ValueInfoProto | onnx.NodeProto, old: str, new: str) -> None:
    if isinstance(thing, onnx.ValueInfoProto):
        thing.name = new if thing.name == old else thing.name
        return
    for names in (thing.input, thing.output):
        names[:] = [new if name == old else name for name in names]


def arrays(batch: int = 3, tokens: int = 16) -> dict[str, np.ndarray]:
    """What ``two_inputs`` takes."""
    rng = np.random.default_rng(5)
    return {
        "ids": rng.integers(0, WORDS, (batch, tokens)),
        "weights": rng.standard_normal((batch, tokens)).astype(np.float32),
    }
