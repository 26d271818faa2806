"""How the keys and values of a screen are stored between two graphs: floats, or codes of our fused ops.

    32, 16   keys, values            (B, L, Hk, P, d)                         float32 or float16
    8, 4, 2  key_codes, value_codes  int32 (B, L, Hk, P, d * bits / 32)       layouts: exporter/plugins/kv/packing.py
             value_meta              float16 (B, L, Hk, P, 8 / bits, 2)       a token and plane of channels
    kivi     key_meta                float16 (B, L, Hk, ceil(P / 64), 2, d)   arXiv:2402.02750: a channel over 64 tokens
    rotatekv key_meta                float16 (B, L, Hk, P, 8 / bits, 2)       arXiv:2501.16383: as a value, after a rotation
             key_slot, key_sinks     int32 (B, L, P), float16 (B, L, Hk, 20, d): tokens that are kept as attention reads them

A large key bias (Qwen2.5's) takes the range of every code, so it is left out: RoPE is linear, and the reader adds R(p) b. KIVI
packs keys behind RoPE, RotateKV before it, so its reader turns every key (exporter/plugins/rotated_keys.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ....runtime.tasks.grounding.screens.kv_bytes import KIVI, ROTATEKV, SCHEMES, SINKS
from ...plugins import OPS
from ...plugins.kv.packing import TOKENS
from ...plugins.rotated_keys import NAMES as ROTATED_NAMES
from ...plugins.rotated_keys import RotatedKeys
from ...plugins.torch_ops import torch_op
from .sizes import TextSizes

FLOATS = {32: torch.float32, 16: torch.float16}
CODES = (8, 4, 2)
FLOAT_NAMES = ("keys", "values")
KEY_NAMES = {KIVI: ("key_codes", "key_meta"), ROTATEKV: ROTATED_NAMES}
VALUE_NAMES = ("value_codes", "value_meta")
Specs = dict[str, tuple[tuple[int, ...], torch.dtype]]


@dataclass(frozen=True)
class Storage:
    """``bits`` of a stored number: 32, 16, 8, 4 or 2; ``scheme`` of keys in codes; ``bias_left_out``: of the keys, see above."""

    bits: int = 32
    bias_left_out: bool = True
    scheme: str = KIVI

    def __post_init__(self) -> None:
        if self.bits not in (*FLOATS, *CODES):
            raise ValueError(f"{self.bits} bits; expected one of {(*FLOATS, *CODES)}")
        if self.scheme not in SCHEMES or (self.rotated and self.bits in FLOATS):
            raise ValueError(f"{self.scheme} of {self.bits} bits; schemes {SCHEMES} are for codes")

    @property
    def rotated(self) -> bool:
        return self.scheme == ROTATEKV

    @property
    def takes_tables(self) -> bool:
        """Whether the reader needs the rotary tables of the stored tokens."""
        return self.bias_left_out or self.rotated

    @property
    def names(self) -> tuple[str, ...]:
        """Outputs of the prefix graph, inputs of the instruction graph."""
        return FLOAT_NAMES if self.bits in FLOATS else (*KEY_NAMES[self.scheme], *VALUE_NAMES)

    def handed(self, plain: Tensor, turned: Tensor, full: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        """What ``write`` takes of a layer's keys: before RoPE (B, P, Hk, d); behind it, and with its bias, both (B, Hk, P, d)."""
        if self.rotated:
            return (plain if self.bias_left_out else plain + bias).transpose(1, 2), full
        return (turned if self.bias_left_out else full,)

    def write(self, keys: Sequence[Tensor], value: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
        """``handed`` and value (B, Hk, P, d) of one layer, and what went into it (B, P, D) -> what is stored of it."""
        if self.bits in FLOATS:
            return keys[0].to(FLOATS[self.bits]), value.to(FLOATS[self.bits])
        if self.rotated:
            plain, full = keys
            scheme = RotatedKeys(self.bits, plain.shape[1], plain.shape[3])  # nothing to sort channels by
            packed = scheme.write(plain, full, hidden)
        else:
            packed = torch_op(OPS["QuantizeK"])(keys[0], bits=self.bits, tokens=TOKENS)
        return *packed, *torch_op(OPS["QuantizeV"])(value, bits=self.bits)

    def read(
        self, stored: Sequence[Tensor], layer: int, like: Tensor, bias: Tensor, tables: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Keys and values (B, Hk, P, d) of one layer, in the type of ``like`` (1,).

        Keys that are ``rotated`` come with their bias (Hk, d), turned by the tables (P, d/2); others lack what was left out.
        """
        mine = tuple(tensor[:, layer] for tensor in stored)
        if self.bits in FLOATS:
            return mine[0].to(like.dtype), mine[1].to(like.dtype)
        keys, values = mine[:-2], mine[-2:]
        if self.rotated:
            kv_heads, head_dim = bias.shape
            cos, sin = tables
            added = bias if self.bias_left_out else torch.zeros_like(bias)
            found = RotatedKeys(self.bits, kv_heads, head_dim).read(keys, added, cos, sin, like)
        else:
            found = torch_op(OPS["DequantizeK"])(*keys, like, bits=self.bits, tokens=TOKENS)
        return found, torch_op(OPS["DequantizeV"])(*values, like, bits=self.bits)

    def specs(self, sizes: TextSizes, batch: int, tokens: int) -> Specs:
        """Shape and type of every stored tensor for ``tokens`` tokens of prefix."""
        heads, width = (batch, sizes.layers, sizes.kv_heads), sizes.head_dim
        if self.bits in FLOATS:
            return {name: ((*heads, tokens, width), FLOATS[self.bits]) for name in FLOAT_NAMES}
        codes = ((*heads, tokens, width * self.bits // 32), torch.int32)
        by_token = ((*heads, tokens, 8 // self.bits, 2), torch.float16)
        by_channel = ((*heads, -(-tokens // TOKENS), 2, width), torch.float16)
        rotated: Specs = {
            "key_slot": ((batch, sizes.layers, tokens), torch.int32),
            "key_sinks": ((*heads, SINKS, width), torch.float16),
        }
        return {
            "key_codes": codes,
            "key_meta": by_token if self.rotated else by_channel,
            **(rotated if self.rotated else {}),
            "value_codes": codes,
            "value_meta": by_token,
        }

    def axes(self, prefix: str, groups: str) -> dict[str, dict[int, str]]:
        """The open axes of every stored tensor behind that of the batch, as they are called."""
        found = {name: {3: prefix} for name in self.names}
        if self.rotated:
            return {**found, "key_slot": {2: prefix}, "key_sinks": {}}
        return found if self.bits in FLOATS else {**found, "key_meta": {3: groups}}
