"""Cases of the ops on packed keys and values, at the sizes of Qwen2.5-VL-3B: 16 query heads, 2 kv heads, 128 channels.

2,691 tokens are a screenshot of 1920 x 1080, 10,549 one of 3840 x 2160.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgesmith.exporter.plugins.kv import packing as kv_packing
from edgesmith.exporter.plugins.kv import prefix_attention
from edgesmith.exporter.plugins.kv import quantise as quantize_kv
from edgesmith.exporter.plugins.kv import rotate as rotate_kv
from edgesmith.exporter.plugins.kv.prefix_attention import WIDTHS
from edgesmith.runtime.tasks.grounding.screens.kv_bytes import SINKS

from .case import Build, Case

FULL_HD, ULTRA_HD = 2691, 10549
QUERY_HEADS, KV_HEADS, DIM = 16, 2, 128
BIAS = 30.0  # of a few channels of the keys; Qwen2.5 has hundreds in some layers
TOKENS = kv_packing.TOKENS
# channels of a head and bits that have kernels
SIZES = [(dim, (bits_k, bits_v)) for dim, bits_k, bits_v in prefix_attention.SIZES]


def keys(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """(..., N, D) keys after RoPE: normal, a few channels far from zero, as a key bias leaves them."""
    bias = np.zeros(shape[-1])
    bias[rng.choice(shape[-1], 4, replace=False)] = BIAS * rng.choice([-1, 1], 4)
    return (rng.standard_normal(shape) + bias).astype(np.float32)


def values(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def packed(rng: np.random.Generator, shape: tuple[int, ...], bits_k: int, bits_v: int, tokens: int) -> list[np.ndarray]:
    """k_codes, k_meta, v_codes, v_meta of (B, Hk, N, D)."""
    return [
        *quantize_kv.reference_k(keys(rng, *shape), bits=bits_k, tokens=tokens),
        *quantize_kv.reference_v(values(rng, *shape), bits=bits_v),
    ]


def quantize(op: str) -> list[Case]:
    make = keys if op == "QuantizeK" else values
    own = [{"tokens": TOKENS}, {"tokens": 32}] if op == "QuantizeK" else [{"rotate": 0}, {"rotate": 1}]

    def case(label: str, shape: tuple[int, ...], bits: int, which: int, real: bool = False) -> Case:
        return Case(label, lambda rng: [make(rng, *shape)], {"bits": bits, **own[which]}, real)

    found = [
        case(f"{bits} bits, D {dim}, {'' if which == 0 else ('tokens 32, ' if op == 'QuantizeK' else 'rotated, ')}odd N",
             (2, 1, 37, dim), bits, which)
        for bits in kv_packing.BITS for dim, which in ((128, 0), (64, 1))
    ]  # fmt: skip
    found += [case("one token", (1, 1, 1, 128), 4, 0), case("two groups, the last of one token", (1, 2, 65, 64), 4, 0)]
    for bits in kv_packing.BITS:
        found.append(case(f"full HD, {bits} bits", (1, KV_HEADS, FULL_HD, DIM), bits, 0, real=True))
        found.append(case(f"full HD, {bits} bits, other", (1, KV_HEADS, FULL_HD, DIM), bits, 1, real=True))
    return [*found, case("4K, 4 bits", (1, KV_HEADS, ULTRA_HD, DIM), 4, 0, real=True)]


def dequantize_case(op: str, case: Case) -> Case:
    """What the quantising op makes of its case."""
    reference = quantize_kv.reference_k if op == "DequantizeK" else quantize_kv.reference_v

    def build(rng: np.random.Generator) -> list[np.ndarray]:
        return [*reference(*case.build(rng), **case.attributes), np.zeros(1, np.float32)]

    return Case(case.label, build, case.attributes, case.real)


def dequantize(op: str) -> list[Case]:
    return [dequantize_case(op, case) for case in quantize("QuantizeK" if op == "DequantizeK" else "QuantizeV")]


def prefix_build(
    batch: int, query_heads: int, kv_heads: int, n: int, m: int, dim: int, bits: tuple[int, int], tokens: int
) -> Build:
    def build(rng: np.random.Generator) -> list[np.ndarray]:
        return [
            values(rng, batch, query_heads, m, dim),
            *packed(rng, (batch, kv_heads, n, dim), *bits, tokens),
            keys(rng, batch, kv_heads, m, dim),
            values(rng, batch, kv_heads, m, dim),
        ]

    return build


def attention_attributes(dim: int, bits: tuple[int, int]) -> dict[str, float]:
    return {"bits_k": bits[0], "bits_v": bits[1], "tokens": TOKENS, "scale": dim**-0.5}


def prefix() -> list[Case]:
    found = []
    for dim, bits in SIZES:
        build = prefix_build(1, 4, 2, 70, 3, dim, bits, TOKENS)
        found.append(Case(f"K{bits[0]}V{bits[1]}, D {dim}, odd sizes", build, attention_attributes(dim, bits)))
    for bits in WIDTHS:
        for m in (1, 16, 64):
            build = prefix_build(1, QUERY_HEADS, KV_HEADS, FULL_HD, m, DIM, bits, TOKENS)
            label = f"full HD, K{bits[0]}V{bits[1]}, M {m}"
            found.append(Case(label, build, attention_attributes(DIM, bits), real=True))
    one = prefix_build(2, 1, 1, 33, 5, 64, (4, 4), TOKENS)
    return [*found, Case("one head, two in the batch", one, attention_attributes(64, (4, 4)))]


def partial_build(
    batch: int, query_heads: int, kv_heads: int, n: int, dim: int, bits: tuple[int, int], lengths: list[int]
) -> Build:
    def build(rng: np.random.Generator) -> list[np.ndarray]:
        q = values(rng, batch, query_heads, 1, dim)
        return [q, *packed(rng, (batch, kv_heads, n, dim), *bits, TOKENS), np.array(lengths, np.int32)]

    return build


def partial() -> list[Case]:
    found = []
    for dim, bits in SIZES:
        build = partial_build(2, 4, 2, 150, dim, bits, [150, 3])
        attributes = attention_attributes(dim, bits) | {"splits": 3}
        found.append(Case(f"K{bits[0]}V{bits[1]}, D {dim}, empty splits", build, attributes))
    for bits in WIDTHS:
        build = partial_build(1, QUERY_HEADS, KV_HEADS, FULL_HD, DIM, bits, [FULL_HD - 40])
        attributes = attention_attributes(DIM, bits) | {"splits": 16}
        found.append(Case(f"full HD, K{bits[0]}V{bits[1]}", build, attributes, real=True))
    return found


def with_bias(case: Case) -> Case:
    """The same with a bias that the cached keys were stored without, large as in Qwen2.5, and its rotary tables."""

    def build(rng: np.random.Generator) -> list[np.ndarray]:
        arrays = case.build(rng)
        (_, kv_heads, n), dim = arrays[1].shape[:3], arrays[0].shape[3]
        angle = np.arange(n)[:, None] * 1e6 ** (-np.arange(dim // 2) / (dim // 2))
        tables = [np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)]
        return [*arrays, keys(rng, kv_heads, dim), *tables]

    return Case(case.label, build, case.attributes, case.real)


def combine() -> list[Case]:
    def build(
        rng: np.random.Generator, batch: int, kv_heads: int, splits: int, rows: int, dim: int
    ) -> list[np.ndarray]:
        stats = np.stack([rng.normal(0, 5, (batch, kv_heads, splits, rows)),
                          rng.uniform(1, 200, (batch, kv_heads, splits, rows))], axis=-1).astype(np.float32)  # fmt: skip
        parts = rng.standard_normal((batch, kv_heads, splits, rows, dim)) * stats[..., 1:]
        empty = rng.random(splits) < 0.3
        empty[0] = False
        stats[:, :, empty], parts[:, :, empty] = 0, 0
        return [parts.astype(np.float32), stats, values(rng, batch, kv_heads * rows, 1, dim)]

    return [
        Case("D 64, 3 splits", lambda rng: build(rng, 2, 1, 3, 3, 64), {}),
        Case("D 128, 17 splits", lambda rng: build(rng, 1, 2, 17, 1, 128), {}),
        Case("Qwen2.5-VL, 16 splits", lambda rng: build(rng, 1, KV_HEADS, 16, 8, DIM), {}, real=True),
    ]


def rotated_build(batch: int, kv_heads: int, n: int, dim: int, bits: int, heads: int, kept: int) -> Build:
    """Keys rotated, sorted and packed as at export, RoPE tables, the bias, and a few tokens kept as they are."""

    def build(rng: np.random.Generator) -> list[np.ndarray]:
        turned = rotate_kv.rotate(np.moveaxis(values(rng, batch, kv_heads, n, dim), 1, 2), heads)  # (B, N, Hk, D)
        order = rotate_kv.channel_order(turned[0])
        sorted_ = turned.reshape(batch, n, -1)[..., order].reshape(batch, n, kv_heads, dim)
        stored = np.ascontiguousarray(np.moveaxis(sorted_, 2, 1), np.float32)
        codes, meta = quantize_kv.reference_v(stored, bits=bits)
        angle = np.arange(n)[:, None] * 1e4 ** (-np.arange(dim // 2) / (dim // 2))
        cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        slot = np.stack([rotate_kv.sink_tokens(rng.standard_normal((n, 8)), kept) for _ in range(batch)])
        bias = keys(rng, kv_heads, dim)
        sinks = keys(rng, batch, kv_heads, kept, dim)
        return [codes, meta, rotate_kv.places(order), bias, cos, sin, slot.astype(np.int32), sinks]

    return build


def rotated() -> list[Case]:
    found = [
        Case(f"{bits} bits, D {dim}, {heads} heads", rotated_build(1, heads, 19, dim, bits, heads, 3),
             {"bits": bits, "heads": heads})
        for dim, heads in ((128, 2), (128, 4), (64, 2)) for bits in kv_packing.BITS
    ]  # fmt: skip
    real = rotated_build(1, KV_HEADS, FULL_HD, DIM, 4, 2, SINKS)
    return [*found, Case("full HD, 4 bits", real, {"bits": 4, "heads": 2}, real=True)]


def anchor_build(batch: int, heads: tuple[int, int], rows: int, n: int, dim: int) -> Build:
    return lambda rng: [values(rng, batch, heads[0], rows, dim), values(rng, batch, heads[1], n, dim)]


def anchor() -> list[Case]:
    """One anchor row after a cached screenshot, and the rows of a short query."""

    def case(label: str, *sizes: Any, real: bool = False) -> Case:
        return Case(label, anchor_build(*sizes), {"scale": sizes[-1] ** -0.5}, real)

    found = [case(f"D {dim}, odd N", 2, (2, 1), 3, 77, dim) for dim in (128, 64, 32)]
    found += [case("one key", 1, (1, 1), 1, 1, 64), case("more rows than a block", 1, (3, 1), 11, 130, 32)]
    heads = QUERY_HEADS, KV_HEADS
    found += [case(f"full HD, {rows} rows", 1, heads, rows, FULL_HD + 64, DIM, real=True) for rows in (1, 12)]
    return [*found, case("4K, 1 row", 1, heads, 1, ULTRA_HD + 64, DIM, real=True)]


KV_CASES = {
    "AnchorAttention": anchor(),
    "QuantizeK": quantize("QuantizeK"),
    "QuantizeV": quantize("QuantizeV"),
    "DequantizeK": dequantize("DequantizeK"),
    "DequantizeV": dequantize("DequantizeV"),
    "DequantizeRotatedK": rotated(),
    "PrefixAttention": prefix(),
    "KVAttentionPartial": partial(),
    "PrefixAttentionBiased": [with_bias(case) for case in prefix()],
    "KVAttentionPartialBiased": [with_bias(case) for case in partial()],
    "KVAttentionCombine": combine(),
}
