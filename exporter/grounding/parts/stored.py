"""How the keys and values of a screen are stored between two graphs: floats, or codes of our fused ops.

    32, 16   keys, values            (B, L, Hk, P, d)                         float32 or float16
    8, 4, 2  key_codes, value_codes  int32 (B, L, Hk, P, d * bits / 32)       layouts: exporter/plugins/kv/packing.py
             key_meta                float16 (B, L, Hk, ceil(P / 64), 2, d)   KIVI, arXiv:2402.02750: a channel over 64 tokens
             value_meta              float16 (B, L, Hk, P, 8 / bits, 2)       a token and plane of channels

A large key bias (Qwen2.5's) takes the range of every code, so it is left out: RoPE is linear, and the reader adds R(p) b.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...plugins import OPS
from ...plugins.kv.packing import TOKENS
from ...plugins.torch_ops import torch_op
from .sizes import TextSizes

FLOATS = {32: torch.float32, 16: torch.float16}
CODES = (8, 4, 2)
FLOAT_NAMES = ("keys", "values")
CODE_NAMES = ("key_codes", "key_meta", "value_codes", "value_meta")


@dataclass(frozen=True)
class Storage:
    """``bits`` of a stored number: 32, 16, 8, 4 or 2; ``bias_left_out``: of the keys, see above."""

    bits: int = 32
    bias_left_out: bool = True

    def __post_init__(self) -> None:
        if self.bits not in (*FLOATS, *CODES):
            raise ValueError(f"{self.bits} bits; expected one of {(*FLOATS, *CODES)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Outputs of the prefix graph, inputs of the instruction graph."""
        return FLOAT_NAMES if self.bits in FLOATS else CODE_NAMES

    def write(self, keys: Sequence[Tensor], values: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """(B, Hk, P, d) of every layer -> the stored tensors, layers as axis 1."""
        if self.bits in FLOATS:
            kind = FLOATS[self.bits]
            return tuple(torch.stack([one.to(kind) for one in side], dim=1) for side in (keys, values))
        packed = [
            (
                *torch_op(OPS["QuantizeK"])(k, bits=self.bits, tokens=TOKENS),
                *torch_op(OPS["QuantizeV"])(v, bits=self.bits),
            )
            for k, v in zip(keys, values, strict=True)
        ]
        return tuple(torch.stack(alike, dim=1) for alike in zip(*packed, strict=True))

    def read(self, stored: Sequence[Tensor], layer: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, Hk, P, d) of one layer, in the type of ``like`` (1,)."""
        mine = [tensor[:, layer] for tensor in stored]
        if self.bits in FLOATS:
            return mine[0].to(like.dtype), mine[1].to(like.dtype)
        keys: Tensor = torch_op(OPS["DequantizeK"])(mine[0], mine[1], like, bits=self.bits, tokens=TOKENS)
        values: Tensor = torch_op(OPS["DequantizeV"])(mine[2], mine[3], like, bits=self.bits)
        return keys, values

    def specs(self, sizes: TextSizes, batch: int, tokens: int) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Shape and type of every stored tensor for ``tokens`` tokens of prefix."""
        heads, width = (batch, sizes.layers, sizes.kv_heads), sizes.head_dim
        if self.bits in FLOATS:
            return {name: ((*heads, tokens, width), FLOATS[self.bits]) for name in FLOAT_NAMES}
        codes = ((*heads, tokens, width * self.bits // 32), torch.int32)
        return {
            "key_codes": codes,
            "key_meta": ((*heads, -(-tokens // TOKENS), 2, width), torch.float16),
            "value_codes": codes,
            "value_meta": ((*heads, tokens, 8 // self.bits, 2), torch.float16),
        }
