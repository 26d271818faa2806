"""Attention as people write it, and near misses of it: small torch modules, images (B, 3, 12, 16) -> numbers.

The picture becomes 12 tokens of 24 channels, in 3 rows of 4; 3 heads of 8 unless a form says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS, COLUMNS, CHANNELS, HEADS = 3, 4, 24, 3
TOKENS = ROWS * COLUMNS
IMAGE = (3, 4 * ROWS, 4 * COLUMNS)

Attend = Callable[["Form", Tensor], Tensor]
RIGHT: dict[str, Attend] = {}  # forms of attention as they are meant
NEAR: dict[str, Attend] = {}  # what looks like one and is another computation


class Form(nn.Module):
    """Patches, one attention, a residual and a last layer; ``channels`` wide, ``heads`` heads, ``side`` patches."""

    def __init__(self, attend: Attend, channels: int = CHANNELS, heads: int = HEADS) -> None:
        super().__init__()
        self.attend, self.channels, self.heads = attend, channels, heads
        self.stem = nn.Conv2d(3, channels, 4, 4)
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.q, self.k, self.v = (nn.Linear(channels, channels, bias=bias) for bias in (True, False, True))
        self.wide = nn.Linear(channels, 2 * channels)
        self.last = nn.Linear(channels, channels)
        self.head_norm, self.key_norm = nn.LayerNorm(channels // heads), nn.LayerNorm(channels // heads)
        self.mixed, self.mixed_after = nn.Linear(heads, heads), nn.Linear(heads, heads)
        self.mha = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.mha_second = nn.MultiheadAttention(channels, heads)
        self.encoder = nn.TransformerEncoderLayer(channels, heads, 2 * channels, batch_first=True, norm_first=True)
        self.reduce = nn.Conv2d(channels, channels, 2, 2)
        self.bias = nn.Parameter(torch.randn(1, heads, TOKENS, TOKENS))
        self.latent = nn.Parameter(torch.randn(5, channels))
        self.temperature = nn.Parameter(torch.rand(heads, 1, 1) + 0.5)
        self.register_buffer("causal", torch.ones(TOKENS, TOKENS).tril().bool(), persistent=False)
        self.register_buffer(
            "index", torch.arange(TOKENS)[:, None] - torch.arange(TOKENS)[None] + TOKENS, persistent=False
        )
        self.table = nn.Parameter(torch.randn(2 * TOKENS + 1, heads))
        for parameter in self.parameters():  # enough to tell wrong numbers from rounding
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=1.5 * parameter.shape[1] ** -0.5)
            elif parameter.ndim == 1:
                nn.init.normal_(parameter, mean=0.2, std=0.5)

    @property
    def width(self) -> int:
        return self.channels // self.heads

    def forward(self, images: Tensor) -> Tensor:
        x = self.norm(self.stem(images).flatten(2).transpose(1, 2))  # (B, N, C)
        y = self.attend(self, x)
        return y if y.shape[-1] != self.channels else self.last(y)

    def split(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, heads, N, width)"""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def three(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (self.split(part) for part in self.qkv(x).chunk(3, -1))
        return q, k, v


def form(table: dict[str, Attend]) -> Callable[[Attend], Attend]:
    def keep(attend: Attend) -> Attend:
        table[attend.__name__] = attend
        return attend

    return keep


def joined(y: Tensor) -> Tensor:
    """(B, heads, N, width) -> (B, N, C)"""
    return y.transpose(1, 2).flatten(2)


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None, bias: Tensor | float = 0.0) -> Tensor:
    scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    return ((scores + bias) if isinstance(bias, Tensor) else scores).softmax(-1) @ v


# nn.MultiheadAttention and its layer


@form(RIGHT)
def mha_first(m: Form, x: Tensor) -> Tensor:
    return m.mha(x, x, x, need_weights=False)[0]


@form(RIGHT)
def mha_first_weights(m: Form, x: Tensor) -> Tensor:
    return m.mha(x, x, x)[0]


@form(RIGHT)
def mha_second(m: Form, x: Tensor) -> Tensor:
    x = x.transpose(0, 1)
    return m.mha_second(x, x, x, need_weights=False)[0].transpose(0, 1)


