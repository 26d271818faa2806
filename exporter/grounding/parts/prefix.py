"""What of a screen does not depend on the instruction: fixed text and visual tokens -> keys, values and the sums S_l.

GUI-AIMA (github.com/sjz5202/GUI-AIMA): of every layer's output h_l the scoring reads, for the visual tokens v, only
S_l = sum_v h_l[v] / |h_l[v]|, so no hidden state is stored; no logit is computed. Further instructions start from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from .attention import attend_causal, causal_mask, causal_masks, rows_for
from .layers import ROWS, Language, constant, turn_alone, under, unit_rows
from .rotary import prefix_tables
from .sizes import TextSizes
from .stored import Storage


class FixedText(nn.Module):
    """The embeddings (T, D) of the words before the picture: rows of the table of words."""

    layouts: ClassVar[Mapping[str, str]] = {"weight": ROWS}
    source = "model.language_model.embed_tokens.weight"

    def __init__(self, tokens: Sequence[int], channels: int) -> None:
        super().__init__()
        self.rows = tuple(tokens)
        self.weight = nn.Parameter(torch.empty(len(self.rows), channels))


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
        self.model = under("language_model", Language(sizes, words=False))
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
        keys, values, sums = [], [], []
        for number, layer in enumerate(language.decoder_layers()):
            project = layer.self_attn
            y = layer.input_layernorm(x)
            plain = turn_alone(project.key(y), self.cos, self.sin)  # (B, Hk, P, d)
            bias = turn_alone(project.key_bias()[None, None], self.cos, self.sin)  # (1, Hk, P, d)
            v = project.value(y)
            full = plain + bias
            q = project.query(y, self.cos, self.sin).transpose(1, 2)  # (B, Hq, P, d)
            attended = attend_causal(q, self._repeated(full), self._repeated(v), masks)
            x = layer.finish(x, attended.transpose(1, 2).flatten(2))
            keys.append(plain if self.storage.bias_left_out else full)
            values.append(v)
            visual = language.output(x, number)[:, -self.visual :]
            sums.append((unit_rows(visual).transpose(1, 2) @ visual).squeeze(1))  # (B, D)
        return *self.storage.write(keys, values), torch.stack(sums, dim=1)

    def _repeated(self, side: Tensor) -> Tensor:
        """(B, Hk, P, d) -> (B, Hq, P, d): small beside the scores, and the form that engines fuse."""
        groups = self.sizes.heads // self.sizes.kv_heads
        return side.repeat_interleave(groups, dim=1) if groups > 1 else side
