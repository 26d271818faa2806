"""What of a screen does not depend on the instruction: fixed text and visual tokens -> keys, values and the sums S_l.

GUI-AIMA (github.com/sjz5202/GUI-AIMA): of every layer's output h_l the scoring reads, for the visual tokens v, only
S_l = sum_v h_l[v] / |h_l[v]|, so no hidden state is stored; no logit is computed. Further instructions start from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ...trace.repeated import Layers, call_layer
from .attention import attend_causal, causal_mask, causal_masks, rows_for
from .layers import DecoderLayer, Language, constant, turn_alone, under, unit_rows
from .rotary import prefix_tables
from .sizes import TextSizes
from .stored import Storage


class FixedText(nn.Module):
    """The embeddings (T, D) of the words before the picture: rows of the table of words."""

    source = "model.language_model.embed_tokens"

    def __init__(self, tokens: Sequence[int], channels: int) -> None:
        super().__init__()
        self.rows = tuple(tokens)
        self.weight = nn.Parameter(torch.empty(len(self.rows), channels))


class PrefixLayer(DecoderLayer):
    """x (B, P, D), tables (P, d/2), the masks of the chunks -> x, S_l (B, D), value and the keys to store (B, Hk, P, d)."""

    def __init__(self, sizes: TextSizes, visual: int, storage: Storage) -> None:
        super().__init__(sizes)
        self.visual, self.storage = visual, storage
        self.groups = sizes.heads // sizes.kv_heads

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, *masks: Tensor) -> tuple[Tensor, ...]:
        y, project = self.input_layernorm(x), self.self_attn
        plain = project.key(y)  # (B, P, Hk, d)
        turned = turn_alone(plain, cos, sin)  # (B, Hk, P, d)
        full = turned + turn_alone(project.key_bias()[None, None], cos, sin)
        v = project.value(y)
        q = project.query(y, cos, sin).transpose(1, 2)  # (B, Hq, P, d)
        attended = attend_causal(q, self._repeated(full), self._repeated(v), masks)
        x = self.finish(x, attended.transpose(1, 2).flatten(2))
        return x, visual_sum(x, self.visual), v, *self.storage.handed(plain, turned, full, project.key_bias())

    def _repeated(self, side: Tensor) -> Tensor:
        """(B, Hk, P, d) -> (B, Hq, P, d): small beside the scores, and the form that engines fuse."""
        return side.repeat_interleave(self.groups, dim=1) if self.groups > 1 else side


class Prefix(nn.Module):
    """image_embeds (B, V, D) -> the stored keys and values (stored.py) and visual_sums (B, L, D).

    ``before`` are the tokens of the fixed text up to and with <|vision_start|>; positions are M-RoPE of ``grid``.
    """

    cos: Tensor
    sin: Tensor
    mask: Tensor

    def __init__(self, sizes: TextSizes, before: Sequence[int], grid: tuple[int, int], storage: Storage) -> None:
        super().__init__()
        self.sizes, self.storage, self.grid = sizes, storage, grid
        self.visual = grid[0] * grid[1]
        self.tokens = len(before) + self.visual
        layers = [PrefixLayer(sizes, self.visual, storage) for _ in range(sizes.layers)]
        self.model = under("language_model", Language(sizes, layers))
        self.layers: Layers | None = None
        self.fixed_text = FixedText(before, sizes.hidden)
        cos, sin = prefix_tables(sizes, len(before), grid)
        constant(self, "cos", cos)
        constant(self, "sin", sin)
        rows = min(self.tokens, rows_for(sizes.heads, self.tokens))
        constant(self, "mask", causal_mask(rows, self.tokens))

    @property
    def example(self) -> dict[str, tuple[int, ...]]:
        return {"image_embeds": (2, self.visual, self.sizes.hidden)}

    @property
    def outputs(self) -> tuple[str, ...]:
        return (*self.storage.names, "visual_sums")

    def forward(self, image_embeds: Tensor) -> tuple[Tensor, ...]:
        language = cast(Language, self.get_submodule("model.language_model"))
        text = self.fixed_text.weight.expand(image_embeds.shape[0], -1, -1)
        x = torch.cat([text, image_embeds], dim=1)  # (B, P, D)
        masks = causal_masks(self.mask, self.tokens)
        batch, size = x.shape[0], self.sizes
        side = (batch, size.kv_heads, self.tokens, size.head_dim)
        keys = (side,) * (2 if self.storage.rotated else 1)
        shapes = ((batch, self.tokens, size.hidden), (batch, size.hidden), side, *keys)
        stored, sums = [], []
        for number, layer in enumerate(language.layers):
            place = f"model.language_model.layers.{number}"
            hidden, inputs = x, (x, self.cos, self.sin, *masks)
            x, visual, value, *handed = call_layer(self.layers, "Prefix", place, layer, inputs, shapes)
            stored.append(self.storage.write(handed, value, hidden))
            sums.append(visual)
        sums[-1] = visual_sum(language.norm(x), self.visual)
        return *(torch.stack(alike, dim=1) for alike in zip(*stored, strict=True)), torch.stack(sums, dim=1)


def visual_sum(h: Tensor, visual: int) -> Tensor:
    """h (B, P, D), of whose rows the last are visual -> (B, D): the sum of their unit vectors."""
    rows = h[:, -visual:]
    return (unit_rows(rows).transpose(1, 2) @ rows).squeeze(1)