@form(RIGHT)
def mha_second_weights(m: Form, x: Tensor) -> Tensor:
    x = x.transpose(0, 1)
    return m.mha_second(x, x, x)[0].transpose(0, 1)


@form(RIGHT)
def mha_returns_weights(m: Form, x: Tensor) -> Tensor:
    y, weights = m.mha(x, x, x)
    return torch.cat([y.flatten(1), weights.flatten(1)], 1)


@form(RIGHT)
def mha_masked(m: Form, x: Tensor) -> Tensor:
    return m.mha(x, x, x, attn_mask=~m.causal, need_weights=False)[0]


@form(RIGHT)
def mha_cross(m: Form, x: Tensor) -> Tensor:
    keys = x[:, 4:]
    return m.mha(x, keys, keys, need_weights=False)[0]


@form(RIGHT)
def encoder_layer(m: Form, x: Tensor) -> Tensor:
    return m.encoder(x)


# packing


@form(RIGHT)
def pack_qkv_heads(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.qkv(x).unflatten(-1, (3, m.heads, m.width)).permute(2, 0, 3, 1, 4).unbind(0)
    return joined(attend(q, k, v))


@form(RIGHT)
def pack_heads_qkv(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.qkv(x).unflatten(-1, (m.heads, 3, m.width)).permute(3, 0, 2, 1, 4).unbind(0)
    return joined(attend(q, k, v))


@form(RIGHT)
def pack_heads_chunks(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.qkv(x).unflatten(-1, (m.heads, 3 * m.width)).transpose(1, 2).chunk(3, -1)
    return joined(attend(q, k, v))


@form(RIGHT)
def pack_width_qkv_heads(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.qkv(x).unflatten(-1, (m.width, 3, m.heads)).permute(3, 0, 4, 1, 2).unbind(0)
    return joined(attend(q, k, v))


@form(RIGHT)
def pack_width_heads(m: Form, x: Tensor) -> Tensor:
    q, k, v = (part.unflatten(-1, (m.width, m.heads)).permute(0, 3, 1, 2) for part in m.qkv(x).chunk(3, -1))
    return attend(q, k, v).permute(0, 2, 3, 1).flatten(2)


# other ways to write the products


@form(RIGHT)
def einsum(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    scores = torch.einsum("bhnd,bhmd->bhnm", q, k) * m.width**-0.5
    return torch.einsum("bhnm,bhmd->bhnd", scores.softmax(-1), v).transpose(1, 2).flatten(2)


@form(RIGHT)
def einsum_heads_third(m: Form, x: Tensor) -> Tensor:
    q, k, v = (part.unflatten(-1, (m.heads, -1)) for part in m.qkv(x).chunk(3, -1))
    scores = torch.einsum("bnhd,bmhd->bhnm", q, k) * m.width**-0.5
    return torch.einsum("bhnm,bmhd->bnhd", scores.softmax(-1), v).flatten(2)


@form(RIGHT)
def bmm(m: Form, x: Tensor) -> Tensor:
    q, k, v = (part.flatten(0, 1) for part in m.three(x))
    y = torch.bmm((torch.bmm(q, k.transpose(1, 2)) * m.width**-0.5).softmax(-1), v)
    return joined(y.unflatten(0, (-1, m.heads)))


@form(RIGHT)
def baddbmm(m: Form, x: Tensor) -> Tensor:
    q, k, v = (part.flatten(0, 1) for part in m.three(x))
    bias = m.bias.expand(x.shape[0], -1, -1, -1).flatten(0, 1)
    y = torch.bmm(torch.baddbmm(bias, q, k.transpose(1, 2), alpha=m.width**-0.5).softmax(-1), v)
    return joined(y.unflatten(0, (-1, m.heads)))


@form(RIGHT)
def seq_first_bmm(m: Form, x: Tensor) -> Tensor:
    batch = x.shape[0]
    q, k, v = (part.reshape(TOKENS, -1, m.width).transpose(0, 1) for part in m.qkv(x.transpose(0, 1)).chunk(3, -1))
    y = torch.bmm((torch.bmm(q * m.width**-0.5, k.transpose(1, 2))).softmax(-1), v)
    return y.transpose(0, 1).reshape(TOKENS, batch, m.channels).transpose(0, 1)


@form(RIGHT)
def sdpa(m: Form, x: Tensor) -> Tensor:
    return joined(F.scaled_dot_product_attention(*m.three(x)))


@form(RIGHT)
def sdpa_layers_apart(m: Form, x: Tensor) -> Tensor:
    return joined(F.scaled_dot_product_attention(m.split(m.q(x)), m.split(m.k(x)), m.split(m.v(x)), scale=0.3))


@form(RIGHT)
def scale_on_q(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined((q * 0.3 @ k.transpose(-2, -1)).softmax(-1) @ v)


@form(RIGHT)
def scale_on_both(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined((q * 0.7 @ (k / 3.0).transpose(-2, -1)).softmax(-1) @ v)


@form(RIGHT)
def keys_turned(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined((k @ q.transpose(-2, -1) * 0.3).transpose(-2, -1).softmax(-1) @ v)


@form(RIGHT)
def one_head(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.qkv(x).chunk(3, -1)
    return attend(q, k, v)


# norms, masks, biases


@form(RIGHT)
def qk_layer_norm(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined(attend(m.head_norm(q), m.key_norm(k), v))


@form(RIGHT)
def qk_layer_norm_before_heads(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.qkv(x).chunk(3, -1)
    return joined(attend(m.split(m.norm(q)), m.split(m.norm(k)), m.split(v)))


@form(RIGHT)
def qk_layer_norm_third(m: Form, x: Tensor) -> Tensor:
    q, k, v = (part.unflatten(-1, (m.heads, -1)) for part in m.qkv(x).chunk(3, -1))
    return joined(attend(m.head_norm(q).transpose(1, 2), m.key_norm(k).transpose(1, 2), v.transpose(1, 2)))


@form(RIGHT)
def qk_rms_norm(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    q, k = (part * torch.rsqrt(part.pow(2).mean(-1, keepdim=True) + 1e-6) for part in (q, k))
    return joined(attend(q, k, v))


@form(RIGHT)
def cosine(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * m.temperature
    return joined(scores.softmax(-1) @ v)


@form(RIGHT)
def relative_bias(m: Form, x: Tensor) -> Tensor:
    return joined(attend(*m.three(x), bias=m.bias))


@form(RIGHT)
def relative_bias_table(m: Form, x: Tensor) -> Tensor:
    bias = m.table[m.index.flatten()].unflatten(0, (TOKENS, TOKENS)).permute(2, 0, 1)[None]
    return joined(attend(*m.three(x), bias=bias))


@form(RIGHT)
def zero_bias(m: Form, x: Tensor) -> Tensor:
    return joined(attend(*m.three(x), bias=torch.zeros(1, 1, TOKENS, TOKENS)))


@form(RIGHT)
def mask_of_the_picture(m: Form, x: Tensor) -> Tensor:
    return joined(attend(*m.three(x), bias=(x[..., 0] > 0.2)[:, None, None] * -3.0))


@form(RIGHT)
def mask_filled(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    scores = (q @ k.transpose(-2, -1) * 0.3).masked_fill(~m.causal, float("-inf"))
    return joined(scores.softmax(-1) @ v)


@form(RIGHT)
def sdpa_mask(m: Form, x: Tensor) -> Tensor:
    return joined(F.scaled_dot_product_attention(*m.three(x), attn_mask=m.causal))


@form(RIGHT)
def sdpa_causal(m: Form, x: Tensor) -> Tensor:
    return joined(F.scaled_dot_product_attention(*m.three(x), is_causal=True))


@form(RIGHT)
def sdpa_bias(m: Form, x: Tensor) -> Tensor:
    return joined(F.scaled_dot_product_attention(*m.three(x), attn_mask=m.bias))


@form(RIGHT)
def grouped_query(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined(attend(q, *(part[:, :1].repeat_interleave(m.heads, dim=1) for part in (k, v))))


@form(RIGHT)
def multi_query(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined(attend(q, k[:, :1], v[:, :1]))


@form(RIGHT)
def grouped_query_expanded(m: Form, x: Tensor) -> Tensor:
    q = m.split(m.q(x))
    k, v = (part[..., : m.width][:, None].expand(-1, m.heads, -1, -1) for part in (m.k(x), m.v(x)))
    return joined(attend(q, k, v))


# tokens of maps


@form(RIGHT)
def axial_rows(m: Form, x: Tensor) -> Tensor:
    q, k, v = (part.unflatten(1, (ROWS, COLUMNS)).unflatten(-1, (m.heads, -1)).transpose(2, 3)
               for part in m.qkv(x).chunk(3, -1))  # fmt: skip
    return attend(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)).transpose(1, 2).reshape(-1, TOKENS, m.channels)


@form(RIGHT)
def axial_rows_five_axes(m: Form, x: Tensor) -> Tensor:
    q, k, v = (part.unflatten(1, (ROWS, COLUMNS)).unflatten(-1, (m.heads, -1)).transpose(2, 3)
               for part in m.qkv(x).chunk(3, -1))  # fmt: skip
    return attend(q, k, v).transpose(2, 3).reshape(-1, TOKENS, m.channels)


@form(RIGHT)
def axial_rows_of_a_map(m: Form, x: Tensor) -> Tensor:
    x = x.unflatten(1, (ROWS, COLUMNS))  # (B, H, W, C)
    q, k, v = (part.flatten(0, 1).unflatten(-1, (m.heads, -1)).transpose(1, 2) for part in m.qkv(x).chunk(3, -1))
    return attend(q, k, v).transpose(1, 2).reshape(-1, ROWS, COLUMNS, m.channels)


@form(RIGHT)
def axial_columns(m: Form, x: Tensor) -> Tensor:
    x = x.unflatten(1, (ROWS, COLUMNS)).transpose(1, 2)
    q, k, v = (m.split(part.flatten(0, 1)) for part in m.qkv(x).chunk(3, -1))
    return joined(attend(q, k, v)).unflatten(0, (-1, COLUMNS)).transpose(1, 2)


@form(RIGHT)
def axial_columns_late(m: Form, x: Tensor) -> Tensor:
    qkv = m.qkv(x).unflatten(1, (ROWS, COLUMNS)).transpose(1, 2).flatten(0, 1)
    q, k, v = (m.split(part) for part in qkv.chunk(3, -1))
    return joined(attend(q, k, v)).unflatten(0, (-1, COLUMNS)).transpose(1, 2)


@form(RIGHT)
def whole_map(m: Form, x: Tensor) -> Tensor:
    x = x.unflatten(1, (ROWS, COLUMNS))
    q, k, v = (part.flatten(1, 2).unflatten(-1, (m.heads, -1)).transpose(1, 2) for part in m.qkv(x).chunk(3, -1))
    return attend(q, k, v).transpose(1, 2).reshape(-1, ROWS, COLUMNS, m.channels)


@form(RIGHT)
def windows(m: Form, x: Tensor) -> Tensor:
    x = x.unflatten(1, (ROWS, 2, 2)).permute(0, 2, 1, 3, 4).flatten(2, 3).flatten(0, 1)  # (2 B, 6, C)
    return joined(attend(*m.three(x))).unflatten(0, (-1, 2))


@form(RIGHT)
def windows_late(m: Form, x: Tensor) -> Tensor:
    qkv = m.qkv(x).unflatten(1, (2, 6)).flatten(0, 1)
    q, k, v = (m.split(part) for part in qkv.chunk(3, -1))
    return joined(attend(q, k, v)).unflatten(0, (-1, 2)).flatten(1, 2)


@form(RIGHT)
def dilated_tokens(m: Form, x: Tensor) -> Tensor:
    qkv = m.qkv(x).unflatten(1, (6, 2)).transpose(1, 2).flatten(0, 1)
    q, k, v = (m.split(part) for part in qkv.chunk(3, -1))
    return joined(attend(q, k, v)).unflatten(0, (-1, 2)).transpose(1, 2).flatten(1, 2)


@form(RIGHT)
def keys_of_a_smaller_map(m: Form, x: Tensor) -> Tensor:
    small = m.reduce(x.transpose(1, 2).unflatten(2, (ROWS, COLUMNS))).flatten(2).transpose(1, 2)
    k, v = (m.split(part) for part in m.wide(small).chunk(2, -1))
    return joined(attend(m.split(m.q(x)), k, v))


@form(RIGHT)
def keys_of_a_smaller_map_four_axes(m: Form, x: Tensor) -> Tensor:
    small = m.reduce(x.transpose(1, 2).unflatten(2, (ROWS, COLUMNS))).permute(0, 2, 3, 1)  # (B, h, w, C)
    k, v = m.wide(small).reshape(-1, 2, 2, m.heads, m.width).permute(2, 0, 3, 1, 4).unbind(0)
    return joined(attend(m.split(m.q(x)), k, v))


@form(RIGHT)
def keys_of_a_map(m: Form, x: Tensor) -> Tensor:
    image = x.unflatten(1, (ROWS, COLUMNS))
    k, v = m.k(image), m.v(image)
    k, v = (part.flatten(1, 2).unflatten(-1, (m.heads, -1)).transpose(1, 2) for part in (k, v))
    return joined(attend(m.split(m.q(x)), k, v))


# queries and keys of other lengths


@form(RIGHT)
def latent_queries(m: Form, x: Tensor) -> Tensor:
    q = m.split(m.q(m.latent[None].expand(x.shape[0], -1, -1)))
    return joined(attend(q, m.split(m.k(x)), m.split(m.v(x))))


@form(RIGHT)
def latent_queries_of_one(m: Form, x: Tensor) -> Tensor:
    q = m.split(m.q(m.latent[None]))  # (1, heads, M, width), broadcast
    return joined(attend(q, m.split(m.k(x)), m.split(m.v(x))))


@form(RIGHT)
def latent_queries_of_one_as_many_as_tokens(m: Form, x: Tensor) -> Tensor:
    q = m.split(m.q(m.bias[0, 0] @ x[:1]))
    return joined(attend(q, m.split(m.k(x)), m.split(m.v(x))))


@form(RIGHT)
def keys_of_the_first_picture(m: Form, x: Tensor) -> Tensor:
    return joined(attend(m.split(m.q(x)), m.split(m.k(x[:1])), m.split(m.v(x[:1]))))


@form(RIGHT)
def latent_projected_queries(m: Form, x: Tensor) -> Tensor:
    q = m.split(m.latent[None] + 0 * x[:, :1])
    return joined(attend(q, m.split(m.k(x)), m.split(m.v(x))))


@form(RIGHT)
def class_attention(m: Form, x: Tensor) -> Tensor:
    q = m.split(m.q(x[:, :1]))
    return joined(attend(q, m.split(m.k(x)), m.split(m.v(x))))


@form(RIGHT)
def class_attention_late(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined(attend(q[:, :, :1], k, v))


@form(RIGHT)
def sliced_keys(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined(attend(q, k[:, :, 1:], v[:, :, 1:]))


@form(RIGHT)
def sliced_keys_from_the_front(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined(attend(q, k[:, :, :6], v[:, :, :6]))


@form(RIGHT)
def sliced_projections(m: Form, x: Tensor) -> Tensor:
    k, v = (m.split(layer(x)[:, 2:]) for layer in (m.k, m.v))
    return joined(attend(m.split(m.q(x)), k, v))


@form(RIGHT)
def every_second_key(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined(attend(q, k[:, :, ::2], v[:, :, ::2]))


@form(RIGHT)
def sliced_everything(m: Form, x: Tensor) -> Tensor:
    return joined(attend(*(part[:, :, 1:7] for part in m.three(x))))


@form(RIGHT)
def sliced_keys_of_one_projection(m: Form, x: Tensor) -> Tensor:
    qkv = m.qkv(x)
    q, (k, v) = m.split(qkv[..., : m.channels]), (m.split(part) for part in qkv[:, 1:, m.channels :].chunk(2, -1))
    return joined(attend(q, k, v))


@form(RIGHT)
def first_heads_only(m: Form, x: Tensor) -> Tensor:
    return joined(attend(*(part[:, :2] for part in m.three(x))))


@form(RIGHT)
def half_the_width(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined(attend(q[..., :4], k[..., :4], v))


@form(RIGHT)
def wide_values(m: Form, x: Tensor) -> Tensor:
    v = m.wide(x).unflatten(-1, (m.heads, -1)).transpose(1, 2)
    return joined(attend(m.split(m.q(x)), m.split(m.k(x)), v))


@form(RIGHT)
def reads_the_class_token(m: Form, x: Tensor) -> Tensor:
    return m.last((x + m.last(joined(attend(*m.three(x)))))[:, 0]).relu()


@form(RIGHT)
def reads_the_class_token_of_axial(m: Form, x: Tensor) -> Tensor:
    x = x.unflatten(1, (ROWS, COLUMNS))
    q, k, v = (part.flatten(0, 1).unflatten(-1, (m.heads, -1)).transpose(1, 2) for part in m.qkv(x).chunk(3, -1))
    return m.last(joined(attend(q, k, v)))[:, 0].relu()


@form(RIGHT)
def reads_the_class_token_of_cross(m: Form, x: Tensor) -> Tensor:
    k, v = (m.split(layer(x[:, 2:8])) for layer in (m.k, m.v))
    return m.last(joined(attend(m.split(m.q(x)), k, v)))[:, 0].relu()


# near misses


@form(NEAR)
def softmax_over_queries(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined((q @ k.transpose(-2, -1) * 0.3).softmax(-2) @ v)


@form(NEAR)
def softmax_over_heads(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined((q @ k.transpose(-2, -1) * 0.3).softmax(1) @ v)


@form(NEAR)
def heads_and_tokens_swapped(m: Form, x: Tensor) -> Tensor:
    q, k, v = (part.reshape(-1, m.heads, TOKENS, m.width) for part in m.qkv(x).chunk(3, -1))
    return joined(attend(q, k, v))


@form(NEAR)
def heads_attend_to_heads(m: Form, x: Tensor) -> Tensor:
    q, k, v = (part.unflatten(-1, (m.heads, -1)) for part in m.qkv(x).chunk(3, -1))  # (B, N, heads, width)
    return attend(q, k, v).flatten(2)


@form(NEAR)
def channels_attend(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return (((q.transpose(-2, -1) @ k) * 0.3).softmax(-1) @ v.transpose(-2, -1)).permute(0, 3, 1, 2).flatten(2)


@form(NEAR)
def context_not_turned(m: Form, x: Tensor) -> Tensor:
    return attend(*m.three(x)).reshape(-1, TOKENS, m.channels)


@form(NEAR)
def context_width_first(m: Form, x: Tensor) -> Tensor:
    return attend(*m.three(x)).permute(0, 2, 3, 1).flatten(2)


@form(NEAR)
def probabilities_turned(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined((q @ k.transpose(-2, -1) * 0.3).softmax(-1).transpose(-2, -1) @ v)


@form(NEAR)
def values_scaled(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined(attend(q, k, v * 2.5))


@form(NEAR)
def no_scale(m: Form, x: Tensor) -> Tensor:
    return joined(attend(*m.three(x), scale=1.0))


@form(NEAR)
def scale_of_zero(m: Form, x: Tensor) -> Tensor:
    return joined(attend(*m.three(x), scale=0.0))


@form(NEAR)
def scale_below_zero(m: Form, x: Tensor) -> Tensor:
    return joined(attend(*m.three(x), scale=-0.4))


@form(NEAR)
def scale_a_head(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined((q @ k.transpose(-2, -1) * m.temperature).softmax(-1) @ v)


@form(NEAR)
def scale_after(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined(((q @ k.transpose(-2, -1)).softmax(-1) * 0.7) @ v)


@form(NEAR)
def shared_keys_and_values(m: Form, x: Tensor) -> Tensor:
    q, k, _ = m.three(x)
    return joined(attend(q, k, k))


@form(NEAR)
def shared_queries_and_keys(m: Form, x: Tensor) -> Tensor:
    q, _, v = m.three(x)
    return joined(attend(q, q, v))


@form(NEAR)
def queries_and_keys_swapped(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined(attend(k, q, v))


@form(NEAR)
def other_order_of_three(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined(attend(v, q, k))


@form(NEAR)
def heads_rolled(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined(attend(q, k.roll(1, 1), v))


@form(NEAR)
def keys_flipped(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined(attend(q, k.flip(2), v))


@form(NEAR)
def keys_of_the_next_picture(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined(attend(q, k.roll(1, 0), v.roll(1, 0)))


@form(NEAR)
def one_of_the_heads_twice(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined(attend(q, k[:, [0, 0, *range(2, k.shape[1])][: k.shape[1]]], v))


@form(NEAR)
def talking_heads(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    scores = m.mixed((q @ k.transpose(-2, -1) * 0.3).permute(0, 2, 3, 1)).permute(0, 3, 1, 2).softmax(-1)
    return joined(m.mixed_after(scores.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) @ v)


@form(NEAR)
def added_after(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined(((q @ k.transpose(-2, -1) * 0.3).softmax(-1) + m.bias) @ v)


@form(NEAR)
def values_read_outside(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined(attend(q, k, v)) + joined(v).relu()


@form(NEAR)
def keys_read_outside(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined(attend(q, k, v)) + joined(k)


@form(NEAR)
def projection_read_outside(m: Form, x: Tensor) -> Tensor:
    qkv = m.qkv(x)
    q, k, v = (m.split(part) for part in qkv.chunk(3, -1))
    return joined(attend(q, k, v)) + qkv.sum(-1, keepdim=True)


@form(NEAR)
def probabilities_read_outside(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    p = (q @ k.transpose(-2, -1) * 0.3).softmax(-1)
    return joined(p @ v) + p.mean(1).mean(-1, keepdim=True)


@form(NEAR)
def two_readers_of_the_context(m: Form, x: Tensor) -> Tensor:
    y = attend(*m.three(x))
    return joined(y) + y.mean(1).repeat(1, 1, m.heads)


@form(NEAR)
def two_inputs(m: Form, x: Tensor) -> Tensor:
    return joined(attend(m.split(m.q(x)), m.split(m.k(x.relu())), m.split(m.v(x))))


@form(NEAR)
def attends_twice_with_one_projection(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.three(x)
    return joined(attend(q, k, attend(k, q, v)))


@form(NEAR)
def keys_and_values_of_other_lengths_in_windows(m: Form, x: Tensor) -> Tensor:
    q = m.split(m.q(x).unflatten(1, (2, 6)).flatten(0, 1))
    k, v = (
        m.split(part.unflatten(1, (2, 6)).transpose(1, 2).reshape(-1, 6, m.channels)) for part in m.wide(x).chunk(2, -1)
    )
    return joined(attend(q, k, v)).unflatten(0, (-1, 2)).flatten(1, 2)


@form(NEAR)
def keys_of_rows_queries_of_columns(m: Form, x: Tensor) -> Tensor:
    q, k, v = m.qkv(x).unflatten(1, (2, 6)).chunk(3, -1)
    q, k, v = (m.split(part.flatten(0, 1)) for part in (q, k.flip(1), v.flip(1)))
    return joined(attend(q, k, v)).unflatten(0, (-1, 2)).flatten(1, 2)


# channels, heads: sizes that coincide (tokens of 12, batch of 3)
SIZES = {
    "usual": (CHANNELS, HEADS),
    "as many heads as pictures, widths as tokens": (36, 3),
    "as many heads as tokens": (48, 12),
    "heads as wide as many": (16, 4),
    "one head": (12, 1),
}


def module(name: str, sizes: str = "usual") -> Form:
    """A form by its name, seeded, in evaluation mode."""
    torch.manual_seed(7)
    return Form({**RIGHT, **NEAR}[name], *SIZES[sizes]).eval()
