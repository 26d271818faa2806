"""Cases of the ops of the vision models, at the sizes of ViT-B + GGeM, ConViT, DaViT and VAN for a 224 x 224 picture."""

from __future__ import annotations

import numpy as np

from edgesmith.exporter.plugins.vision import channel_attention

from .case import Build, Case

# tokens and groups (or heads) of 32 channels in the four stages of DaViT-T
DAVIT = ((56, 3), (28, 6), (14, 12), (7, 24))
VAN_B2 = ((56, 64), (28, 128), (14, 320), (7, 512))  # side and channels of its stages


def normal(*shape: int) -> Build:
    """One input of normal numbers."""
    return lambda rng: [rng.standard_normal(shape).astype(np.float32)]


def ggem(batch: int, tokens: int, channels: int, groups: int) -> Build:
    """Tokens after a layer norm, exponents as they are learned (about 3)."""
    return lambda rng: [
        rng.standard_normal((batch, tokens, channels)).astype(np.float32),
        rng.uniform(0.5, 5, (groups, 1)).astype(np.float32),
    ]


def positional(batch: int, heads: int, tokens: int, dim: int) -> Build:
    """q, k, v after a layer norm; position scores as ConViT starts with them: a centre a head, and a gate."""

    def build(rng: np.random.Generator) -> list[np.ndarray]:
        centre = rng.integers(-2, 3, (heads, 2))
        strength = rng.uniform(0.5, 2, (heads, 1))
        gate = rng.uniform(0.1, 0.9, (heads, 1))
        pos = np.concatenate([2 * strength * centre, -strength, gate], axis=1)  # w0, w1, w2, gate
        return [*rng.standard_normal((3, batch, heads, tokens, dim)).astype(np.float32), pos.astype(np.float32)]

    return build


def gated(label: str, batch: int, heads: int, tokens: int, dim: int, side: int, real: bool = False) -> Case:
    return Case(label, positional(batch, heads, tokens, dim), {"side": side, "scale": dim**-0.5}, real)


def qkv(batch: int, tokens: int, groups: int, dim: int) -> Build:
    return normal(batch, tokens, 3, groups, dim)


def with_partials(batch: int, tokens: int, groups: int, dim: int, splits: int, version: int) -> Build:
    """qkv and the partial sums that ChannelGram gives for it."""

    def build(rng: np.random.Generator) -> list[np.ndarray]:
        (x,) = qkv(batch, tokens, groups, dim)(rng)
        return [x, channel_attention.gram_reference(x, splits=splits, version=version)]

    return build


def channels() -> dict[str, list[Case]]:
    """ChannelGram and ChannelApply of the same sizes; the scale is the model's, D^-0.5 over all tokens' sums."""
    gram, apply_ = [], []
    for dim in channel_attention.DIMS:
        for version, tokens, splits in ((1, 37, 3), (2, 5, 8)):
            label = f"D {dim}, version {version}, odd N"
            gram.append(Case(label, qkv(2, tokens, 1, dim), {"splits": splits, "version": version}))
            attributes = {"scale": tokens**-0.5 if version == 1 else 0.0, "version": version}
            apply_.append(Case(label, with_partials(2, tokens, 1, dim, splits, version), attributes))
    for side, groups in DAVIT:
        tokens = side * side
        splits = channel_attention.splits_for(tokens, groups)
        label = f"DaViT-T, N {tokens}"
        gram.append(Case(label, qkv(1, tokens, groups, 32), {"splits": splits, "version": 1}, real=True))
        partials = with_partials(1, tokens, groups, 32, splits, 1)
        apply_.append(Case(label, partials, {"scale": 32**-0.5, "version": 1}, real=True))
    return {"ChannelGram": gram, "ChannelApply": apply_}


def windows() -> list[Case]:
    found = [
        Case(
            f"D {dim}, window {window}",
            normal(2, window, 2 * window, 3, 1, dim),
            {"window": window, "scale": dim**-0.5},
        )
        for dim, window in ((32, 7), (16, 3), (64, 9), (32, 1))
    ]
    for side, heads in DAVIT:
        build = normal(1, side, side, 3, heads, 32)
        found.append(Case(f"DaViT-T, {side} x {side}", build, {"window": 7, "scale": 32**-0.5}, real=True))
    return found


def depthwise(
    label: str, batch: int, channels: int, height: int, width: int, kernel: int, dilation: int, real: bool = False
) -> Case:
    def build(rng: np.random.Generator) -> list[np.ndarray]:
        w = rng.standard_normal((channels, 1, kernel, kernel)) / kernel
        x, b = rng.standard_normal((batch, channels, height, width)), rng.standard_normal(channels)
        return [x.astype(np.float32), w.astype(np.float32), b.astype(np.float32)]

    return Case(label, build, {"dilation": dilation, "channels": channels}, real)


def convolutions() -> list[Case]:
    found = [
        depthwise("7 x 7, odd sizes", 2, 3, 13, 11, 7, 3),
        depthwise("5 x 5, smaller than its reach", 1, 5, 4, 9, 5, 2),
        depthwise("one pixel, dense", 1, 1, 1, 1, 7, 1),
    ]
    return found + [depthwise(f"VAN-B2 {side} x {side}", 1, c, side, side, 7, 3, real=True) for side, c in VAN_B2]


VISION_CASES: dict[str, list[Case]] = {
    "GGeMPool": [
        Case("one token", ggem(1, 1, 4, 4), {"eps": 1e-6, "interleaved": 0}),
        Case("odd N, partial blocks", ggem(3, 67, 45, 5), {"eps": 1e-6, "interleaved": 1}),
        Case("ViT-B/16, 12 groups", ggem(2, 196, 768, 12), {"eps": 1e-6, "interleaved": 0}, real=True),
        Case("ViT-B/16, interleaved", ggem(1, 197, 768, 384), {"eps": 1e-6, "interleaved": 1}, real=True),
    ],
    "GatedPositionalAttention": [
        *(gated(f"D {dim}, odd N", 2, 1, 33, dim, 6) for dim in (48, 64, 32, 16)),
        gated("one token", 1, 2, 1, 48, 1),
        gated("ConViT-Ti, batch 1", 1, 4, 196, 48, 14, real=True),
        gated("ConViT-S, batch 2", 2, 9, 196, 48, 14, real=True),
        gated("ConViT-B", 1, 16, 196, 48, 14, real=True),
        gated("384 x 384", 1, 4, 576, 48, 24, real=True),
        gated("N not a rectangle, D 64", 1, 3, 197, 64, 14, real=True),
    ],
    **channels(),
    "DilatedDepthwiseConv": convolutions(),
    "WindowAttention": windows(),
}
