"""A convolutional network as detectors have it: 3x3 and 1x1 convolutions with SiLU, in blocks that split, add and join."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper


class _Net:
    def __init__(self, seed: int) -> None:
        self.rng, self.nodes, self.arrays = np.random.default_rng(seed), [], []

    def node(self, op: str, inputs: list[str], **attributes) -> str:
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"node_{name}", **attributes))
        return name

    def constant(self, array: np.ndarray) -> str:
        name = f"w_{len(self.arrays)}"
        self.arrays.append(numpy_helper.from_array(array, name))
        return name

    def conv(self, x: str, channels: int, outputs: int, kernel: int, stride: int = 1, silu: bool = True) -> str:
        weight = self.rng.standard_normal((outputs, channels, kernel, kernel)) * np.sqrt(2.5 / (channels * kernel**2))
        bias = self.rng.standard_normal(outputs) * 0.1
        inputs = [x, self.constant(weight.astype(np.float32)), self.constant(bias.astype(np.float32))]
        y = self.node("Conv", inputs, pads=[kernel // 2] * 4, strides=[stride] * 2)
        return self.node("Mul", [y, self.node("Sigmoid", [y])]) if silu else y

    def block(self, x: str, channels: int, deep: int) -> str:
        """Two halves; one goes through residual pairs of 1x1 and 3x3; joined by a 1x1."""
        half = channels // 2
        left, right = self.conv(x, channels, half, 1), self.conv(x, channels, half, 1)
        for _ in range(deep):
            left = self.node("Add", [left, self.conv(self.conv(left, half, half, 1), half, half, 3)])
        return self.conv(self.node("Concat", [left, right], axis=1), channels, channels, 1)


def silu_detector(size: int = 64, width: int = 16, stages: int = 3, deep: int = 1, seed: int = 0) -> ir.Model:
    """images (1, 3, size, size) -> boxes (1, 8, size / 2^stages, ...), random weights; ``deep`` residual pairs a block."""
    net = _Net(seed)
    x, channels = net.conv("images", 3, width, 3, 2), width
    for stage in range(stages):
        x = net.conv(x, channels, channels * 2, 3, 2)
        channels *= 2
        x = net.block(x, channels, deep)
        if stage == stages - 2:
            middle = x
    pooled = net.node("MaxPool", [x], kernel_shape=[5, 5], pads=[2] * 4, strides=[1, 1])
    x = net.conv(net.node("Concat", [x, pooled], axis=1), channels * 2, channels // 2, 1)
    scales = net.constant(np.array([1, 1, 2, 2], np.float32))
    x = net.node(
        "Resize", [x, "", scales], mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )
    x = net.block(net.node("Concat", [x, middle], axis=1), channels, deep)
    boxes = net.conv(x, channels, 8, 1, silu=False)
    net.nodes.append(helper.make_node("Identity", [boxes], ["boxes"], name="out"))
    graph = helper.make_graph(
        net.nodes, "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 8, *[size >> stages] * 2])], net.arrays,
    )  # fmt: skip
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10))
