"""Fused ops, one declaration a file (declaration.py says what is in one); ``OPS`` is the list."""

from __future__ import annotations

from .declaration import FusedOp
from .kv import attention as kv_attention
from .kv import dequantise as dequantize_kv
from .kv import prefix_attention
from .kv import quantise as quantize_kv
from .kv import rotate as rotate_kv
from .vision import (
    anchor_attention,
    channel_attention,
    dilated_depthwise_conv,
    gated_positional_attention,
    ggem_pool,
    window_attention,
)

OPS: dict[str, FusedOp] = {
    op.name: op
    for op in (
        ggem_pool.OP,
        quantize_kv.K_OP,
        quantize_kv.V_OP,
        dequantize_kv.K_OP,
        dequantize_kv.V_OP,
        rotate_kv.OP,
        prefix_attention.OP,
        prefix_attention.BIASED,
        kv_attention.PARTIAL,
        kv_attention.PARTIAL_BIASED,
        kv_attention.COMBINE,
        anchor_attention.OP,
        gated_positional_attention.OP,
        channel_attention.GRAM,
        channel_attention.APPLY,
        window_attention.OP,
        dilated_depthwise_conv.OP,
    )
}
