"""ViT whose pooling is GGeM (Ko et al., Group Generalized Mean Pooling for Vision Transformer, arXiv:2212.04114).

The transformer is timm's ViT; only the pooling differs, so a timm checkpoint loads with ``ggem.p`` as the one new
parameter. The class token takes part in attention and is left out of the mean.

    image (B, 3, H, W) > tokens (B, 1 + N, C) > LayerNorm > GGeM over the N patch tokens (B, C) > logits (B, classes)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

EPS = 1e-6  # smallest value a token may have before the power; the golden file's


class GGeMPool(nn.Module):
    """(B, N, C) -> (B, C): generalised mean over the N tokens, one exponent for each group of channels.

    ``layout`` says which channels a group has: "contiguous", g(c) = c // (C/G), or "interleaved", g(c) = c mod G.
    """

    def __init__(self, groups: int, layout: str = "contiguous", eps: float = EPS) -> None:
        super().__init__()
        if layout not in ("contiguous", "interleaved"):
            raise ValueError(f"layout {layout!r}, expected contiguous or interleaved")
        self.p = nn.Parameter(torch.full((groups, 1), 3.0))  # (G, 1)
        self.groups, self.layout, self.eps = groups, layout, eps

    def forward(self, x: Tensor) -> Tensor:
        dtype = x.dtype
        if dtype in (torch.float16, torch.bfloat16):  # a cube overflows half precision at 40
            x = x.float()
        p = self.p.to(x.dtype)
        x = x.clamp(min=self.eps)
        if self.layout == "interleaved":
            p = p.view(1, self.groups)
            x = x.unflatten(-1, (-1, self.groups))  # (B, N, C/G, G)
        else:
            x = x.unflatten(-1, (self.groups, -1))  # (B, N, G, C/G)
        return x.pow(p).mean(dim=1).pow(1 / p).flatten(1).to(dtype)  # (B, C)


class ViTGGeM(VisionTransformer):
    """timm's ViT with :class:`GGeMPool` in place of the class token, one group an attention head."""

    def __init__(self, num_heads: int, ggem_layout: str = "contiguous", **config: Any) -> None:
        super().__init__(num_heads=num_heads, **config)
        self.ggem = GGeMPool(num_heads, ggem_layout)

    def pool(self, x: Tensor, pool_type: str | None = None) -> Tensor:
        """(B, 1 + N, C) -> (B, C)."""
        return self.ggem(x[:, self.num_prefix_tokens :])


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's names are ours; exponents of shape (G,) or (1, G) are taken as (G, 1)."""
    if "ggem.p" in state:
        state = {**state, "ggem.p": state["ggem.p"].reshape(-1, 1)}
    return state


def resample_positions(state: dict[str, Tensor], grid: tuple[int, int]) -> dict[str, Tensor]:
    """Bring a square position embedding (1, 1 + N, C) to another grid of patches, as timm does."""
    embed = state.get("pos_embed")
    if embed is None or embed.ndim != 3 or embed.shape[1] == 1 + grid[0] * grid[1]:
        return state
    side = round((embed.shape[1] - 1) ** 0.5)
    if side < 1 or side * side != embed.shape[1] - 1:
        return state  # not a square grid: the comparison of shapes will say so
    return {**state, "pos_embed": resample_abs_pos_embed(embed, list(grid), [side, side], num_prefix_tokens=1)}


def at_size(
    state: dict[str, Tensor], config: Mapping[str, Any], image_size: tuple[int, int]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The position embedding brought to the patches of ``image_size``."""
    if "pos_embed" not in state:
        return state, ()
    patch = config["patch_size"]
    resampled = resample_positions(state, (image_size[0] // patch, image_size[1] // patch))
    if resampled["pos_embed"].shape == state["pos_embed"].shape:
        return state, ()
    return resampled, (f"position embedding resampled from {state['pos_embed'].shape[1] - 1} patches",)


FILLED = {"ggem.p": "plain ViT weights: the pooling exponents start at 3, the head was not trained for them"}


def build(num_classes: int, image_size: tuple[int, int], **config: Any) -> nn.Module:
    """Both sides of ``image_size`` are multiples of the patch."""
    return ViTGGeM(num_classes=num_classes, img_size=image_size, **config)
