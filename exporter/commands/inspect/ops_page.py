"""docs/fused_ops.md, written from the declarations and the targets: ``python -m edgesmith.exporter.commands.inspect.ops_page``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from ....runtime.ground.files import replace_file
from ....runtime.ground.words import NOT_ON_HARDWARE
from ....runtime.plugins.schema import DOMAIN, OpSchema, Tensor
from ....runtime.report.graph import ROUTES
from ...plugins.declaration import FusedOp

PAGE = Path(__file__).parents[3] / "docs" / "fused_ops.md"
HEAD = f"""# Fused ops

A fused op is one node of the domain `{DOMAIN}`. Each is declared once, in `exporter/plugins/<op>.py`: interface, definition in
numpy (float64 inside), body in standard ONNX operators, Triton kernel with its launch rule. Everything else is generated from
that, this page too (`make kernels`).

The body travels inside the model, so no engine needs a plugin: ONNX Runtime runs it as it is, and for engines that take no
plugins an export writes it out in place of the node ([routes](#routes)). On TensorRT 10.9 and later a quick-deployable plugin takes
the node instead and runs the kernel, which travels as PTX in the bundle. **A plugin exists to be faster than the plain graph, and no
GPU has measured one yet: none is used unless asked for (`--plugins`).** What has run where, and the missing step: [hardware.md](hardware.md).

`edgesmith inspect --ops MODEL` shows which fused ops a model holds and what each target makes of them.
Registers and spills of every kernel on every chip: [benchmarks/kernels.md](../benchmarks/kernels.md). What fused ops change that can
be seen without a GPU, nodes, file size and launches: [benchmarks/fused_ops.md](../benchmarks/fused_ops.md). Which scheme of quantised keys
survives a large key bias: [benchmarks/kv_schemes.md](../benchmarks/kv_schemes.md); what a cache weighs: `edgesmith kv-bytes`.
"""

CACHES = """## Quantised keys and values

Keys are quantised a channel over groups of 64 tokens, values a token and plane of channels, in 8, 4 or 2 bits, packed as INT32 words
(TensorRT refuses UINT8 between layers). Such a cache can be read in two ways: `DequantizeK` and `DequantizeV` in front of the
engine's own attention, which works everywhere, or `PrefixAttention` (new tokens over a packed prefix) and `KVAttentionPartial` with
`KVAttentionCombine` (one new token, the cache in shares), which fold scales into queries and probabilities.

Keys with a large bias, as Qwen2.5 has: RoPE is linear, so K = R(k') + R(b) exactly. Quantise R(k') and add R(b) when reading: behind
`DequantizeK`, or in `PrefixAttentionBiased` and `KVAttentionPartialBiased`, which take the bias and the rotary tables of the cached
tokens. They are ops of their own because a plugin has a fixed number of inputs; the two without a bias have the interface and the
kernels they had, so graphs, kernel packs and bundles that hold them stay good.
`DequantizeRotatedK` reads the alternative scheme RotateKV; `exporter/plugins/rotated_keys.py` writes and reads it in a torch module.

A screen (`edgesmith kv-bytes`; Qwen2.5-VL-3B: 36 layers, 2 kv heads of 128, hidden 2048; 99 tokens of text and 2691 of 1920x1080): bytes
a token and kv head, bytes a token in all layers, and with the sums over the picture's tokens the megabytes of one screen. The formula
is the pool's (`runtime/tasks/grounding/screens/kv_bytes.py`); `edgesmith kv-bytes BUNDLE` tells a bundle's own sizes of screen.
"""


def page(ops: Iterable[FusedOp]) -> str:
    """The whole page as Markdown."""
    ops = list(ops)
    parts = [
        HEAD,
        "## Routes",
        "",
        routes(),
        "",
        CACHES,
        caches(),
        "",
        "## Ops",
        "",
        "| op | what it does | source |",
        "|---|---|---|",
    ]
    parts += [f"| [{op.name}](#{op.name.lower()}) | {op.summary} | {op.source} |" for op in ops]
    for op in ops:
        parts += ["", *section(op)]
    return "\n".join(parts) + "\n"


def caches() -> str:
    """What ``edgesmith kv-bytes`` says by default."""
    from ...plugins.kv.weight import kv_bytes, table

    head, *rows = (f"| {' | '.join(row)} |" for row in table(kv_bytes()))
    return "\n".join([head, "|---" * head.count(" | ") + "|---|", *rows])


def routes() -> str:
    """What each target makes of a fused node, as data in exporter/plan/targets.py."""
    from ...plan.targets import TARGETS

    rows = [
        f"| `{target.name}` | {target.plugin_route} | {_linked(target.plugin_route)} |" for target in TARGETS.values()
    ]
    native = [
        "",
        f"`--native-plugins` (jetpack6, TensorRT 10.3): {_linked('native')} It is built on the device (runtime/plugins/native).",
    ]
    return "\n".join(["| target | route | fused ops |", "|---|---|---|", *rows, *native])


def _linked(route: str) -> str:
    return ROUTES[route].replace(f"; {NOT_ON_HARDWARE}", " ([hardware](hardware.md))")


def section(op: FusedOp) -> list[str]:
    """One op: equation, interface, kernels, what is known of its speed."""
    lines = [
        f"### {op.name}",
        "",
        f"{op.summary} {op.source}.",
        "",
        "```",
        *op.equation.strip("\n").splitlines(),
        "```",
        "",
    ]
    lines += ["| | type | shape |", "|---|---|---|", *_tensors(op.schema)]
    lines += ["", *(f"- `{a.name}` ({a.kind}{_default(a.default)}): {a.meaning}" for a in op.schema.attributes)]
    lines += ["", f"Kernel: {kernels(op)}", "", f"Speed, [not measured](hardware.md): {op.wins}."]
    return lines + [line for note in op.notes for line in ("", f"{note[0].upper()}{note[1:].rstrip('.')}.")]


def kernels(op: FusedOp) -> str:
    """Types and sizes that have a kernel, in words."""
    if op.kernel is None:
        return "none; the body everywhere."
    by_condition: dict[str, list[str]] = {}
    for variant in op.kernel.variants:
        known = by_condition.setdefault("any size" if variant.when == "1" else f"`{variant.when}`", [])
        if variant.type not in known:
            known.append(variant.type)
    by_types: dict[str, list[str]] = {}
    for condition, types in by_condition.items():
        by_types.setdefault(", ".join(types), []).append(condition)
    return "; ".join(f"{types} for {' or '.join(conditions)}" for types, conditions in by_types.items()) + "."


def _tensors(schema: OpSchema) -> Iterable[str]:
    for word, tensors in (("in", schema.inputs), ("out", schema.outputs)):
        for tensor in tensors:
            yield f"| {word} `{tensor.name}` | {tensor.type} | {_shape(tensor)} |"


def _shape(tensor: Tensor) -> str:
    return "(" + ", ".join(tensor.shape) + ("," if len(tensor.shape) == 1 else "") + ")"


def _default(value: float | None) -> str:
    return "" if value is None else f", default {value:g}"


def main() -> int:
    """Write the page."""
    from ...plugins import OPS

    replace_file(PAGE, page(OPS.values()).encode())
    print(f"{PAGE.name}: {len(OPS)} ops")
    return 0


if __name__ == "__main__":
    sys.exit(main())
