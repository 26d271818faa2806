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

from ...trace.repeated import Layers, call_layer
from .attention import MASKED, attend_behind
from .layers import DecoderLayer, Language, constant, turn_alone, under, unit_rows
from .rotary import text_tables
from .sizes import TextSizes
from .stored import Storage
from .weighting import Scoring, Weighting

TABLES = ("prefix_cos", "prefix_sin")


class InstructionLayer(DecoderLayer):
    """Rows over what is stored of one layer -> x (B, M, D), mass (B, Hq, M), the anchor's row over visual tokens (B, Hq, V)."""

    def __init__(self, sizes: TextSizes, before: int) -> None:
        super().__init__(sizes)
        self.before = before

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, visual: Tensor,
        *tables: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        y, project, bias = self.input_layernorm(x), self.self_attn, self.self_attn.key_bias()
        new = turn_alone(project.key(y) + bias, cos, sin), project.value(y)
        old = keys + _turned_bias(bias, *tables) if tables else keys
        attended, seen = attend_behind(project.query(y, cos, sin), (old, values), new, mask)
        mass = _by_head(seen @ visual, x.shape[1])[..., 0]
        anchor = _by_head(seen, x.shape[1])[:, :, -1, self.before : keys.shape[2]]
        return self.finish(x, attended), mass, anchor


class Instruction(nn.Module):
    """tokens int64 (B, M), lengths and start int64 (B), what ``storage`` stores, visual_sums (B, L, D) -> scores (B, V).

    lengths: the real tokens of each row; start: the text position of the first. prefix_cos, prefix_sin float32 (P, d) come
    before the stored tensors where the keys are to be turned or lack their bias. ``before``: tokens before the picture.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, sizes: TextSizes, before: int, storage: Storage, weighting: Weighting) -> None:
        super().__init__()
        self.sizes, self.before, self.storage, self.weighting = sizes, before, storage, weighting
        layers = [InstructionLayer(sizes, before) for _ in range(sizes.layers)]
        self.model = under("language_model", Language(sizes, layers, words=True))
        self.layers: Layers | None = None
        self.scoring = Scoring(weighting)
        cos, sin = text_tables(sizes)
        constant(self, "cos", cos)
        constant(self, "sin", sin)

    @property
    def inputs(self) -> tuple[str, ...]:
        tables = TABLES if self.storage.takes_tables else ()
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
        queries = tokens.shape[1] - self.weighting.left_out  # rows; narrow, since a slice's length would stay unknown
        x = language.embed_tokens(tokens)
        like = x[0, 0, :1]
        visual = self._visual_columns(stored, tokens)
        batch, prefix = tokens.shape[0], stored[0].shape[3]
        shapes = (x.shape, (batch, self.sizes.heads, tokens.shape[1]), (batch, self.sizes.heads, prefix - self.before))
        halves = [table[:, : table.shape[1] // 2] for table in tables]
        missing = () if self.storage.rotated else tables  # of keys that come without their bias
        rows, mass, anchor = [], [], []
        for number, layer in enumerate(language.layers):
            bias = cast(InstructionLayer, layer).self_attn.key_bias()
            inputs = (x, *self.storage.read(stored, number, like, bias, halves), cos, sin, mask, visual, *missing)
            place = f"model.language_model.layers.{number}"
            x, of_layer, of_anchor = call_layer(self.layers, "Instruction", place, layer, inputs, shapes)
            rows.append(language.output(x, number).narrow(1, 0, queries))
            mass.append(of_layer)
            anchor.append(of_anchor)
        h = torch.stack(rows, 1)  # (B, L, Q, D)
        affinity = (h @ visual_sums.unsqueeze(-1) * unit_rows(h)).squeeze(-1)
        found: Tensor = self.scoring(
            affinity,
            torch.stack(mass, 1).narrow(3, 0, queries),
            torch.stack(anchor, 1),
            since.narrow(1, 0, queries) >= 0,
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
