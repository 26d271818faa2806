"""Who is timed on what: our kernels, every tactic, and chains of them, against the peers, on sizes of real models.

A race is cold when a model would find its inputs in memory and not in the cache (a packed cache of keys and values, one of 36
layers): then calls go through as many copies of the inputs as do not fit into the L2 cache together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgesmith.exporter.plugins.vision.channel_attention import splits_for

from .case import Case
from .kv_cases import (
    DIM,
    FULL_HD,
    KV_HEADS,
    QUERY_HEADS,
    ULTRA_HD,
    anchor_build,
    attention_attributes,
    dequantize_case,
    keys,
    partial_build,
    prefix_build,
    rotated_build,
    values,
)
from .vision_cases import DAVIT, VAN_B2, depthwise, gated, ggem, normal, with_partials

LAYERS = 36  # of Qwen2.5-VL-3B: the layers of a screenshot, quantised in one call, are what bandwidth is measured on
BATCHES = (1, 8)
NATIVE = (
    "GatedPositionalAttention",
    "WindowAttention",
    "PrefixAttention",
    "KVAttentionPartial",
)  # also compiled for this chip


@dataclass(frozen=True)
class Race:
    """One case, float16, and how it is timed. ``whole`` names a chain of our ops that stands in for the op itself."""

    case: Case
    cold: bool = False
    layers: int = 1  # the case repeated along the batch: what a GPU's bandwidth needs to show
    compiled: bool = True  # also the peers through torch.compile
    whole: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)  # what a chain's second op needs


def gated_races() -> Iterator[Race]:
    for batch in BATCHES:
        for name, heads in (("Ti", 4), ("S", 9), ("B", 16)):
            yield Race(gated(f"ConViT-{name}, batch {batch}", batch, heads, 196, 48, 14))


def davit() -> Iterator[tuple[int, int, int]]:
    for batch in BATCHES:
        for side, groups in DAVIT:
            yield batch, side, groups


def channel_races(op: str) -> Iterator[Race]:
    for batch, side, groups in davit():
        tokens, label = side * side, f"DaViT-T N {side * side}, batch {batch}"
        splits = splits_for(tokens, groups)
        build = normal(batch, tokens, 3, groups, 32)
        first = batch == BATCHES[0]
        if op == "ChannelGram":
            whole = Case(f"{label}, both halves", build, {"splits": splits, "version": 1})
            yield Race(whole, compiled=first, whole="channel attention", extra={"scale": 32**-0.5, "version": 1})
            if first:
                yield Race(Case(label, build, {"splits": splits, "version": 1}), compiled=False)
        elif first:
            partials = with_partials(batch, tokens, groups, 32, splits, 1)
            yield Race(Case(label, partials, {"scale": 32**-0.5, "version": 1}), compiled=False)


def window_races() -> Iterator[Race]:
    for batch, side, heads in davit():
        build = normal(batch, side, side, 3, heads, 32)
        case = Case(f"DaViT-T {side} x {side}, batch {batch}", build, {"window": 7, "scale": 32**-0.5})
        yield Race(case, compiled=batch == BATCHES[0])


def depthwise_races() -> Iterator[Race]:
    for batch in BATCHES:
        for side, channels in VAN_B2:
            yield Race(depthwise(f"VAN-B2 {side} x {side} x {channels}, batch {batch}", batch, channels, side, side, 7, 3),
                       compiled=False)  # fmt: skip


def prefix_races() -> Iterator[Race]:
    sizes = [((4, 4), n, m) for n in (FULL_HD, ULTRA_HD) for m in (1, 16, 64)]
    sizes += [(bits, FULL_HD, 16) for bits in ((8, 8), (4, 2), (2, 2))]
    for bits, n, m in sizes:
        build = prefix_build(1, QUERY_HEADS, KV_HEADS, n, m, DIM, bits, 64)
        case = Case(f"K{bits[0]}V{bits[1]}, N {n}, M {m}", build, attention_attributes(DIM, bits))
        yield Race(case, cold=True, compiled=False)


def decode_races() -> Iterator[Race]:
    for bits in ((4, 4), (2, 2)):
        for n in (FULL_HD, ULTRA_HD):
            for splits in (16, 32) if bits == (4, 4) else (16,):
                build = partial_build(1, QUERY_HEADS, KV_HEADS, n, DIM, bits, [n])
                case = Case(f"K{bits[0]}V{bits[1]}, N {n}, {splits} splits", build,
                            attention_attributes(DIM, bits) | {"splits": splits})  # fmt: skip
                yield Race(case, cold=True, compiled=False, whole="decoding step")


def quantize_races(op: str) -> Iterator[Race]:
    make = keys if op == "QuantizeK" else values
    own: Sequence[dict[str, int]] = [{"tokens": 64}] if op == "QuantizeK" else [{"rotate": 0}, {"rotate": 1}]
    for bits in (4, 2, 8):
        for attributes in own:
            name = ", rotated" if attributes.get("rotate") else ""

            def build(rng: Any) -> list[Any]:
                return [make(rng, 1, KV_HEADS, FULL_HD, DIM)]

            case = Case(f"{bits} bits{name}, {LAYERS} layers", build, {"bits": bits, **attributes})
            yield Race(case, cold=True, layers=LAYERS, compiled=bits == 4)


def dequantize_races(op: str) -> Iterator[Race]:
    for race in quantize_races("QuantizeK" if op == "DequantizeK" else "QuantizeV"):
        yield replace(race, case=dequantize_case(op, race.case))


def rotated_races() -> Iterator[Race]:
    sizes = 1, KV_HEADS, FULL_HD, DIM, 4, 2, 20
    yield Race(Case("4 bits, one layer", rotated_build(*sizes), {"bits": 4, "heads": 2}), cold=True)


def anchor_races() -> Iterator[Race]:
    for rows, n in ((1, FULL_HD + 64), (12, FULL_HD + 64), (1, ULTRA_HD + 64)):
        build = anchor_build(1, (QUERY_HEADS, KV_HEADS), rows, n, DIM)
        yield Race(Case(f"{rows} rows, N {n}", build, {"scale": DIM**-0.5}), cold=True)


def no_races() -> Iterator[Race]:
    """The ops with a bias wait for a peer that adds one; their kernels are compared, and not timed yet."""
    yield from ()


RACES: dict[str, Callable[[], Iterator[Race]]] = {
    "GGeMPool": lambda: iter(
        Race(Case(f"ViT-B/16, batch {batch}", ggem(batch, 196, 768, 12), {"eps": 1e-6, "interleaved": 0}))
        for batch in BATCHES
    ),
    "GatedPositionalAttention": gated_races,
    "AnchorAttention": anchor_races,
    "DilatedDepthwiseConv": depthwise_races,
    "ChannelGram": lambda: channel_races("ChannelGram"),
    "ChannelApply": lambda: channel_races("ChannelApply"),
    "WindowAttention": window_races,
    "QuantizeK": lambda: quantize_races("QuantizeK"),
    "QuantizeV": lambda: quantize_races("QuantizeV"),
    "DequantizeK": lambda: dequantize_races("DequantizeK"),
    "DequantizeV": lambda: dequantize_races("DequantizeV"),
    "DequantizeRotatedK": rotated_races,
    "PrefixAttention": prefix_races,
    "KVAttentionPartial": decode_races,
    "KVAttentionPartialBiased": no_races,
    "PrefixAttentionBiased": no_races,
    "KVAttentionCombine": lambda: iter(()),  # timed as the second half of the decoding step
}
