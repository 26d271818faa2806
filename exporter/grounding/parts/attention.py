"""Attention written out, in chunks of query rows: no graph has a tensor of all tokens by all tokens.

Rows are independent of each other in a softmax, so a chunk gives what the whole gives. A masked score is lowered by a number
that float16 holds; every row sees at least one token unmasked, so a masked probability is 0 exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MASKED = -30000.0  # far below any score and within float16
MOST_ROWS = 512
LEAST_ROWS = 64
SCORES_BYTES = 64 << 20  # of one chunk in float32: it should not be what the memory is needed for


@dataclass(frozen=True)
class Cuts:
    """How the tower's graph is cut, which the engine decides.

    ``whole_attention``: all query rows in one product, only for an engine whose own node keeps the scores in cache, and
    whose passes put it in (patterns/ort); else chunks of rows. ``apart``: q, k and v are products of their own, so that
    nothing has to be cut behind them.
    """

    whole_attention: bool = False
    apart: bool = False


CHUNKS = Cuts()
IN_CACHE = Cuts(whole_attention=True, apart=True)  # ONNX Runtime on a CPU


def rows_for(heads: int, tokens: int) -> int:
    """Query rows of a chunk over ``tokens`` keys: a multiple of 64 up to 512, scores of all heads within 64 MiB."""
    fitting = SCORES_BYTES // (4 * heads * tokens) // LEAST_ROWS * LEAST_ROWS
    return max(LEAST_ROWS, min(MOST_ROWS, fitting))


def chunks(tokens: int, rows: int) -> Iterator[tuple[int, int]]:
    """(first, end) of the chunks of ``rows`` rows; the last may be shorter."""
    for first in range(0, tokens, rows):
        yield first, min(tokens, first + rows)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """q (B, H, M, d) scaled, k, v (B, H, N, d), mask (M, N) added -> (B, H, M, d)."""
    scores = q @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores + mask
    return scores.softmax(-1) @ v


def attend_rows(q: Tensor, k: Tensor, v: Tensor, rows: int) -> Tensor:
    """Every token sees every other: as ``attend``, ``rows`` query rows at a time."""
    found = [attend(q[:, :, first:end], k, v) for first, end in chunks(q.shape[2], rows)]
    return torch.cat(found, dim=2) if len(found) > 1 else found[0]


def attend_causal(q: Tensor, k: Tensor, v: Tensor, masks: Sequence[Tensor]) -> Tensor:
    """Every token sees those before it; chunk i has ``masks[i]`` (rows, keys up to its end), see ``causal_masks``."""
    found, first = [], 0
    for mask in masks:
        rows, end = mask.shape
        found.append(attend(q[:, :, first : first + rows], k[:, :, :end], v[:, :, :end], mask))
        first += rows
    return torch.cat(found, dim=2) if len(found) > 1 else found[0]


def causal_mask(rows: int, tokens: int) -> NDArray[np.float32]:
    """(rows, tokens): the mask of the last ``rows`` of ``tokens`` tokens; every other chunk's is a part of it."""
    mask = np.zeros((rows, tokens), np.float32)
    mask[:, tokens - rows :] = np.triu(np.full((rows, rows), MASKED, np.float32), 1)
    return mask


def causal_masks(mask: Tensor, tokens: int) -> list[Tensor]:
    """The masks of all chunks out of ``causal_mask``: what counts is how far a key stands from its row.

    A whole chunk leaves out keys on the left; the last one, which may be shorter, rows at the top: its own are the lowest.
    """
    rows = mask.shape[0]
    return [mask[rows - (end - first) :, tokens - end :] for first, end in chunks(tokens, rows)]


def attend_behind(
    q: Tensor, prefix: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor], mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Rows over what is stored and over themselves; the heads that share a kv head are rows of it, no key is repeated.

    q (B, M, Hq, d) scaled, prefix and new = keys, values (B, Hk, P or M, d), mask (B, 1, 1, M, M) of the new columns
    -> attended (B, M, Hq * d), probabilities (B, Hk, G * M, P + M).
    """
    (old_keys, old_values), (keys, values) = prefix, new
    kv_heads = keys.shape[1]
    grouped = q.unflatten(2, (kv_heads, -1)).permute(0, 2, 3, 1, 4)  # (B, Hk, G, M, d)
    rows = grouped.flatten(2, 3)  # (B, Hk, G * M, d)
    scores = (rows @ keys.transpose(-1, -2)).unflatten(2, grouped.shape[2:4]) + mask  # (B, Hk, G, M, M)
    probabilities = torch.cat([rows @ old_keys.transpose(-1, -2), scores.flatten(2, 3)], dim=-1).softmax(-1)
    attended = probabilities @ torch.cat([old_values, values], dim=2)  # (B, Hk, G * M, d)
    return attended.unflatten(2, grouped.shape[2:4]).permute(0, 3, 1, 2, 4).flatten(2), probabilities
