"""The small Qwen2.5-VL, run for training: many screens of one size at once, several instructions for each.

    pictures (B, 3, H, W) -> see -> (B, V, D) -> read -> Prefix -> point(tokens (B, I, M), lengths (B, I)) -> Pointed

Weights and their names are those of transformers' modules; the arithmetic is the same (a test holds it to theirs), in another
order: what stands before the instruction is computed once a screen, the fixed text before the picture once a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PATCH, MERGE, WINDOW = 14, 2, 4  # pixels, patches and merged tokens a side
CELL = PATCH * MERGE


@dataclass(frozen=True)
class Prefix:
    """Keys and values of each layer (B, Hk, P, d), the sums S_l of GUI-AIMA (B, L, D), and where the text goes on."""

    keys: list[Tensor]
    values: list[Tensor]
    sums: Tensor
    visual: slice
    start: int


@dataclass(frozen=True)
class Pointed:
    """Patch scores (B, I, V), which sum to 1, and the anchor's state half-way through the layers, (B, I, D)."""

    scores: Tensor
    anchor: Tensor


@dataclass(frozen=True)
class Grid:
    """Tables of a grid of merged tokens: rotary angles of the patches, windows and the way back."""

    cos: Tensor  # (4 V, d)
    sin: Tensor
    windows: Tensor  # int64 (W, 16), merged tokens; beyond the edge the first one stands in
    inside: Tensor  # bool (W, 1, 1, 64), patches
    back: Tensor  # int64 (V,), places in the flattened windows


