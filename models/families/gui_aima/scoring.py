"""Attention of the layers -> one score a visual token, in float64: the judge of every other way to compute it.

GUI-AIMA, Zhou et al., 2025, arXiv:2511.00810. L layers, H heads, Q query tokens, V visual tokens, D hidden.

    h_l           output of layer l = 1..L, the last one after the final norm
    c_lq          sum over v of cos(h_l[q], h_l[v]) = <unit(h_l[q]), S_l>,  S_l = sum over v of unit(h_l[v])
    m_lhq         sum over v of A_lh[q, v], A the causal softmax attention over the whole sequence
    top queries   the k largest of sum over l of c_lq (layer-wise: of c_lq, for each layer);
                  w = softmax over all heads of the sum over these q of m_lhq
    kl            g = softmax over q of (sum over l of c_lq), p_lh = softmax over q of m_lhq;
                  w = softmax over all heads of -KL(g || p_lh)
    s_v           sum over l, h of w_lh A_lh[anchor, v], divided by its sum + 1e-8
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .weighting import Weighting

SMALLEST, EPSILON = 1e-12, 1e-8  # the authors' clamp of probabilities, and of the last division


@dataclass(frozen=True, eq=False)
class Attention:
    """What the layers say of one instruction on one screen; the queries begin at <|vision_end|> and end with the template."""

    anchor: np.ndarray  # (L, H, V): the row of <|pointer_pad|>
    masses: np.ndarray  # (L, H, Q): m
    affinities: np.ndarray  # (L, Q): c
    template: int  # of the Q queries, so many at the end are the template's

    def queries(self, weighting: Weighting) -> int:
        """How many queries count."""
        return self.affinities.shape[1] - (self.template if weighting.part else 0)


def softmax(values: np.ndarray, axis: int | None = -1) -> np.ndarray:
    powers = np.exp(values - values.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


def head_weights(found: Attention, weighting: Weighting) -> np.ndarray:
    """(L, H) float64, sum 1. Where fewer queries than ``top`` are there, all of them count."""
    count = found.queries(weighting)
    affinities = found.affinities[:, :count].astype(np.float64)
    masses = found.masses[:, :, :count].astype(np.float64)
    if weighting.top is None:
        pattern = np.maximum(softmax(affinities.sum(axis=0)), SMALLEST)  # (Q,)
        shares = np.maximum(softmax(masses), SMALLEST)  # (L, H, Q)
        return softmax(-(pattern * (np.log(pattern) - np.log(shares))).sum(axis=-1), axis=None)
    if not weighting.layer_wise:
        affinities = np.broadcast_to(affinities.sum(axis=0), affinities.shape)
    best = np.argsort(-affinities, axis=-1, kind="stable")[:, : weighting.top]  # (L, k)
    return softmax(np.take_along_axis(masses, best[:, None], axis=-1).sum(axis=-1), axis=None)


def patch_scores(found: Attention, weighting: Weighting) -> np.ndarray:
    """(V,) float64, in raster order of the visual tokens; they sum to 1."""
    summed = (head_weights(found, weighting)[:, :, None] * found.anchor.astype(np.float64)).sum(axis=(0, 1))
    return np.asarray(summed / (summed.sum() + EPSILON))
