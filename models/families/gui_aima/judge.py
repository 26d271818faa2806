"""The method in plain PyTorch, in the type of its weights (float32 where it judges), on transformers' layers: the judge of graphs and bundles.

    ids, pixels, positions -> layers one by one -> Attention (rows of the anchor and the queries) -> patch scores

Every input that positions depend on is given with each call: nothing is kept in the module from one screen to the next.
Queries and keys are computed a second time from what goes into a layer's attention, so that any attention implementation may
run inside, and no map of all tokens against all is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .picture import grid_of, patch_rows
from .prompt import Prompt, positions
from .scoring import Attention, patch_scores
from .weighting import Weighting

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Where things stand in a sequence: tokens before the screen, its grid, the queries, the template's part of them."""

    before: int
    grid: tuple[int, int]  # rows, columns of visual tokens
    queries: int  # from <|vision_end|> to the template's end
    template: int

    @property
    def visual(self) -> slice:
        return slice(self.before, self.before + self.grid[0] * self.grid[1])

    @property
    def rows(self) -> slice:
        return slice(self.visual.stop, self.visual.stop + self.queries)

    @property
    def anchor(self) -> int:
        """Behind the queries stands <|pointer_start|>, then the anchor."""
        return self.rows.stop + 1


@dataclass(frozen=True, eq=False)
class Seen:
    """Everything that the judge saw; ``hidden`` only where it was asked for."""

    attention: Attention
    image: np.ndarray  # (V, D): the visual tokens
    visual_sums: np.ndarray  # (L, D): S_l
    keys: np.ndarray | None  # (L, kv heads, N, d) with positions and bias; None unless asked for
    values: np.ndarray | None
    hidden: tuple[np.ndarray, ...]  # L + 1 times (N, D): the embeddings, then h_1 .. h_L


def scores(
    module: Any, prompt: Prompt, pixels: np.ndarray, instruction: Sequence[int], weighting: Weighting
) -> np.ndarray:
    """(V,) float64 patch scores of one instruction on one screen; ``pixels`` (3, H, W) as picture.prepared gives them."""
    return patch_scores(see(module, prompt, pixels, instruction).attention, weighting)


def see(
    module: Any, prompt: Prompt, pixels: np.ndarray, instruction: Sequence[int], *, all_of_it: bool = False
) -> Seen:
    """Run everything; ``module`` is what network.filled gives. ``all_of_it`` keeps hidden states, keys and values too."""
    import torch

    layout = layout_of(prompt, pixels, instruction)
    ids = prompt.ids(instruction, layout.grid)
    with torch.inference_mode():
        embedded = embeddings(module, ids, image_embeddings(module, pixels), layout)
        decoder = module.model.language_model
        return run(decoder.layers, decoder.norm, decoder.rotary_emb, embedded, layout, all_of_it=all_of_it)


def layout_of(prompt: Prompt, pixels: np.ndarray, instruction: Sequence[int]) -> Layout:
    """Of the sequence that ``prompt.ids`` gives for prepared ``pixels`` (3, H, W)."""
    grid = grid_of((pixels.shape[1], pixels.shape[2]))
    return Layout(len(prompt.before), grid, len(prompt.tail(instruction)) - 2, len(prompt.after))


def image_embeddings(module: Any, pixels: np.ndarray) -> Tensor:
    """(3, H, W) -> (V, D), in raster order of the visual tokens."""
    import torch

    rows, columns = grid_of((pixels.shape[1], pixels.shape[2]))
    dtype = module.model.visual.patch_embed.proj.weight.dtype
    patches = torch.from_numpy(patch_rows(pixels)).to(dtype)
    found = module.model.visual(patches, grid_thw=torch.tensor([[1, 2 * rows, 2 * columns]]))
    embedded: Tensor = found.pooler_output
    return embedded


def embeddings(module: Any, ids: Sequence[int], image: Tensor, layout: Layout) -> Tensor:
    """(1, N, D): the words', with those of the screen in their place."""
    import torch

    embedded = module.model.language_model.embed_tokens(torch.tensor([list(ids)])).clone()
    embedded[:, layout.visual] = image.to(embedded.dtype)
    found: Tensor = embedded
    return found


