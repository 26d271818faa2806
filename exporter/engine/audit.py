"""quantised engine + fp16 engine -> what quantising really changed: kernels, attention, operand types, memory.

A graph with Q/DQ is a wish. The X-ray of the engine says what came of it: which sites run on integer tensor cores and
which are int8 in name only (codes widened to fp16 first), whether an attention block fell apart, and how many bytes the
kernels move. ``build_audited`` puts the sites around a lost attention block back to fp16 and builds again.

Figures are launches and bytes read from the plan, not latency (docs/hardware.md).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...graph.read import is_op
from ...runtime.ground.limits import FP16
from .xray import XRay, read_engine

if TYPE_CHECKING:
    import onnx_ir as ir

Make = Callable[[Mapping[str, str]], tuple["ir.Model", Collection[str]]]  # keep -> typed graph, its quantised nodes
Build = Callable[["ir.Model"], bytes]
ROUNDS = 3
PRODUCTS = ("Conv", "Gemm", "MatMul")
PRODUCT_ROLES = ("gemm", "convolution")


@dataclass(frozen=True)
class Audit:
    """Two engines of one network, side by side; ``sites`` maps each quantised node to the operand types of its kernel."""

    quantised: XRay
    float16: XRay
    sites: Mapping[str, tuple[str, ...]]
    lost: tuple[tuple[str, ...], ...] = ()  # attention blocks fused in fp16 only: the ONNX layers of each

    @property
    def real(self) -> tuple[str, ...]:
        """Sites whose kernel multiplies codes with codes."""
        return tuple(node for node in self.sites if self._real(node))

    @property
    def in_name_only(self) -> tuple[str, ...]:
        """Sites that run on 16-bit operands although the graph has codes for them."""
        return tuple(node for node in self.sites if not self._real(node))

    @property
    def moves_less(self) -> bool:
        """Whether the kernels read and write fewer bytes than those of fp16; a small batch waits for memory."""
        return self.quantised.moved_bytes < self.float16.moved_bytes

    def _real(self, node: str) -> bool:
        return any(node in kernel.layers and kernel.quantised for kernel in self.quantised.kernel_list)

    def verdict(self) -> str:
        """What to expect and what is wrong, in words."""
        before, after = self.float16, self.quantised
        words = []
        if not after.recognised or not before.recognised:
            return "nothing is known: " + "; ".join((*after.notes, *before.notes))
        if self.lost:
            words.append(f"{len(self.lost)} attention blocks fell apart")
        if self.in_name_only:
            words.append(f"{len(self.in_name_only)} of {len(self.sites)} sites are quantised in name only")
        cost = f"{after.kernels - before.kernels:+d} kernels, {after.moved_bytes / max(before.moved_bytes, 1):.2f} of the bytes"
        if self.moves_less:
            words.append(f"may win: {cost} of fp16; measure it on the device")
        else:
            words.append(f"expect fp16 to win at batch 1: {cost} of fp16; keep both and measure on the device")
        return "; ".join(words)

    def lines(self) -> list[str]:
        """A few lines for a terminal or a report."""
        pairs = (
            ("kernels", self.quantised.kernels, self.float16.kernels, ""),
            ("fused attention", self.quantised.fused_attention, self.float16.fused_attention, ""),
            ("moved", self.quantised.moved_bytes / 1e6, self.float16.moved_bytes / 1e6, " MB"),
            ("activations", self.quantised.device_memory_bytes / 1e6, self.float16.device_memory_bytes / 1e6, " MB"),
            ("constants", self.quantised.constant_bytes / 1e6, self.float16.constant_bytes / 1e6, " MB"),
            ("engine", self.quantised.engine_bytes / 1e6, self.float16.engine_bytes / 1e6, " MB"),
        )
        told = [f"{name}: {after:.4g}{unit}, fp16 {before:.4g}{unit}" for name, after, before, unit in pairs]
        told.insert(1, f"sites on integer kernels: {len(self.real)} of {len(self.sites)}")
        told += [
            f"  {node} runs on {' x '.join(self.sites[node]) or 'no kernel of its own'}" for node in self.in_name_only
        ]
        told += [f"  attention lost: {', '.join(layers)}" for layers in self.lost]
        return [*told, f"verdict: {self.verdict()}"]

    def to_json(self) -> dict[str, Any]:
        """Plain data for manifest and report."""
        return {
            "quantised": _figures(self.quantised),
            FP16: _figures(self.float16),
            "sites": len(self.sites),
            "sites_on_integer_kernels": len(self.real),
            "in_name_only": {node: list(self.sites[node]) for node in self.in_name_only},
            "attention_lost": [list(layers) for layers in self.lost],
            "verdict": self.verdict(),
        }


def _figures(xray: XRay) -> dict[str, Any]:
    keys = (
        "kernels",
        "fused_attention",
        "counts",
        "moved_bytes",
        "device_memory_bytes",
        "constant_bytes",
        "engine_bytes",
    )
    data = xray.to_json()
    return {**{key: data[key] for key in keys}, "recognised": data["recognised"]}


def audit(quantised: XRay | bytes, float16: XRay | bytes, nodes: Collection[str] = ()) -> Audit:
    """Compare two engines; ``nodes`` are the names of the quantised products."""
    after, before = (one if isinstance(one, XRay) else read_engine(one) for one in (quantised, float16))
    sites = {
        node: next((k.operands for k in after.kernel_list if k.role in PRODUCT_ROLES and node in k.layers), ())
        for node in nodes
    }
    fused = {layer for kernel in after.attention for layer in kernel.layers}
    missing = tuple(kernel.layers for kernel in before.attention if not fused & set(kernel.layers))
    # a graph of another order of passes may have other names for the same blocks: only fewer of them are a loss
    return Audit(after, before, sites, missing if after.fused_attention < before.fused_attention else ())


def quantised_products(model: ir.Model) -> tuple[str, ...]:
    """Names of the products that read an activation behind QuantizeLinear and DequantizeLinear."""
    return tuple(
        str(node.name)
        for node in model.graph
        if is_op(node, PRODUCTS) and all(_from_codes(value) for value in node.inputs[:2])
    )


def _from_codes(value: ir.Value | None) -> bool:
    node = value.producer() if value is not None else None
    return is_op(node, "DequantizeLinear")


@dataclass(frozen=True)
class Audited:
    """The engine that was kept, its graph and audit; ``given_back`` are the nodes that went back to fp16, each with why."""

    graph: ir.Model
    engine: bytes
    audit: Audit
    given_back: Mapping[str, str] = field(default_factory=dict)
    rounds: int = 1


def build_audited(make: Make, float16: XRay, build: Build, *, rounds: int = ROUNDS) -> Audited:
    """Build what ``make`` gives; while fused attention is lost, give the sites around it back and build again.

    ``make(keep)`` quantises without the nodes named in ``keep`` (name -> why). After ``rounds`` further builds, or when
    nothing around a lost block is quantised, what is there is returned: ``audit.lost`` says what could not be mended.
    """
    keep: dict[str, str] = {}
    for number in range(rounds + 1):
        graph, nodes = make(keep)
        engine = build(graph)
        found = audit(engine, float16, nodes)
        around = sites_around(graph, found.lost, nodes)
        if not around or number == rounds:
            return Audited(graph, engine, found, keep, number + 1)
        keep = {**keep, **dict.fromkeys(around, "with int8 here the attention beside it is not one kernel any more")}
    raise AssertionError("unreachable")


def sites_around(model: ir.Model, blocks: Collection[Collection[str]], nodes: Collection[str]) -> list[str]:
    """Those of ``nodes`` that are the nearest products above and below the layers of ``blocks``, or in them."""
    layers = {name for block in blocks for name in block}
    found: dict[str, None] = {}
    for upward in (True, False):
        seen: set[Any] = set()
        edge = [node for node in model.graph if node.name in layers]
        while edge:
            node = edge.pop()
            if node in seen:
                continue
            seen.add(node)
            if is_op(node, PRODUCTS) and node.name not in layers:
                found.update({str(node.name): None} if node.name in nodes else {})
                continue
            edge += _neighbours(node, upward)
    return list(found)


def _neighbours(node: ir.Node, upward: bool) -> list[ir.Node]:
    if upward:
        makers = [value.producer() for value in node.inputs if value is not None]
        return [maker for maker in makers if maker is not None]
    return [use.node for value in node.outputs for use in value.uses()]
