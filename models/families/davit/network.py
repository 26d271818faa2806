"""DaViT: dual attention vision transformers (Ding et al., ECCV 2022, arXiv:2204.03645).

The network is timm's, which agrees with the authors' and, unlike it, does not fix the batch when exported.

    image (B, 3, H, W) > 4 stages at 1/4, 1/8, 1/16, 1/32, each of spatial-window and channel-group attention blocks
    > mean over positions > LayerNorm > logits (B, classes)
"""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor, nn

_OFFICIAL_TO_TIMM = (
    (r"^patch_embeds\.0\.proj\.", "stem.conv."),
    (r"^patch_embeds\.0\.norm\.", "stem.norm."),
    (r"^patch_embeds\.(\d+)\.proj\.", r"stages.\1.downsample.conv."),
    (r"^patch_embeds\.(\d+)\.norm\.", r"stages.\1.downsample.norm."),
    (r"^main_blocks\.(\d+)\.", r"stages.\1.blocks."),
    (r"\.cpe\.0\.", ".cpe1."),
    (r"\.cpe\.1\.", ".cpe2."),
    (r"^norms\.", "head.norm."),
    (r"^head\.(weight|bias)$", r"head.fc.\1"),
)


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Official names become timm's; timm's stay."""
    if not any(name.startswith(("patch_embeds.", "main_blocks.")) for name in state):
        return state
    return {_timm_name(name): value for name, value in state.items()}


def _timm_name(name: str) -> str:
    for pattern, replacement in _OFFICIAL_TO_TIMM:
        name = re.sub(pattern, replacement, name)
    return name


def build(num_classes: int, image_size: tuple[int, int], variant: str, **config: Any) -> nn.Module:
    """``variant`` is timm's name; ``config`` narrows or deepens it. One model serves every image size."""
    import timm

    return timm.create_model(variant, num_classes=num_classes, **config)
