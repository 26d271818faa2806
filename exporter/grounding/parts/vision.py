"""The picture's tower: pixels of one size -> visual tokens in raster order.

Bai et al., Qwen2.5-VL, arXiv:2502.13923, section 2.1.1. transformers cuts the tokens into windows at run time, by lengths that
are data; here the grid is known, so the order is a constant: cells in windows of 4 x 4, windows of one shape side by side. The
windows of a shape are a batch axis, so the narrower ones at the right and lower edge need neither padding nor a mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ...trace.repeated import Layers, call_layer
from .attention import CHUNKS, Cuts, attend, attend_rows, rows_for
from .layers import COLOURS, GatedMLP, Linear, RMSNorm, constant, under
from .rotary import patch_tables, turn
from .sizes import CELL_PX, MERGE, PATCH_PX, WINDOW, VisionSizes

Groups = Sequence[tuple[int, int]]  # (windows, patches in each), one for every shape of window


def window_order(grid: tuple[int, int]) -> tuple[NDArray[np.int64], Groups]:
    """The cells of ``grid`` (rows, columns) window by window, windows of one shape together; raster numbers (V,)."""
    cells = np.arange(grid[0] * grid[1]).reshape(grid)
    windows: dict[tuple[int, ...], list[NDArray[np.int64]]] = {}
    for row in range(0, grid[0], WINDOW):
        for column in range(0, grid[1], WINDOW):
            window = cells[row : row + WINDOW, column : column + WINDOW]
            windows.setdefault(window.shape, []).append(window.ravel())
    order = np.concatenate([window for alike in windows.values() for window in alike])
    return order, [(len(alike), len(alike[0]) * MERGE**2) for alike in windows.values()]


class PatchConv(nn.Module):
    """(B, 3, H, W) -> (B, C, H / 14, W / 14); the kernel's two frames see the same picture.

    Each colour is summed by itself: engines that add all 588 products one to the next lose more here in float32 than in the rest
    of the tower.
    """

    layouts: ClassVar[Mapping[str, str]] = {"weight": COLOURS}

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(3 * channels, 1, PATCH_PX, PATCH_PX))

    def forward(self, pixels: Tensor) -> Tensor:
        red, green, blue = F.conv2d(pixels, self.weight, stride=PATCH_PX, groups=3).chunk(3, dim=1)
        return red + green + blue


class VisionAttention(nn.Module):
    """(B, N, C) -> (B, N, C) before ``proj``; no groups: all patches see each other, ``rows`` of them at a time.

    ``apart`` names the layer of the checkpoint whose thirds q, k and v then are, each by itself.
    """

    def __init__(self, sizes: VisionSizes, groups: Groups, rows: int, apart: str = "") -> None:
        super().__init__()
        self.groups, self.rows = groups, rows
        wide = sizes.hidden
        thirds = [Linear(wide, wide).part_of(apart, first) for first in (0, wide, 2 * wide)] if apart else []
        self.qkv = nn.ModuleList(thirds) if apart else Linear(wide, 3 * wide)
        self.proj = Linear(wide, wide)
        self.head_dim = sizes.head_dim

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        if isinstance(self.qkv, nn.ModuleList):
            q, k, v = (third(x) for third in self.qkv)
        else:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
        q = turn(q.unflatten(-1, (-1, self.head_dim)), cos, sin) * self.head_dim**-0.5  # (B, N, H, d)
        k = turn(k.unflatten(-1, (-1, self.head_dim)), cos, sin)
        v = v.unflatten(-1, (-1, self.head_dim))
        if not self.groups:
            attended = attend_rows(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), self.rows).transpose(1, 2)
        else:
            sizes = [windows * patches for windows, patches in self.groups]
            parts = zip(*(tensor.split(sizes, dim=1) for tensor in (q, k, v)), self.groups, strict=True)
            attended = torch.cat([_in_windows(*part) for part in parts], dim=1)
        return attended.flatten(2)


def _in_windows(q: Tensor, k: Tensor, v: Tensor, group: tuple[int, int]) -> Tensor:
    """(B, windows * patches, H, d) -> the same, every window by itself."""
    patches = group[1]
    apart = (tensor.reshape(-1, patches, *tensor.shape[2:]).transpose(1, 2) for tensor in (q, k, v))
    return attend(*apart).transpose(1, 2).reshape(q.shape)


class VisionBlock(nn.Module):
    """x (B, N, C), tables (N, d/2) -> (B, N, C)."""

    def __init__(self, sizes: VisionSizes, groups: Groups, cuts: Cuts, number: int) -> None:
        super().__init__()
        patches = sum(windows * each for windows, each in groups)
        rows = patches if cuts.whole_attention else rows_for(sizes.heads, patches)
        self.norm1, self.norm2 = RMSNorm(sizes.hidden), RMSNorm(sizes.hidden)
        place = f"model.visual.blocks.{number}.attn.qkv" if cuts.apart else ""
        self.attn = VisionAttention(sizes, () if number in sizes.full_blocks else groups, rows, place)
        self.mlp = GatedMLP(sizes.hidden, sizes.mlp, bias=True)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor]:
        attended = self.attn(self.norm1(x), cos, sin)
        x = x + self.attn.proj(attended)
        return (x + self.mlp(self.norm2(x)),)


class Merger(nn.Module):
    """(B, 4 V, C) -> (B, V, D): the four patches of a cell become one token."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        inner = MERGE**2 * sizes.hidden
        self.ln_q = RMSNorm(sizes.hidden)
        self.mlp = nn.ModuleList([Linear(inner, inner), nn.Identity(), Linear(inner, sizes.out)])

    def forward(self, x: Tensor) -> Tensor:
        cells = self.ln_q(x).unflatten(1, (-1, MERGE**2)).flatten(2)
        merged: Tensor = self.mlp[2](F.gelu(self.mlp[0](cells)))
        return merged


