"""``edgesmith kv-bytes``: what a cache of keys and values weighs in every width, computed from the layout of the ops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....runtime.errors import UserMistake
from ....runtime.ground.limits import FP16
from .packing import BITS, FLOAT16_BITS, TOKENS, bytes_per_token

SCHEMES = {  # bits of keys and values
    FP16: (FLOAT16_BITS, FLOAT16_BITS),
    "K8V8": (8, 8),
    "K4V4": (4, 4),
    "K4V2": (4, 2),
    "K2V2": (2, 2),
}
COLUMNS = ("cache", "K", "V", "K + V", "all layers", "cache, MB", "of fp16")  # bytes a token, then the whole
PLANES = 32 // min(BITS)  # a row of codes must be whole 32-bit words in every width


def kv_bytes(head_dim: int = 128, kv_heads: int = 2, layers: int = 36, tokens: int = 2691) -> dict[str, Any]:
    """Bytes of one token in one kv head, in all layers, and of a cache of ``tokens`` tokens; MB are 10^6 bytes.

    A group of keys shares its scales over 64 tokens; the last group of a cache may be partial and is counted whole.

    Raises:
        UserMistake: a head dimension that no width packs into whole words, or a size below 1.
    """
    sizes = {"--head-dim": head_dim, "--kv-heads": kv_heads, "--layers": layers, "--tokens": tokens}
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
    rows = {name: _row(bits, head_dim, kv_heads * layers, tokens) for name, bits in SCHEMES.items()}
    return {"sizes": {name.removeprefix("--").replace("-", "_"): size for name, size in sizes.items()}, "caches": rows}


def _row(bits: tuple[int, int], head_dim: int, heads: int, tokens: int) -> dict[str, float]:
    key, value = bytes_per_token(bits[0], head_dim)[0], bytes_per_token(bits[1], head_dim)[1]
    groups = -(-tokens // TOKENS)
    codes = key - 2 * 2 * head_dim / TOKENS if bits[0] != FLOAT16_BITS else key  # without scales and minima
    meta = 0 if bits[0] == FLOAT16_BITS else groups * 2 * 2 * head_dim
    return {
        "key_bytes": key,
        "value_bytes": value,
        "bytes": key + value,
        "bytes_all_layers": (key + value) * heads,
        "cache_bytes": heads * (tokens * (codes + value) + meta),
    }


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
                _megabytes(row["cache_bytes"]),
                f"1/{whole / row['bytes']:.1f}" if row["bytes"] != whole else "1",
            )
            for name, row in caches.items()
        ),
    ]


def _megabytes(count: float) -> str:
    return f"{count / 1e6:.1f}" if count >= 1e6 else f"{count / 1e6:.2g}"
