"""RotateKV in a torch module: the keys of a layer are written at prefill and read behind it, beside QuantizeK / DequantizeK.

    prefill   keys before RoPE, without their bias (B, Hk, N, D) > rotate, sort > QuantizeV > codes, meta
              the 20 tokens of the largest |hidden| > slot (B, N), sinks (B, Hk, 20, D): their keys as attention reads them
    reading   DequantizeRotatedK > keys after RoPE, with the bias

Source: Su et al., RotateKV, arXiv:2501.16383; kv/rotate.py has the definition, and what we do otherwise. The paper folds the
rotation into the projection; here it is one product with a constant matrix, which leaves the weights to their own quantiser.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...runtime.tasks.grounding.screens.kv_bytes import SINKS
from .kv.hadamard import fwht
from .kv.rotate import places

if TYPE_CHECKING:
    from torch import Tensor


NAMES = ("key_codes", "key_meta", "key_slot", "key_sinks")  # what ``write`` gives and ``read`` takes


@dataclass(frozen=True)
class RotatedKeys:
    """The scheme for one layer. ``heads`` kv heads are rotated together; ``order`` (Hk * D,) sorts the rotated channels.

    The order comes from calibrated keys (``channel_order``); None keeps the channels as they are.
    """

    bits: int
    kv_heads: int
    head_dim: int
    order: tuple[int, ...] | None = None

    @property
    def heads(self) -> int:
        """As many heads as divide the layer's and make a power of two, at most 4 as in the paper."""
        return next(count for count in (4, 2, 1) if self.kv_heads % count == 0)

    def write(self, plain: Tensor, read: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
        """plain (B, Hk, N, D) before RoPE and without bias, read the same as attention sees it, hidden (B, N, C).

        Returns codes int32, meta float16 (kv/packing.py, a value's layout), slot int32 (B, N), sinks float16 (B, Hk, 20, D).
        A cache has 20 tokens or more.
        """
        import torch

        from . import OPS
        from .torch_ops import torch_op

        batch, _, tokens, _ = plain.shape
        rows = plain.transpose(1, 2).reshape(batch, tokens, -1, self.heads * self.head_dim)
        rotated = (rows @ self._rotation(plain)).reshape(batch, tokens, -1)
        if self.order is not None:
            rotated = rotated[..., torch.tensor(self.order, device=plain.device)]
        stored = rotated.reshape(batch, tokens, self.kv_heads, self.head_dim).transpose(1, 2)
        codes, meta = torch_op(OPS["QuantizeV"])(stored, bits=self.bits)

        size = hidden.abs().amax(-1)  # (B, N)
        kept = size.topk(SINKS, dim=-1).indices.sort(-1).values  # (B, 20)
        at = torch.arange(tokens, device=plain.device)[None, :, None] == kept[:, None]  # (B, N, 20)
        slot = torch.where(at, torch.arange(1, SINKS + 1, device=plain.device), 0).sum(-1) - 1
        sinks = read.gather(2, kept[:, None, :, None].expand(-1, self.kv_heads, -1, self.head_dim))
        return codes, meta, slot.to(torch.int32), sinks.to(torch.float16)

    def read(self, stored: tuple[Tensor, ...], bias: Tensor, cos: Tensor, sin: Tensor, like: Tensor) -> Tensor:
        """What ``write`` gave, bias (Hk, D), cos and sin (N, D / 2) -> keys after RoPE (B, Hk, N, D) in the type of ``like``."""
        import torch

        from . import OPS
        from .torch_ops import torch_op

        codes, meta, slot, sinks = stored
        order = np.arange(self.kv_heads * self.head_dim) if self.order is None else np.array(self.order)
        place = torch.from_numpy(places(order)).to(codes.device)
        tables = (table.to(torch.float32) for table in (bias, cos, sin))
        read: Tensor = torch_op(OPS["DequantizeRotatedK"])(
            codes, meta, place, *tables, slot, sinks.to(like.dtype), bits=self.bits, heads=self.heads
        )
        return read

    def _rotation(self, like: Tensor) -> Tensor:
        """The Walsh-Hadamard transform of the heads that are rotated together, as a matrix."""
        import torch

        matrix = fwht(np.eye(self.heads * self.head_dim, dtype=np.float32))
        return torch.from_numpy(matrix).to(like)
