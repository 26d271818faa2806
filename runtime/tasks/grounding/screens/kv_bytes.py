"""What a cached screen holds and weighs: its tensors by name, shape and type, and from these the bytes.

One formula for all who ask: the pool of a session, the prefix graph's outputs, ``edgesmith kv-bytes``. Symbols: L layers,
Hk kv heads, D channels of a head, C channels of the model, P tokens (the fixed text and the picture's), b bits of a code.

    16, 32 bits    keys, values               float16, float32 (1, L, Hk, P, D)
    8, 4, 2        key_codes, value_codes     int32 (1, L, Hk, P, D b / 32)
                   key_meta    KIVI           float16 (1, L, Hk, ceil(P / 64), 2, D)    a channel and 64 tokens
                               RotateKV       float16 (1, L, Hk, P, 8 / b, 2)           a token and plane of channels
                   value_meta                 float16 (1, L, Hk, P, 8 / b, 2)
                   key_slot, key_sinks        RotateKV: int32 (1, L, P), float16 (1, L, Hk, 20, D), the tokens kept as they are
    always         visual_sums                float32 (1, L, C), what the weighting of heads needs of the picture's tokens

The layouts are those of our ops (exporter/plugins/kv/packing.py); a key's bias is left out of what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from ....errors import UserMistake

KIVI, ROTATEKV = "kivi", "rotatekv"
SCHEMES = (KIVI, ROTATEKV)
FLOATS = {32: "float32", 16: "float16"}  # bits: not quantised
CODES = (8, 4, 2)
GROUP = 64  # tokens that share a key's scale; 32 (KIVI's paper) costs half a bit a value more
SINKS = 20  # tokens that RotateKV keeps as they are
ITEM_BYTES = {"float32": 4, "float16": 2, "int32": 4}
GB = 10**9

Tensors = dict[str, tuple[tuple[int, ...], str]]


@dataclass(frozen=True)
class CacheLayout:
    """The cache of one screen, whatever its size in tokens; ``value_bits`` None means the keys' bits."""

    layers: int
    kv_heads: int
    head_dim: int
    hidden: int = 0  # 0: keys and values alone
    bits: int = 4
    value_bits: int | None = None
    scheme: str = KIVI
    group: int = GROUP

    def __post_init__(self) -> None:
        sizes = {"layers": self.layers, "kv heads": self.kv_heads, "channels of a head": self.head_dim}
        if wrong := [f"{size} {name}" for name, size in sizes.items() if size < 1]:
            raise UserMistake("A size of the cache is not positive", found=", ".join(wrong), expected="1 or more")
        for bits in (self.bits, self._value_bits):
            if bits not in FLOATS and bits not in CODES:
                raise UserMistake("Keys and values cannot have this width", found=f"{bits} bits",
                                  expected=", ".join(map(str, (*FLOATS, *CODES))))  # fmt: skip
            if bits in CODES and self.head_dim * bits % 32:
                plane = 32 // bits
                raise UserMistake(
                    f"A head of {self.head_dim} channels cannot be packed",
                    found=f"{self.head_dim} channels of {bits} bits",
                    expected=f"a multiple of {plane} channels",
                    because=f"codes of {bits} bits travel as whole 32-bit words",
                    attempt=f"{max(self.head_dim // plane, 1) * plane} channels",
                )
        if self.scheme not in SCHEMES:
            raise UserMistake("No such scheme of quantised keys", found=self.scheme, expected=", ".join(SCHEMES))

    @classmethod
    def of_bundle(cls, grounding: Mapping[str, Any]) -> CacheLayout:
        """From the part "grounding" of a manifest; KeyError where a size is missing."""
        layers, kv_heads, head_dim, hidden = (
            int(grounding[name]) for name in ("layers", "kv_heads", "head_dim", "hidden")
        )
        kv = grounding["kv"]
        return cls(layers, kv_heads, head_dim, hidden, bits=int(kv["bits"]), scheme=str(kv.get("scheme", KIVI)))

    @property
    def _value_bits(self) -> int:
        return self.bits if self.value_bits is None else self.value_bits

    def with_bits(self, bits: int, value_bits: int | None = None) -> CacheLayout:
        return replace(self, bits=bits, value_bits=value_bits)

    def keys(self, tokens: int, screens: int = 1) -> Tensors:
        """What is stored of the keys of ``screens`` screens of one size: {name: (shape, type)}."""
        stem = (screens, self.layers, self.kv_heads)
        if self.bits in FLOATS:
            return {"keys": ((*stem, tokens, self.head_dim), FLOATS[self.bits])}
        codes = ((*stem, tokens, self.head_dim * self.bits // 32), "int32")
        if self.scheme == KIVI:
            return {"key_codes": codes, "key_meta": ((*stem, -(-tokens // self.group), 2, self.head_dim), "float16")}
        return {
            "key_codes": codes,
            "key_meta": ((*stem, tokens, 8 // self.bits, 2), "float16"),
            "key_slot": ((screens, self.layers, tokens), "int32"),
            "key_sinks": ((*stem, SINKS, self.head_dim), "float16"),
        }

    def values(self, tokens: int, screens: int = 1) -> Tensors:
        """What is stored of the values."""
        stem, bits = (screens, self.layers, self.kv_heads, tokens), self._value_bits
        if bits in FLOATS:
            return {"values": ((*stem, self.head_dim), FLOATS[bits])}
        return {
            "value_codes": ((*stem, self.head_dim * bits // 32), "int32"),
            "value_meta": ((*stem, 8 // bits, 2), "float16"),
        }

    def tensors(self, tokens: int, screens: int = 1) -> Tensors:
        """All that is kept of ``screens`` screens of ``tokens`` tokens each."""
        sums: Tensors = {"visual_sums": ((screens, self.layers, self.hidden), "float32")} if self.hidden else {}
        return {**self.keys(tokens, screens), **self.values(tokens, screens), **sums}

    def screen_bytes(self, tokens: int) -> int:
        """Bytes of one cached screen of ``tokens`` tokens, those of the fixed text included."""
        return bytes_of(self.tensors(tokens))

    def screens_in(self, budget_bytes: float, tokens: int) -> int:
        """Whole screens that a budget holds."""
        return int(budget_bytes // self.screen_bytes(tokens))


def bytes_of(tensors: Tensors) -> int:
    """Of tensors by name, shape and type."""
    return sum(prod(shape) * ITEM_BYTES[kind] for shape, kind in tensors.values())