@cache
def grid(rows: int, columns: int, head: int, theta: float = 10_000.0) -> Grid:
    """Qwen2.5-VL's tables (arXiv:2502.13923): the first half of the angles turns with the row, the second with the column."""
    r, c = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    i, j = torch.meshgrid(torch.arange(MERGE), torch.arange(MERGE), indexing="ij")
    place = torch.stack(
        [(r[..., None, None] * MERGE + i).flatten(), (c[..., None, None] * MERGE + j).flatten()]
    ).float()  # (2, 4 V)
    turns = theta ** -(torch.arange(0, head // 2, 2) / (head // 2))
    angles = (place[..., None] * turns).permute(1, 0, 2).flatten(1).repeat(1, 2)  # (4 V, head)
    down, right = -(-rows // WINDOW), -(-columns // WINDOW)
    tokens = torch.full((down * WINDOW, right * WINDOW), -1)
    tokens[:rows, :columns] = torch.arange(rows * columns).view(rows, columns)
    windows = tokens.view(down, WINDOW, right, WINDOW).transpose(1, 2).reshape(-1, WINDOW * WINDOW)
    back = torch.zeros(rows * columns, dtype=torch.long)
    flat = windows.flatten()
    back[flat[flat >= 0]] = torch.nonzero(flat >= 0).flatten()
    inside = (windows >= 0).repeat_interleave(MERGE * MERGE, dim=1)[:, None, None]
    return Grid(angles.cos(), angles.sin(), windows.clamp(min=0), inside, back)


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding; (..., d) and tables that broadcast to it."""
    half = x.shape[-1] // 2
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sin


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Plain attention (..., N, d): on one core its gradient takes a fraction of the fused one's time at these sizes."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(dim=-1).to(v.dtype) @ v


def norm(x: Tensor, module: Any) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], module.weight.to(x.dtype), module.variance_epsilon)


def unit(x: Tensor) -> Tensor:
    return F.normalize(x.float(), dim=-1)


def patch_rows(pictures: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B H/14 W/14, 588): one row a patch, four together make a token."""
    rows, columns = (side // CELL for side in pictures.shape[-2:])
    blocks = pictures.unflatten(3, (columns, MERGE, PATCH)).unflatten(2, (rows, MERGE, PATCH))
    return blocks.permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(-1, 3 * PATCH * PATCH)


class Grounder(nn.Module):
    """Holds transformers' Qwen2_5_VLForConditionalGeneration as ``model``."""

    def __init__(self, config: dict[str, Any], before: list[int]) -> None:
        super().__init__()
        from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

        self.model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**config)).float()
        self.vision, self.text = self.model.model.visual, self.model.model.language_model
        self.before = torch.tensor(before)
        self.heads = config["num_attention_heads"]
        self.kv_heads = config["num_key_value_heads"]
        self.head = config["hidden_size"] // self.heads
        self.sections = config["rope_scaling"]["mrope_section"]
        self.theta = config["rope_theta"]

    def see(self, pictures: Tensor) -> Tensor:
        """Normalised pictures (B, 3, H, W) -> image embeddings (B, V, D) in raster order."""
        batch, _, height, width = pictures.shape
        rows, columns = height // CELL, width // CELL
        heads = self.vision.config.num_heads
        tables = grid(rows, columns, self.vision.config.hidden_size // heads)
        weight = self.vision.patch_embed.proj.weight.sum(dim=2).flatten(1)  # a still is two equal frames
        x = F.linear(patch_rows(pictures).view(batch, -1, weight.shape[1]), weight)  # (B, N, C)
        for index, block in enumerate(self.vision.blocks):
            q, k, v = block.attn.qkv(norm(x, block.norm1)).unflatten(-1, (3, heads, -1)).unbind(2)  # (B, N, heads, d)
            cos, sin = tables.cos[:, None], tables.sin[:, None]
            q, k = turn(q, cos, sin), turn(k, cos, sin)
            if index in self.vision.fullatt_block_indexes:
                y = attend(*(part.transpose(1, 2) for part in (q, k, v))).transpose(1, 2)
            else:
                y = self._in_windows(q, k, v, tables)
            x = x + block.attn.proj(y.flatten(2))
            h = norm(x, block.norm2)
            x = x + block.mlp.down_proj(F.silu(block.mlp.gate_proj(h)) * block.mlp.up_proj(h))
        merged = norm(x, self.vision.merger.ln_q).reshape(batch, rows * columns, -1)
        return self.vision.merger.mlp(merged)

    def _in_windows(self, q: Tensor, k: Tensor, v: Tensor, tables: Grid) -> Tensor:
        """Attention within each window; (B, N, heads, d) -> the same."""
        batch = q.shape[0]
        parts = [
            part.unflatten(1, (-1, MERGE * MERGE))[:, tables.windows].flatten(0, 1).flatten(1, 2).transpose(1, 2)
            for part in (q, k, v)
        ]  # (B W, heads, 64, d)
        y = attend(*parts, tables.inside.repeat(batch, 1, 1, 1)).transpose(1, 2)  # (B W, 64, heads, d)
        y = y.unflatten(1, (-1, MERGE * MERGE)).unflatten(0, (batch, -1)).flatten(1, 2)  # (B, W 16, 4, heads, d)
        return y[:, tables.back].flatten(1, 2)

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Positions (3, N) on the axes time, row, column -> cosines and sines (N, d), sections in turn."""
        turns = self.theta ** -(torch.arange(0, self.head, 2) / self.head)
        all_axes = positions[..., None].float() * turns  # (3, N, d/2)
        parts = [part[axis % 3] for axis, part in enumerate(all_axes.split(self.sections, dim=-1))]
        chosen = torch.cat(parts, dim=-1).repeat(1, 2)
        return chosen.cos(), chosen.sin()

    def _qkv(self, layer: Any, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = norm(x, layer.input_layernorm)
        attention = layer.self_attn
        q, k, v = (
            projection(h).unflatten(-1, (-1, self.head)).transpose(-3, -2)
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )  # (..., heads, N, d)
        return turn(q, cos, sin), turn(k, cos, sin), v

    def _rest(self, layer: Any, x: Tensor, y: Tensor) -> Tensor:
        """After attention: ``y`` (..., heads, N, d)."""
        x = x + layer.self_attn.o_proj(y.transpose(-3, -2).flatten(-2))
        h = norm(x, layer.post_attention_layernorm)
        return x + layer.mlp.down_proj(F.silu(layer.mlp.gate_proj(h)) * layer.mlp.up_proj(h))

    def read(self, embeds: Tensor, rows: int, columns: int) -> Prefix:
        """The fixed text, then the picture (B, V, D), causally."""
        batch, many = embeds.shape[0], self.heads // self.kv_heads
        words = len(self.before)
        at = torch.arange(words)
        place = torch.arange(rows * columns)
        text = self.angles(at.expand(3, -1))
        seen = self.angles(torch.stack([torch.zeros_like(place), place // columns, place % columns]) + words)
        fixed, x = self.text.embed_tokens(self.before)[None].to(embeds.dtype), embeds
        mask = torch.ones(words + len(place), words + len(place), dtype=torch.bool).tril()
        keys, values, sums = [], [], []
        layers = self.text.layers
        for index, layer in enumerate(layers):
            q0, k0, v0 = self._qkv(layer, fixed, *text)
            if index + 1 < len(layers):
                y = attend(q0, k0.repeat_interleave(many, 1), v0.repeat_interleave(many, 1), mask[:words, :words])
                fixed = self._rest(layer, fixed, y)
            q, k, v = self._qkv(layer, x, *seen)
            k, v = (torch.cat([some.expand(batch, -1, -1, -1), own], dim=2) for some, own in ((k0, k), (v0, v)))
            y = attend(q, k.repeat_interleave(many, 1), v.repeat_interleave(many, 1), mask[words:])
            x = self._rest(layer, x, y)
            keys.append(k)
            values.append(v)
            out = x if index + 1 < len(layers) else norm(x, self.text.norm)
            sums.append(unit(out).sum(dim=1))
        return Prefix(keys, values, torch.stack(sums, 1), slice(words, words + len(place)), words + max(rows, columns))

    def point(self, prefix: Prefix, tokens: Tensor, lengths: Tensor) -> Pointed:
        """Left-padded tokens int64 (B, I, M) from <|vision_end|> to the anchor, lengths (B, I); mode query_1."""
        batch, asks, most = tokens.shape
        many = self.heads // self.kv_heads
        padded = most - lengths  # (B, I)
        at = (torch.arange(most) - padded[..., None]).clamp(min=0) + prefix.start  # (B, I, M)
        cos, sin = self.angles(at.flatten().expand(3, -1))
        cos, sin = (table.view(batch, asks, 1, most, -1) for table in (cos, sin))
        real = torch.arange(most) >= padded[..., None]
        own_mask = torch.ones(most, most, dtype=torch.bool).tril() & (
            real[:, :, None] | torch.eye(most, dtype=torch.bool)
        )
        query = real & (torch.arange(most) < most - 2)  # of GUI-AIMA: up to before <|pointer_start|>
        x = self.text.embed_tokens(tokens).to(prefix.values[0].dtype)  # (B, I, M, D)
        anchors, masses, affinity, half_way = [], [], torch.zeros(()), x
        for index, layer in enumerate(self.text.layers):
            q, k, v = self._qkv(layer, x, cos, sin)  # (B, I, heads, M, d)
            k, v = k.repeat_interleave(many, 2), v.repeat_interleave(many, 2)
            stored = prefix.keys[index].repeat_interleave(many, 1), prefix.values[index].repeat_interleave(many, 1)
            folded = q.transpose(1, 2).flatten(2, 3)  # (B, heads, I M, d)
            far = (
                (folded @ stored[0].transpose(-1, -2)).unflatten(2, (asks, most)).transpose(1, 2)
            )  # (B, I, heads, M, P)
            near = (q @ k.transpose(-1, -2)).masked_fill(~own_mask[:, :, None], float("-inf"))  # (B, I, heads, M, M)
            maps = torch.cat([far, near], dim=-1).mul(self.head**-0.5).softmax(dim=-1)
            away = maps[..., : far.shape[-1]].to(v.dtype).transpose(1, 2).flatten(2, 3) @ stored[1]
            y = away.unflatten(2, (asks, most)).transpose(1, 2) + maps[..., far.shape[-1] :].to(v.dtype) @ v
            x = self._rest(layer, x, y)
            half_way = x[:, :, -1] if index + 1 == len(self.text.layers) // 2 else half_way
            visual = maps[..., prefix.visual]
            anchors.append(visual[:, :, :, -1].float())  # (B, I, heads, V)
            masses.append(visual.sum(dim=-1).float())  # (B, I, heads, M)
            out = x if index + 1 < len(self.text.layers) else norm(x, self.text.norm)
            affinity = affinity + torch.einsum("bimd,bd->bim", unit(out), prefix.sums[:, index])
        best = affinity.masked_fill(~query, float("-inf")).argmax(dim=-1)  # (B, I)
        mass = torch.cat(masses, dim=2)  # (B, I, L heads, M)
        weights = mass.gather(3, best[..., None, None].expand(-1, -1, mass.shape[2], 1))[..., 0].softmax(dim=-1)
        scores = (weights[..., None] * torch.cat(anchors, dim=2)).sum(dim=2)
        return Pointed(scores / (scores.sum(dim=-1, keepdim=True) + 1e-8), half_way)
