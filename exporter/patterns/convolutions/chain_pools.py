"""Spatial pyramid pooling: max-pools of growing windows on one map become a chain of small ones.

    x > MaxPool 5, MaxPool 9, MaxPool 13 (stride 1, same size) > p5, p9, p13
    x > MaxPool 5 > p5 > MaxPool 5 > p9 > MaxPool 5 > p13

A window is the union of the first small ones whose centres lie in the second; at the border too, since padding never wins
and every cell of the map within reach is reached by steps inside the map. So this is exact, and DAMO-YOLO's 5, 9 and 13
(arXiv:2211.15444) compare 75 numbers a cell instead of 275.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import onnx_ir as ir

from ....graph.read import attribute
from ..base import Pattern


class ChainPools(Pattern):
    """Chain the max-pools of one map; refuses strides, other padding and windows of which none contains the other."""

    def apply(self, model: ir.Model) -> int:
        pools = defaultdict(list)
        for node in model.graph:
            if node.op_type == "MaxPool" and not node.domain:
                pools[node.inputs[0]].append(node)
        count = sum(self._chain(found) for found in pools.values() if len(found) > 1)
        if count:
            model.graph.sort()  # a wide pool may stand before the narrow one that it now reads
        return count

    def _chain(self, pools: list[ir.Node]) -> bool:
        pools = sorted(pools, key=_kernel)
        for pool in pools:
            if why := _unfit(pool):
                self.decline(pool, why)
                return False
        for narrow, wide in pairwise(pools):
            before, after = _kernel(narrow), _kernel(wide)
            if before == after or any(b > a for b, a in zip(before, after, strict=True)):
                self.decline(wide, f"a window of {after} is no wider form of one of {before}")
                return False
        kernels = [_kernel(pool) for pool in pools]
        for (narrow, wide), (before, after) in zip(pairwise(pools), pairwise(kernels), strict=True):
            step = [a - b + 1 for b, a in zip(before, after, strict=True)]
            wide.replace_input_with(0, narrow.outputs[0])
            wide.attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", step)
            wide.attributes["pads"] = ir.AttrInt64s("pads", [size // 2 for size in step] * 2)
        return True


def _kernel(pool: ir.Node) -> tuple[int, ...]:
    return tuple(attribute(pool, "kernel_shape"))


def _unfit(pool: ir.Node) -> str:
    """Why a pool is not one of stride 1 that keeps the size and the centre; empty when it is."""
    kernel = _kernel(pool)
    if any(value.uses() or value.is_graph_output() for value in pool.outputs[1:]):
        return "the places of the maxima are read, and a chain counts them in another map"
    half = tuple(size // 2 for size in kernel)
    same_size = (
        all(size % 2 for size in kernel)
        and set(attribute(pool, "strides", (1,))) == {1}
        and set(attribute(pool, "dilations", (1,))) == {1}
        and attribute(pool, "auto_pad", "NOTSET") == "NOTSET"
        and tuple(attribute(pool, "pads", (0,))) == half + half
    )
    return "" if same_size else f"a pool of {kernel} has a stride, a dilation or padding that moves its centre"
