"""ViT whose pooling is GGeM (Ko et al., Group Generalized Mean Pooling for Vision Transformer, arXiv:2212.04114).

The transformer is timm's ViT; only the pooling differs, so a timm checkpoint loads with ``ggem.p`` as the one new
parameter. The class token takes part in attention and is left out of the mean.

    image (B, 3, H, W) > tokens (B, 1 + N, C) > LayerNorm > GGeM over the N patch tokens (B, C) > logits (B, classes)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from timm.layers import resample_abs_pos_embed, to_2tuple
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from .names import timm_names

Size = tuple[int, int]  # height, width
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
    """timm's names are ours, others' become them; exponents of shape (G,) or (1, G) are taken as (G, 1)."""
    state = timm_names(state)
    p = state.get("ggem.p")
    if p is None or p.squeeze().ndim > 1:  # the comparison of shapes will say so
        return state
    return {**state, "ggem.p": p.reshape(-1, 1)}


def grid_of(tokens: int, patch: tuple[int, int], trained_size: Size, image_size: Size) -> Size | None:
    """The rows and columns of patches that ``tokens`` position embeddings were learned for; None where nothing says it.

    That of the size the checkpoint was trained at, where it has as many; else a square one, as nearly all are; else
    that of the image size asked for. The number alone tells no grid: 14x14 and 7x28 both have 196.
    """
    trained, asked = ((size[0] // patch[0], size[1] // patch[1]) for size in (trained_size, image_size))
    side = math.isqrt(tokens)
    return next((grid for grid in (trained, (side, side), asked) if grid[0] * grid[1] == tokens), None)


def at_size(
    state: dict[str, Tensor], config: Mapping[str, Any], image_size: Size, trained_size: Size
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The position embedding (1, 1 + N, C) brought to the patches of ``image_size``, as timm does."""
    embed, patch = state.get("pos_embed"), to_2tuple(config["patch_size"])
    if embed is None or embed.ndim != 3 or embed.shape[1] < 2:
        return state, ()
    tokens = embed.shape[1] - 1
    grid = (image_size[0] // patch[0], image_size[1] // patch[1])
    learned = grid_of(tokens, patch, trained_size, image_size)
    if learned is None or learned == grid:  # None: the comparison of shapes will say so
        return state, ()
    embed = resample_abs_pos_embed(embed, list(grid), list(learned), num_prefix_tokens=1)
    (rows, columns), (height, width) = learned, image_size
    note = f"position embedding resampled from {tokens} patches ({rows}x{columns}) to {grid[0]}x{grid[1]}"
    if tokens == grid[0] * grid[1]:
        told = f'{{"model_args": {{"img_size": [{height}, {width}]}}}}'
        note += f"; where it was learned for that grid, a config.json beside the checkpoint says so: {told}"
    return {**state, "pos_embed": embed}, (note,)


FILLED = {"ggem.p": "plain ViT weights: the pooling exponents start at 3, the head was not trained for them"}


def build(num_classes: int, image_size: tuple[int, int], **config: Any) -> nn.Module:
    """Both sides of ``image_size`` are multiples of the patch."""
    return ViTGGeM(num_classes=num_classes, img_size=image_size, **config)
