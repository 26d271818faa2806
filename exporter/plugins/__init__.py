"""Fused ops, one declaration a file (declaration.py says what is in one); ``OPS`` is the list."""

from __future__ import annotations

from . import channel_attention, ggem_pool, window_attention
from .declaration import FusedOp

OPS: dict[str, FusedOp] = {
    op.name: op for op in (ggem_pool.OP, channel_attention.GRAM, channel_attention.APPLY, window_attention.OP)
}
