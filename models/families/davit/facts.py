"""DaViT: what is known of its variants."""

from __future__ import annotations

from typing import Any

from ...channels import ARGUMENT
from ...spec import ModelSpec
from ..contracts import IMAGENET, crop_contract

FACTS: dict[str, Any] = {
    "family": "davit",
    "channels_argument": ARGUMENT,
    "first_layers": ("stem.conv",),
    "paper": "DaViT, Ding et al., ECCV 2022, arXiv:2204.03645",
    "licence_code": "Apache-2.0 (timm); the authors' repository is MIT",
    "licence_weights": "Apache-2.0 as timm states it; the authors' repository is MIT",
    "contract": crop_contract(0.95, IMAGENET),
    "arguments": (
        *("depths", "embed_dims", "num_heads", "window_size", "mlp_ratio", "qkv_bias", "norm_eps", "attn_types", "ffn"),
        *("cpe_act", "down_kernel_size", "channel_attn_v2", "named_blocks", "global_pool", "head_norm_first"),
    ),
    "fused_ops": ("WindowAttention", "ChannelGram", "ChannelApply"),
}


def _variant(name: str, parameters: int, published: bool = True) -> ModelSpec:
    source = f"timm:{name}.msft_in1k" if published else None
    return ModelSpec(name=name, parameters=parameters, config={"variant": name}, pretrained=source, **FACTS)


VARIANTS = (
    _variant("davit_tiny", 28_360_168),
    _variant("davit_small", 49_745_896),
    _variant("davit_base", 87_954_408),
    _variant("davit_large", 196_811_752, published=False),
    _variant("davit_huge", 348_922_856, published=False),
    _variant("davit_giant", 1_406_470_120, published=False),
)
