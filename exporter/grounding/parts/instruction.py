"""An instruction and the anchor over a stored screen -> one score for every visual token.

    tokens  <|vision_end|>, the instruction, the 12 tokens of the template, <|pointer_start|>, <|pointer_pad|> = the anchor

Rows are padded on the left. A padded row stands at the first position and sees the whole prefix, so no row is fully masked;
no real row sees padding, and the scoring leaves it out. Nothing of the size (heads, M, P) is kept but probabilities within a
layer: of them the sums over visual columns and the anchor's row go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from .attention import MASKED, attend_behind
from .layers import Language, constant, turn_alone, under, unit_rows
from .rotary import text_tables
from .sizes import TextSizes
from .stored import Storage
from .weighting import Scoring, Weighting

TABLES = ("prefix_cos", "prefix_sin")


class Instruction(nn.Module):
    """tokens int64 (B, M), lengths and start int64 (B), what ``storage`` stores, visual_sums (B, L, D) -> scores (B, V).

    lengths: the real tokens of each row; start: the text position of the first. prefix_cos, prefix_sin float32 (P, d) come
    before the stored tensors where the key bias is left out of them. ``before``: how many tokens stand before the picture.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, sizes: TextSizes, before: int, storage: Storage, weighting: Weighting) -> None:
        super().__init__()
        self.sizes, self.before, self.storage, self.weighting = sizes, before, storage, weighting
        self.model = under("language_model", Language(sizes, words=True))
        self.scoring = Scoring(weighting)
        cos, sin = text_tables(sizes)
        constant(self, "cos", cos)
        constant(self, "sin", sin)

    @property
    def inputs(self) -> tuple[str, ...]:
        tables = TABLES if self.storage.bias_left_out else ()
        return ("tokens", "lengths", "start", *tables, *self.storage.names, "visual_sums")

    def forward(self, tokens: Tensor, lengths: Tensor, start: Tensor, *rest: Tensor) -> Tensor:
        *given, visual_sums = rest
        tables, stored = given[: -len(self.storage.names)], given[-len(self.storage.names) :]
        language = cast(Language, self.get_submodule("model.language_model"))
        columns = torch.arange(tokens.shape[1])
        since = columns - (tokens.shape[1] - lengths)[:, None]  # (B, M): below 0 where padding
        positions = start[:, None] + since.clamp(min=0)
        cos, sin = self.cos[positions], self.sin[positions]  # (B, M, d/2)
        seen = (columns <= columns[:, None]) & (since >= 0)[:, None]  # (B, M, M)
        mask = torch.where(seen, 0.0, MASKED)[:, None, None]
        queries = slice(0, tokens.shape[1] - self.weighting.left_out)
        x = language.embed_tokens(tokens)
        like = x[0, 0, :1]
        visual = self._visual_columns(stored, tokens)
        affinity, mass, anchor = [], [], []
        for number, layer in enumerate(language.decoder_layers()):
            project = layer.self_attn
            y = layer.input_layernorm(x)
            bias = project.key_bias()
            k = turn_alone(project.key(y) + bias, cos, sin)
            old_keys, old_values = self.storage.read(stored, number, like)
            if tables:
                old_keys = old_keys + _turned_bias(bias, *tables)
            attended, seen_by = attend_behind(
                project.query(y, cos, sin), (old_keys, old_values), (k, project.value(y)), mask
            )
            x = layer.finish(x, attended)
            affinity.append(_affinity(language.output(x, number)[:, queries], visual_sums[:, number]))
            mass.append(_by_head(seen_by @ visual, tokens.shape[1])[:, :, queries, 0])
            anchor.append(_by_head(seen_by, tokens.shape[1])[:, :, -1, self.before : stored[0].shape[3]])
        found: Tensor = self.scoring(
            torch.stack(affinity, 1), torch.stack(mass, 1), torch.stack(anchor, 1), since[:, queries] >= 0
        )
        return found

    def _visual_columns(self, stored: Sequence[Tensor], tokens: Tensor) -> Tensor:
        """(P + M, 1): 1 for the columns of visual tokens, 0 for text before and behind."""
        columns = torch.arange(stored[0].shape[3] + tokens.shape[1])
        visual = (columns >= self.before) & (columns < stored[0].shape[3])
        return visual.float().unsqueeze(1)


def _turned_bias(bias: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """bias (Hk, d), tables (P, d) -> (Hk, P, d): R(p) b."""
    first, second = bias.chunk(2, dim=-1)
    return bias[:, None] * cos + torch.cat([-second, first], dim=-1)[:, None] * sin


def _by_head(rows: Tensor, columns: int) -> Tensor:
    """(B, Hk, G * M, ...) -> (B, Hq, M, ...)."""
    return rows.unflatten(2, (-1, columns)).flatten(1, 2)


def _affinity(rows: Tensor, sums: Tensor) -> Tensor:
    """rows (B, Q, D), sums (B, D) -> (B, Q): the cosine to every visual token, summed."""
    return (rows @ sums.unsqueeze(-1) * unit_rows(rows)).squeeze(-1)
