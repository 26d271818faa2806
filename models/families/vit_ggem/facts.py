"""ViT with GGeM pooling: what is known of its variants."""

from __future__ import annotations

from typing import Any

from ...channels import ARGUMENT
from ...spec import ModelSpec
from ..contracts import HALVES, crop_contract

FACTS: dict[str, Any] = {
    "family": "vit_ggem",
    "channels_argument": ARGUMENT,
    "first_layers": ("patch_embed.proj",),
    "paper": "GGeM, Ko et al., 2022, arXiv:2212.04114, on ViT, Dosovitskiy et al., ICLR 2021, arXiv:2010.11929",
    "licence_code": "Apache-2.0 (timm, our own pooling)",
    "licence_weights": "Apache-2.0 (timm's ViT; nobody publishes weights trained with GGeM)",
    "contract": crop_contract(0.9, HALVES),
    "size_multiple": 16,
    "arguments": (
        *(
            "patch_size",
            "embed_dim",
            "depth",
            "num_heads",
            "mlp_ratio",
            "qkv_bias",
            "qk_norm",
            "init_values",
            "pre_norm",
        ),
        *("final_norm", "fc_norm", "global_pool"),
    ),
    "fused_ops": ("GGeMPool",),
}


def _variant(size: str, parameters: int, dim: int, depth: int, heads: int, tag: str) -> ModelSpec:
    return ModelSpec(
        name=f"vit_ggem_{size}_patch16",
        parameters=parameters,
        config={"patch_size": 16, "embed_dim": dim, "depth": depth, "num_heads": heads},
        pretrained=f"timm:vit_{size}_patch16_224.{tag}",
        **FACTS,
    )


VARIANTS = (
    _variant("tiny", 5_717_419, 192, 12, 3, "augreg_in21k_ft_in1k"),
    _variant("small", 22_050_670, 384, 12, 6, "augreg_in21k_ft_in1k"),
    _variant("base", 86_567_668, 768, 12, 12, "augreg2_in21k_ft_in1k"),
    _variant("large", 304_326_648, 1024, 24, 16, "augreg_in21k_ft_in1k"),
)
_SIZES = ("tiny", "small", "base", "large")
ALIASES = {f"vit_ggem_{size}{suffix}": f"vit_ggem_{size}_patch16" for size in _SIZES for suffix in ("", "_patch16_224")}
