"""Narrow groups of a 1x1 convolution become groups as wide as a vector register.

    x (B, C, H, W) > Conv 1x1, C / n groups of n < 16 channels > y            x > Conv 1x1, C / 16 groups of 16 > y

The new weight is block diagonal with zeros, so the result is the same. ONNX Runtime and OpenVINO compute a convolution in
their blocked layout only where a group fills a block of 16 channels; SMT's 4-channel groups (proj0, arXiv:2307.08579)
otherwise leave that layout and come back. Four times the multiplications of one layer that has few.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..base import Pattern
from ..matchers.layers import Convolution, convolution, set_weights

BLOCK = 16  # float32 lanes of AVX-512; a multiple of what AVX2 (8) and NEON (4) take


class WidenGroups(Pattern):
    """Join groups until each has 16 channels; refuses where 16 does not divide into them."""

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            found = convolution(node)
            if found is None or found.groups == 1 or found.depthwise or found.inputs >= BLOCK:
                continue
            if set(found.kernel) != {1}:
                self.decline(node, f"a {'x'.join(map(str, found.kernel))} kernel would multiply many zeros")
                continue
            join = BLOCK // found.inputs
            if BLOCK % found.inputs or found.groups % join:
                self.decline(node, f"{found.groups} groups of {found.inputs} channels do not join to {BLOCK}")
                continue
            self._widen(model, found, join)
            count += 1
        return count

    def _widen(self, model: ir.Model, found: Convolution, join: int) -> None:
        out, per_group = found.outputs // found.groups, found.inputs
        narrow = found.weight.reshape(found.groups // join, join, out, per_group)
        wide = np.zeros((found.groups // join, join, out, join, per_group))
        for index in range(join):
            wide[:, index, :, index] = narrow[:, index]
        set_weights(model, found, wide.reshape(found.outputs, join * per_group, *found.kernel))
        found.node.attributes["group"] = ir.AttrInt64("group", found.groups // join)
