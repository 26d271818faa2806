"""Factors on a residual trunk go into the convolutions around it, by a change of variables.

    v[k+1] = a[k] * v[k] + Conv_k(... reads of v[k] ...)        a[k] (C, 1, 1) or nothing

With z[k] = v[k] / c[k] and c[k] = c[k+1] / a[k], c = 1 at the end of the trunk, every factor becomes 1: the convolution that
starts the trunk is divided by c[0], each convolution that reads v[k] multiplied by c[k] on its input channels (exact with
zero padding too), each branch's last convolution divided by c[k+1]. No node is left on the shortcut but its Add.

FoldNormalisedShortcut leaves such factors in VAN. Where c would leave [1/16, 16] (a channel that the trunk almost
forgets), the factor of that block stays, so that float16 keeps its range.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ....graph.edit import replace_value, shared_constant
from ....graph.read import only_consumer
from ..base import Pattern
from ..matchers.held import unheld
from ..matchers.layers import Convolution, channel_vector, convolution, set_weights, spread

LIMIT = 16.0


@dataclass(frozen=True, eq=False)
class Link:
    """One block of a trunk: v[k] is read by convolutions, carried by ``factor`` (or by 1) into ``add`` with ``branch``."""

    value: ir.Value
    readers: tuple[Convolution, ...]
    mul: ir.Node | None
    factor: np.ndarray  # (C,)
    add: ir.Node
    branch: Convolution


class RescaleTrunk(Pattern):
    """Take the constant factors off residual trunks; counts the factors that went."""

    runs_after = ("FoldNormalisedShortcut",)

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            start = convolution(node)
            if start is not None and (trunk := self._trunk(start)):
                count += self._rescale(model, start, trunk)
        return count

    def _trunk(self, start: Convolution) -> list[Link]:
        """The links from the convolution that starts a trunk up to the first value that something else reads."""
        links: list[Link] = []
        value = start.y
        while (link := self._link(value, start)) is not None:
            links.append(link)
            value = link.add.outputs[0]
        while links and links[-1].mul is None:  # behind the last factor nothing has to change
            links.pop()
        return links

    def _link(self, value: ir.Value, start: Convolution) -> Link | None:
        channels, rank = start.outputs, start.stored.ndim
        if value.is_graph_output():
            return None
        found = [(usage.node, convolution(usage.node) if usage.idx == 0 else None) for usage in value.uses()]
        readers = [layer for _, layer in found if layer is not None]
        carry = [node for node, layer in found if layer is None]
        if len(carry) != 1:
            return None
        node, factor, mul = carry[0], np.ones(channels), None
        if node.op_type == "Mul" and not node.domain:
            other = node.inputs[1] if node.inputs[0] is value else node.inputs[0]
            vector = channel_vector(other, channels, start.axes, rank)
            add = only_consumer(node.outputs[0])
            if vector is None or add is None:
                return None
            node, factor, mul = add, vector, node
        if node.op_type != "Add" or node.domain:
            return None
        carried = value if mul is None else mul.outputs[0]
        other = node.inputs[1] if node.inputs[0] is carried else node.inputs[0]
        branch = convolution(other.producer()) if other is not None else None
        if branch is None or only_consumer(branch.y) is not node or branch.outputs != channels:
            return None
        return Link(value, tuple(readers), mul, factor, node, branch)

    def _rescale(self, model: ir.Model, start: Convolution, trunk: list[Link]) -> int:
        scales, kept = self._plan(trunk)
        gone = [link for link in trunk if link.mul is not None and link not in kept]
        if not gone:
            return 0
        if why := _unheld(start, trunk, scales, kept):
            self.decline(start.node, why)
            return 0
        self._scale_output(model, start.node, scales[0])
        for link, here, after in zip(trunk, scales[:-1], scales[1:], strict=True):
            for reader in link.readers:
                found = convolution(reader.node)  # read again: a branch of one layer is reader and last at once
                assert found is not None
                set_weights(model, found, found.scaled_inputs(here))
            self._scale_output(model, link.branch.node, after)
            if link.mul is None:
                continue
            if link in kept:
                left = spread(link.factor / after, start.axes).astype(start.stored.dtype)
                link.mul.replace_input_with(
                    int(link.mul.inputs[0] is link.value), shared_constant(model, "trunk_scale", left)
                )
            else:
                replace_value(link.mul.outputs[0], link.value)
                model.graph.remove(link.mul, safe=True)
        return len(gone)

    def _plan(self, trunk: list[Link]) -> tuple[list[np.ndarray], list[Link]]:
        """c[k] for every value of the trunk, its end included, and the links that keep their factor."""
        scales, kept = [np.ones(len(trunk[0].factor))], []
        for link in reversed(trunk):
            with np.errstate(divide="ignore"):
                here = scales[0] / link.factor
            if not ((np.abs(here) <= LIMIT) & (np.abs(here) >= 1 / LIMIT)).all():
                self.decline(
                    link.mul or link.add, f"scales of the trunk would leave [1/{LIMIT:g}, {LIMIT:g}]: its factor stays"
                )
                here = np.ones_like(here)
                kept.append(link)
            scales.insert(0, here)
        return scales, kept

    def _scale_output(self, model: ir.Model, node: ir.Node, scale: np.ndarray) -> None:
        found = convolution(node)
        assert found is not None
        set_weights(model, found, found.scaled_outputs(1 / scale), found.bias / scale)


def _unheld(start: Convolution, trunk: list[Link], scales: list[np.ndarray], kept: list[Link]) -> str:
    """Why the rescaled numbers would leave the range of the graph's type; empty when they would not."""
    inputs: dict[ir.Node, np.ndarray] = {}  # a convolution can be a reader and end the same branch
    layers, outputs = {start.node: start}, {start.node: scales[0]}
    for link, here, after in zip(trunk, scales[:-1], scales[1:], strict=True):
        inputs.update({reader.node: here for reader in link.readers})
        outputs[link.branch.node] = after
        layers.update({layer.node: layer for layer in (*link.readers, link.branch)})
        if link in kept and (why := unheld(start.stored.dtype, link.factor / after)):
            return why
    for node, layer in layers.items():
        weight = layer.scaled_inputs(inputs[node]) if node in inputs else layer.weight
        scale = outputs.get(node, np.ones(layer.outputs))
        if why := unheld(layer.stored.dtype, weight / spread(scale, layer.axes + 1), layer.bias / scale):
            return why
    return ""