def run(
    layers: Iterable[Any], norm: Callable[[Tensor], Tensor], rotary: Any, embedded: Tensor, layout: Layout,
    *, all_of_it: bool = False,
) -> Seen:  # fmt: skip
    """The decoder, layer by layer; ``layers`` may make each of them when its turn comes, and need not keep it."""
    import torch

    tokens = embedded.shape[1]
    told = torch.from_numpy(positions(layout.before, layout.grid, tokens - layout.visual.stop))[:, None]  # (3, 1, N)
    tables = rotary(embedded, told)
    mask = torch.full((tokens, tokens), float("-inf"), dtype=embedded.dtype).triu_(1)[None, None]
    found, hidden = _Found(layout), embedded
    found.hidden.append(hidden[0].float().numpy())
    for number, layer in enumerate(layers):
        if number:
            found.output(hidden[0], all_of_it)
        entering = layer.input_layernorm(hidden)
        found.attention(layer.self_attn, entering, tables)
        if all_of_it:
            found.keys.append(_heads(layer.self_attn, layer.self_attn.k_proj(entering), tables)[0].float().numpy())
            found.values.append(_heads(layer.self_attn, layer.self_attn.v_proj(entering))[0].float().numpy())
        hidden = layer(hidden, attention_mask=mask, position_embeddings=tables)
    found.output(norm(hidden)[0], all_of_it)
    return found.seen(all_of_it)


class _Found:
    """What is kept of each layer while the next one runs."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.rows: list[np.ndarray] = []  # (H, Q, V) would be large: sums over V, (H, Q)
        self.anchors: list[np.ndarray] = []  # (H, V)
        self.sums: list[np.ndarray] = []  # (D,)
        self.affinities: list[np.ndarray] = []  # (Q,)
        self.hidden: list[np.ndarray] = []
        self.keys: list[np.ndarray] = []
        self.values: list[np.ndarray] = []

    def attention(self, module: Any, entering: Tensor, tables: tuple[Tensor, Tensor]) -> None:
        """The rows of queries and anchor: softmax over the whole sequence, then the columns of the screen."""
        import torch

        layout = self.layout
        rows = torch.tensor([*range(layout.rows.start, layout.rows.stop), layout.anchor])
        queries = _heads(module, module.q_proj(entering), tables)[0][:, rows]  # (H, Q + 1, d)
        keys = _heads(module, module.k_proj(entering), tables)[0]  # (kv heads, N, d)
        keys = keys.repeat_interleave(len(queries) // len(keys), dim=0)
        logits = queries @ keys.transpose(1, 2) * module.scaling  # (H, Q + 1, N)
        later = torch.arange(keys.shape[1]) > rows[:, None]
        shares = logits.masked_fill(later, float("-inf")).softmax(dim=-1)[:, :, layout.visual]
        self.rows.append(shares[:, :-1].sum(dim=-1).float().numpy())
        self.anchors.append(shares[:, -1].float().numpy())

    def output(self, hidden: Tensor, keep: bool) -> None:
        """A layer's output (N, D), after the final norm where it is the last."""
        from torch.nn.functional import normalize

        total = normalize(hidden[self.layout.visual], dim=-1).sum(dim=0)
        self.sums.append(total.float().numpy())
        self.affinities.append((normalize(hidden[self.layout.rows], dim=-1) @ total).float().numpy())
        if keep:
            self.hidden.append(hidden.float().numpy())

    def seen(self, kept: bool) -> Seen:
        stacked = Attention(
            anchor=np.stack(self.anchors),
            masses=np.stack(self.rows),
            affinities=np.stack(self.affinities),
            template=self.layout.template,
        )
        keys, values = (np.stack(each) if kept else None for each in (self.keys, self.values))
        image = self.hidden[0][self.layout.visual]
        return Seen(stacked, image, np.stack(self.sums), keys, values, tuple(self.hidden) if kept else ())


def _heads(module: Any, flat: Tensor, tables: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """(1, N, heads d) -> (1, heads, N, d), rotated to their positions where ``tables`` (cos, sin) are given."""
    import torch

    heads = flat.unflatten(-1, (-1, module.head_dim)).transpose(1, 2)
    if tables is None:
        return heads
    cos, sin = (table[:, None] for table in tables)  # (1, 1, N, d)
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat([-second, first], dim=-1) * sin