class Tower(nn.Module):
    def __init__(self, sizes: VisionSizes, groups: Groups, cuts: Cuts) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": PatchConv(sizes.hidden)})
        self.blocks = nn.ModuleList([VisionBlock(sizes, groups, cuts, n) for n in range(sizes.depth)])
        self.merger = Merger(sizes)


class Vision(nn.Module):
    """pixels float32 (B, 3, H, W), normalised RGB -> image_embeds (B, V, D); H and W are multiples of 28."""

    order: Tensor
    raster: Tensor
    patch_cos: Tensor
    patch_sin: Tensor

    def __init__(self, sizes: VisionSizes, grid: tuple[int, int], cuts: Cuts = CHUNKS) -> None:
        super().__init__()
        self.sizes, self.grid = sizes, grid
        order, groups = window_order(grid)
        self.model = under("visual", Tower(sizes, groups, cuts))
        self.layers: Layers | None = None
        cos, sin = patch_tables(sizes, order, grid)
        constant(self, "order", order)
        constant(self, "raster", np.argsort(order))
        constant(self, "patch_cos", cos)
        constant(self, "patch_sin", sin)

    @property
    def example(self) -> dict[str, tuple[int, ...]]:
        return {"pixels": (2, 3, self.grid[0] * CELL_PX, self.grid[1] * CELL_PX)}

    def forward(self, pixels: Tensor) -> Tensor:
        tower = cast(Tower, self.get_submodule("model.visual"))
        maps = tower.patch_embed["proj"](pixels)  # (B, C, 2 rows, 2 columns)
        cells = maps.unflatten(3, (-1, MERGE)).unflatten(2, (-1, MERGE)).permute(0, 2, 4, 3, 5, 1)
        x = cells.flatten(3, 4).flatten(1, 2).index_select(1, self.order).flatten(1, 2)  # (B, V, 4, C) -> (B, 4 V, C)
        for number, block in enumerate(tower.blocks):
            kind = "FullBlock" if number in self.sizes.full_blocks else "WindowBlock"
            inputs = (x, self.patch_cos, self.patch_sin)
            (x,) = call_layer(self.layers, kind, f"model.visual.blocks.{number}", block, inputs, (x.shape,))
        found: Tensor = tower.merger(x).index_select(1, self.raster)
        return found
