"""ConViT: what is known of its variants."""

from __future__ import annotations

from typing import Any

from ...channels import ARGUMENT
from ...spec import ModelSpec
from ..contracts import IMAGENET, crop_contract

FACTS: dict[str, Any] = {
    "family": "convit",
    "channels_argument": ARGUMENT,
    "first_layers": ("patch_embed.proj",),
    "paper": "ConViT, d'Ascoli et al., ICML 2021, arXiv:2103.10697",
    "licence_code": "Apache-2.0 (timm); the authors' file header says CC-BY-NC 4.0, check before shipping",
    "licence_weights": "Apache-2.0 as timm states it; the authors' code header says CC-BY-NC 4.0, check before shipping",
    "contract": crop_contract(0.875, IMAGENET),
    "fixed_size": True,
    "size_multiple": 16,
    "arguments": (
        *("patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio", "qkv_bias", "local_up_to_layer"),
        *("locality_strength", "use_pos_embed", "global_pool"),
    ),
    "fused_ops": ("GatedPositionalAttention",),
}


def _variant(name: str, parameters: int) -> ModelSpec:
    return ModelSpec(
        name=name, parameters=parameters, config={"variant": name}, pretrained=f"timm:{name}.fb_in1k", **FACTS
    )


VARIANTS = (
    _variant("convit_tiny", 5_710_512),
    _variant("convit_small", 27_777_322),
    _variant("convit_base", 86_540_040),
)
