"""A small net with every layout that is observed, and images that come the same way every time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
from graph_asserts import parse, weights

TENSORS = {"images": 1, "body": 1, "tokens": -1, "hidden": -1}

_WEIGHTS = weights(stem=(8, 3, 3, 3), conv=(8, 8, 1, 1), fc1=(8, 24), fc2=(24, 5))
TEXT = f"""
<ir_version: 10, opset_import: ["" : 18]>
small (float[batch, 3, 16, 16] images) => (float[batch, 5] logits)
<{_WEIGHTS}, int64[3] rows = {{0, 8, -1}}, int64[1] axis = {{1}}>
{{
  stemmed = Conv<pads = [1, 1, 1, 1]>(images, stem)
  body = Relu(stemmed)
  conved = Conv(body, conv)
  flat = Reshape(conved, rows)
  tokens = Transpose<perm = [0, 2, 1]>(flat)
  wide = MatMul(tokens, fc1)
  gate = Sigmoid(wide)
  hidden = Mul(wide, gate)
  classes = MatMul(hidden, fc2)
  logits = ReduceMean<keepdims = 0>(classes, axis)
}}
"""


def small_net(text: str = TEXT) -> ir.Model:
    return parse(text)


class RandomImages:
    """``count`` seeded images (3, 16, 16); ``fed`` is how many were handed out."""

    contract = None

    def __init__(self, count: int, seed: int = 0, size: int = 16) -> None:
        self.count, self.seed, self.size, self.fed = count, seed, size, 0
        self.digest = hashlib.sha256(f"{count} {seed} {size}".encode()).hexdigest()

    def __len__(self) -> int:
        return self.count

    def batches(self, size: int, start: int = 0) -> Iterator[np.ndarray]:
        for first in range(start, self.count, size):
            which = range(first, min(first + size, self.count))
            self.fed += len(which)
            yield np.stack([self.image(number) for number in which])

    def image(self, number: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, number])
        return (rng.standard_normal((3, self.size, self.size)) * (1 + number % 7)).astype(np.float32)
