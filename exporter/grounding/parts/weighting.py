"""From what the instruction's rows saw to one score a visual token: the weighting of heads, in the graph.

GUI-AIMA, "Aligning intrinsic multimodal attention" (github.com/sjz5202/GUI-AIMA). For layers l, heads h, query tokens q:

    c_lq   = <h_l[q] / |h_l[q]|, S_l>       how close a query token is to the picture
    m_lhq  = sum_v A_lh[q, v]               how much of its attention a head gives to the picture
    top k  w = softmax_lh(sum_q m_lhq), q in the k largest of sum_l c_lq; layer-wise: of c_lq, for every layer
    kl     w = softmax_lh(-KL(softmax_q(sum_l c_lq) || softmax_q(m_lhq)))
    s_v    = sum_lh w_lh A_lh[anchor, v], over its sum

The query tokens go from <|vision_end|> to what stands before <|pointer_start|>; "part" leaves the template's 12 out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

TEMPLATE_TOKENS = 12
ANCHOR_TOKENS = 2  # <|pointer_start|> and the anchor itself are no query tokens
NEVER = -1e30  # float32: the scoring is never computed in less
SMALLEST = 1e-12
SUM_EPS = 1e-8


@dataclass(frozen=True)
class Weighting:
    """``top_k`` query tokens, or 0 for "kl"."""

    top_k: int = 1
    part: bool = False
    layer_wise: bool = False

    @classmethod
    def named(cls, name: str) -> Weighting:
        """``query_1``, ``query_3_layer_wise``, ``query_2_part``, ``query_kl``, ``query_kl_part``.

        Raises:
            ValueError: another name.
        """
        words = name.split("_")
        rest = "_".join(words[2:])
        kl = words[1:2] == ["kl"]
        if words[0] != "query" or rest not in ("", "part", "layer_wise") or not (kl or words[1:2][0].isdigit()):
            raise ValueError(f"no weighting {name!r}")
        return cls(0 if kl else int(words[1]), rest == "part", rest == "layer_wise")

    @property
    def left_out(self) -> int:
        """Tokens at the end of an instruction that are no query tokens."""
        return ANCHOR_TOKENS + (TEMPLATE_TOKENS if self.part else 0)

    @property
    def shortest(self) -> int:
        """The fewest columns of ``tokens`` that the graph takes; a shorter instruction is padded on the left."""
        return self.left_out + max(1, self.top_k)


class Scoring(nn.Module):
    """affinity (B, L, Q), mass (B, L, Hq, Q), anchor (B, L, Hq, V), real (B, Q) bool -> scores (B, V)."""

    def __init__(self, weighting: Weighting) -> None:
        super().__init__()
        self.weighting = weighting

    def forward(self, affinity: Tensor, mass: Tensor, anchor: Tensor, real: Tensor) -> Tensor:
        by_head = self._divergence if self.weighting.top_k == 0 else self._chosen_mass
        weights = by_head(affinity, mass, real).flatten(1).softmax(-1)  # (B, L * Hq)
        scores = (weights.unsqueeze(1) @ anchor.flatten(1, 2)).squeeze(1)  # (B, V)
        return scores / (scores.sum(-1, keepdim=True) + SUM_EPS)

    def _chosen_mass(self, affinity: Tensor, mass: Tensor, real: Tensor) -> Tensor:
        """(B, L, Hq): the mass of the chosen query tokens; one that is padding counts nothing."""
        close = affinity if self.weighting.layer_wise else affinity.sum(1, keepdim=True)
        _, chosen = close.masked_fill(~real[:, None], NEVER).topk(self.weighting.top_k, dim=-1)  # (B, L or 1, k)
        places = torch.arange(real.shape[1])
        picked = (chosen.unsqueeze(-1) == places).sum(2) * real[:, None]  # (B, L or 1, Q)
        return (mass * picked.unsqueeze(2)).sum(-1)

    def _divergence(self, affinity: Tensor, mass: Tensor, real: Tensor) -> Tensor:
        """(B, L, Hq): minus the divergence of a head's pattern from that of the whole; padding has probability 0 in both."""
        whole = affinity.sum(1).masked_fill(~real, NEVER).softmax(-1).clamp(min=SMALLEST)[:, None, None]
        heads = mass.masked_fill(~real[:, None, None], NEVER).softmax(-1).clamp(min=SMALLEST)
        return -(whole * (whole.log() - heads.log())).sum(-1)
