"""``edgesmith kv-bytes``: what a cached screen weighs in every width; the formula is the device's own (kv_bytes.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....runtime.errors import UserMistake
from ....runtime.ground.limits import FP16
from ....runtime.tasks.grounding.screens.kv_bytes import GB, GROUP, KIVI, CacheLayout, Tensors, bytes_of

WIDTHS = {FP16: (16, 16), "K8V8": (8, 8), "K4V4": (4, 4), "K4V2": (4, 2), "K2V2": (2, 2)}  # bits of keys and values
ONE_WIDTH = {name: bits for name, (bits, values) in WIDTHS.items() if bits == values}  # what a bundle can have
COLUMNS = (
    "cache",
    "K",
    "V",
    "K + V",
    "all layers",
    "screen, MB",
    "screens a GB",
    "of fp16",
)  # bytes a token, then the whole
PLANES = 32 // min(bits for bits, _ in WIDTHS.values())  # a row of codes must be whole 32-bit words in every width
TEXT_TOKENS, FULL_HD_TOKENS = 99, 2691  # GUI-AIMA: the text before a picture, a screenshot of 1920 x 1080


def kv_bytes(
    head_dim: int = 128,
    kv_heads: int = 2,
    layers: int = 36,
    tokens: int = TEXT_TOKENS + FULL_HD_TOKENS,
    hidden: int = 2048,
    scheme: str = KIVI,
) -> dict[str, Any]:
    """Bytes of one token in one kv head, in all layers, and of a screen of ``tokens`` tokens; MB and GB are powers of 10.

    A group of keys shares its scales over 64 tokens; the last group of a cache may be partial and is counted whole.
    ``screen_bytes`` has the sums over the picture's tokens too, ``hidden`` channels a layer.

    Raises:
        UserMistake: a head dimension that no width packs into whole words, a size below 1, or no such scheme.
    """
    sizes = {
        "--head-dim": head_dim, "--kv-heads": kv_heads, "--layers": layers, "--tokens": tokens, "--hidden": hidden,
    }  # fmt: skip
    if wrong := [f"{name} {size}" for name, size in sizes.items() if size < 1]:
        raise UserMistake("A size is not positive", found=", ".join(wrong), expected="1 or more")
    if head_dim % PLANES:
        near = max(head_dim // PLANES, 1) * PLANES
        raise UserMistake(
            f"A head of {head_dim} channels cannot be packed",
            found=f"--head-dim {head_dim}",
            expected=f"a multiple of {PLANES}",
            because="codes of 2 bits travel as whole 32-bit words",
            attempt=f"--head-dim {near}",
        )
    layout = CacheLayout(layers, kv_heads, head_dim, hidden, scheme=scheme)
    rows = {name: _row(layout.with_bits(*bits), tokens) for name, bits in WIDTHS.items()}
    told = {name.removeprefix("--").replace("-", "_"): size for name, size in sizes.items()}
    return {"sizes": told, "scheme": scheme, "caches": rows}


def _row(layout: CacheLayout, tokens: int) -> dict[str, float]:
    heads = layout.layers * layout.kv_heads
    key, value = (_a_token(side(GROUP)) / heads for side in (layout.keys, layout.values))
    whole = layout.screen_bytes(tokens)
    return {
        "key_bytes": key,
        "value_bytes": value,
        "bytes": key + value,
        "bytes_all_layers": (key + value) * heads,
        "cache_bytes": bytes_of({**layout.keys(tokens), **layout.values(tokens)}),
        "screen_bytes": whole,
        "screens_per_gb": layout.screens_in(GB, tokens),
    }


def _a_token(tensors: Tensors) -> float:
    """Bytes of a token in all layers, of one group's tensors; RotateKV's sinks are a screen's, not a token's."""
    return bytes_of({name: tensor for name, tensor in tensors.items() if not name.startswith("key_s")}) / GROUP


def of_bundle(grounding: Mapping[str, Any]) -> dict[str, Any]:
    """The same for every screen size of a bundle, in the widths a bundle can have; ``grounding`` is of its manifest."""
    own = CacheLayout.of_bundle(grounding)
    text = len(grounding["template"]["before"])
    screens = []
    for bucket in grounding["buckets"]:
        height, width = bucket["grid"]
        tokens = text + height * width
        widths = {}
        for name, bits in ONE_WIDTH.items():
            layout = own.with_bits(bits)
            widths[name] = {
                "screen_bytes": layout.screen_bytes(tokens),
                "screens_per_gb": layout.screens_in(GB, tokens),
            }
        here = {"screen_bytes": own.screen_bytes(tokens), "screens_per_gb": own.screens_in(GB, tokens)}
        screens.append({"screen": list(bucket["screen"]), "tokens": tokens, **here, "widths": widths})
    return {"bits": own.bits, "scheme": own.scheme, "screens": screens}


def table(data: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The rows of ``kv_bytes`` for a screen, COLUMNS first."""
    caches = data["caches"]
    whole = caches[FP16]["bytes"]
    return [
        COLUMNS,
        *(
            (
                name,
                f"{row['key_bytes']:g}",
                f"{row['value_bytes']:g}",
                f"{row['bytes']:g}",
                f"{row['bytes_all_layers']:,.0f}",
                _megabytes(row["screen_bytes"]),
                f"{row['screens_per_gb']:,}",
                f"1/{whole / row['bytes']:.1f}" if row["bytes"] != whole else "1",
            )
            for name, row in caches.items()
        ),
    ]


def bundle_table(data: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The rows of ``of_bundle``: a size of screen each, its megabytes and how many a GB holds."""
    rows = [("screen", "tokens", "as it is stored", *ONE_WIDTH)]
    for screen in data["screens"]:
        width, height = screen["screen"]
        cells = (screen, *screen["widths"].values())
        told = (f"{_megabytes(cell['screen_bytes'])} MB, {cell['screens_per_gb']:,} a GB" for cell in cells)
        rows.append((f"{width}x{height}", f"{screen['tokens']:,}", *told))
    return rows


def _megabytes(count: float) -> str:
    return f"{count / 1e6:.1f}" if count >= 1e6 else f"{count / 1e6:.2g}"
