"""A Focus stem, the four phases of an image as channels and a convolution on them, is one convolution of the image.

    x (B, C, H, W) > 4 x [rows r::2, columns c::2] > Concat (B, 4C, H/2, W/2) > Conv k x k, stride s, pads p > y
    x (B, C, H, W) > Conv 2k x 2k, stride 2s, pads 2p > y

Row i of phase r is row 2i + r of x, so tap t of phase r reads what tap 2t + r of the wide kernel reads, and the weights only
move; zeros around a phase are zeros around x. DAMO-YOLO's stem (arXiv:2211.15444) is k = 3, s = 1, p = 1.

Exact for every size that the exported graph takes. With an odd one its Concat fails and this convolution would not, so a
known odd size is refused; where sizes are open, the session checks them before it runs the graph.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ....graph.edit import sweep
from ....graph.read import attribute, constant, only_consumer, sizes
from ..base import Pattern
from ..matchers.layers import Convolution, convolution, set_weights

ROWS, COLUMNS = 2, 3
TO_THE_END = 2**31 - 1  # what exporters write, or more, for "as far as there is"
Cut = tuple[int, int, int]  # start, end, step


class FocusConvolution(Pattern):
    """Fold the phases, in whatever order they stand; refuses slices that end early, groups, dilation and other readers."""

    def apply(self, model: ir.Model) -> int:
        count = sum(self._fold(model, node) for node in list(model.graph) if node.op_type == "Conv" and not node.domain)
        if count:
            sweep(model)
        return count

    def _fold(self, model: ir.Model, node: ir.Node) -> bool:
        concat = node.inputs[0].producer() if node.inputs[0] is not None else None
        if concat is None or concat.op_type != "Concat" or len(concat.inputs) != 4 or attribute(concat, "axis") != 1:
            return False
        phases = [cuts(value) for value in concat.inputs]
        x = phases[0][0]
        if any(set(axes) != {ROWS, COLUMNS} for _, axes in phases):
            return False  # a Concat of something else
        if x is None or any(source is not x for source, _ in phases):
            self.decline(node, "the phases are slices of different values")
            return False
        found = convolution(node)
        if why := self._unfit(found, x, [axes for _, axes in phases]):
            self.decline(node, why)
            return False
        assert found is not None
        starts = [(axes[ROWS][0], axes[COLUMNS][0]) for _, axes in phases]
        set_weights(model, found, woven(found.weight, starts))
        node.replace_input_with(0, x)
        strides = attribute(node, "strides", (1, 1))
        node.attributes.pop("auto_pad", None)  # VALID is no padding, and may not stand beside pads
        for name, numbers in (("kernel_shape", found.kernel), ("strides", strides), ("pads", found.pads)):
            node.attributes[name] = ir.AttrInt64s(name, [2 * int(number) for number in numbers])
        return True

    def _unfit(self, found: Convolution | None, x: ir.Value, phases: list[dict[int, Cut]]) -> str:
        """Why these slices and this convolution are no Focus; empty when they are."""
        if found is None or found.axes != 2:
            return "the weights of the convolution must be constants"
        if only_consumer(found.x) is not found.node:
            return "the concatenated phases have other uses"
        if found.groups != 1 or set(attribute(found.node, "dilations", (1, 1))) != {1}:
            return "expected a convolution of one group without dilation: another mixes the phases differently"
        if attribute(found.node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            return "the padding is computed at run time (auto_pad)"
        starts = [(axes[ROWS][0], axes[COLUMNS][0]) for axes in phases]
        if sorted(starts) != [(0, 0), (0, 1), (1, 0), (1, 1)]:
            return f"phases {starts}, expected each of the four once"
        shape = sizes(x) or (None,) * 4
        for axis in (ROWS, COLUMNS):
            size = shape[axis]
            if isinstance(size, int) and size % 2:
                return f"{size} {'rows' if axis == ROWS else 'columns'} are no whole number of pairs"
            last = size if isinstance(size, int) else TO_THE_END
            for _, end, step in (axes[axis] for axes in phases):
                if step != 2 or end < last:
                    return f"a slice with step {step} that ends at {end}, expected step 2 to the end"
        return ""


def woven(weight: np.ndarray, starts: list[tuple[int, int]]) -> np.ndarray:
    """(O, 4C, k, k) over the phases that begin at ``starts`` -> (O, C, 2k, 2k) over the image."""
    outputs, channels, height, width = weight.shape
    wide = np.zeros((outputs, channels // 4, 2 * height, 2 * width))
    for (row, column), phase in zip(starts, np.split(weight, 4, axis=1), strict=True):
        wide[:, :, row::2, column::2] = phase
    return wide


def cuts(value: ir.Value | None) -> tuple[ir.Value | None, dict[int, Cut]]:
    """What a chain of Slices starts from, and (start, end, step) of the axes that it cuts, each once."""
    axes: dict[int, Cut] = {}
    while value is not None and (node := value.producer()) is not None and node.op_type == "Slice" and not node.domain:
        found = _cuts_of(node)
        if found is None or set(found) & set(axes):
            break
        axes |= found
        value = node.inputs[0]
    return value, axes


def _cuts_of(node: ir.Node) -> dict[int, Cut] | None:
    """The cuts of one Slice by axis; None when they are computed at run time or count axes or places from behind."""
    arrays = [constant(value) for value in node.inputs[1:]]
    if any(array is None for array in arrays) or len(arrays) < 3:
        return None
    starts, ends, axes, *steps = (array.ravel().tolist() for array in arrays if array is not None)
    step_list = steps[0] if steps else [1] * len(starts)
    if not axes or min(*axes, *starts, *ends) < 0:
        return None
    return {axis: cut for axis, *cut in zip(axes, starts, ends, step_list, strict=True)}  # type: ignore[misc]
