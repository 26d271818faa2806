"""What a detector learns from a scene: which cells answer for which box, and how far their answers are off.

    class logits (B, N, K), sides (B, N, 4, R+1), truth boxes (B, G, 4), classes (B, G)  ->  loss

Assignment: a cell's class score and the IoU of its box together decide (task alignment; Feng et al., TOOD,
arXiv:2108.07755). Scores learn the IoU they should promise (quality focal loss) and sides learn the two bins around
the true distance (distribution focal loss; both Li et al., arXiv:2006.04388), boxes their generalised IoU (Rezatofighi
et al., arXiv:1902.09630).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

TOP = 10  # cells a box
ALPHA, BETA = 0.5, 6.0  # exponents of score and IoU
CLASS, BOX, SIDES = 1.0, 2.5, 0.5  # weights of the three losses


class Truths(NamedTuple):
    """The boxes of a batch, padded to the longest list; ``present`` tells which are real."""

    boxes: Tensor  # (B, G, 4) x1 y1 x2 y2, pixels
    classes: Tensor  # (B, G)
    present: Tensor  # (B, G) bool


class Cells(NamedTuple):
    """Where the N cells are: their points in pixels and their strides."""

    points: Tensor  # (N, 2)
    strides: Tensor  # (N,)
    reach: int  # the largest distance a side can say, in cells


class Assigned(NamedTuple):
    scores: Tensor  # (B, N, K), 0 but at the class of a positive cell
    boxes: Tensor  # (B, N, 4)
    weights: Tensor  # (B, N), the score of positive cells, 0 elsewhere


def ious(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of boxes (..., 4) that broadcast."""
    inside = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    around = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).clamp(min=0).prod(-1) + (b[..., 2:] - b[..., :2]).clamp(min=0).prod(-1) - inside
    iou = inside / union.clamp(min=1e-6)
    return iou, iou - (around - union) / around.clamp(min=1e-6)


def distances(cells: Cells, boxes: Tensor) -> Tensor:
    """(..., 4) in cells: how far left, top, right and bottom of ``boxes`` are from the points; negative if outside."""
    away = torch.cat([cells.points - boxes[..., :2], boxes[..., 2:] - cells.points], dim=-1)
    return away / cells.strides[:, None]


@torch.no_grad()
def assign(scores: Tensor, boxes: Tensor, cells: Cells, truths: Truths) -> Assigned:
    """``scores`` (B, N, K) and ``boxes`` (B, N, 4) are the model's own."""
    away = distances(cells, truths.boxes[:, :, None])  # (B, G, N, 4)
    able = (away.amin(-1) >= 0) & (away.amax(-1) <= cells.reach) & truths.present[..., None]  # (B, G, N)
    iou, _ = ious(truths.boxes[:, :, None], boxes[:, None])  # (B, G, N)
    of_class = scores.transpose(1, 2).gather(1, truths.classes[..., None].expand(-1, -1, len(cells.points)))
    metric = (of_class**ALPHA * (iou + 1e-3) ** BETA) * able
    least = metric.topk(min(TOP, metric.shape[-1]), dim=-1).values[..., -1:]
    chosen = able & (metric >= least) & (metric > 0)
    rival = torch.where(chosen, iou, -1.0)
    best, owner = rival.max(dim=1)  # (B, N): a cell answers for one box
    positive = best >= 0
    mine = chosen & (torch.arange(iou.shape[1])[None, :, None] == owner[:, None])  # (B, G, N)
    metric, iou = metric * mine, iou * mine
    promise = metric / metric.amax(-1, keepdim=True).clamp(min=1e-30) * iou.amax(-1, keepdim=True)
    weights = promise.amax(dim=1)  # (B, N)
    classes = truths.classes.gather(1, owner)  # (B, N)
    wanted = F.one_hot(classes, scores.shape[-1]) * weights[..., None]
    target = truths.boxes.gather(1, owner[..., None].expand(-1, -1, 4))
    return Assigned(wanted, target, weights * positive)


def detection_loss(logits: Tensor, sides: Tensor, boxes: Tensor, cells: Cells, truths: Truths) -> tuple[Tensor, Tensor]:
    """The loss, and its three parts for the log."""
    scores = logits.sigmoid()
    found = assign(scores.detach(), boxes.detach(), cells, truths)
    total = found.weights.sum().clamp(min=1.0)
    focus = (found.scores - scores).abs().pow(2)
    by_class = (focus * F.binary_cross_entropy_with_logits(logits, found.scores, reduction="none")).sum() / total
    positive = found.weights > 0
    weights = found.weights[positive]
    _, giou = ious(boxes[positive], found.boxes[positive])
    by_box = (weights * (1 - giou)).sum() / total
    wanted = distances(cells, found.boxes)[positive].clamp(0, cells.reach - 0.01)  # (P, 4)
    below = wanted.long()
    share = wanted - below
    log = F.log_softmax(sides[positive], dim=-1)  # (P, 4, R+1)
    near, far = (-log.gather(-1, (below + step)[..., None])[..., 0] for step in (0, 1))
    by_side = (weights * (near * (1 - share) + far * share).mean(-1)).sum() / total
    parts = torch.stack([CLASS * by_class, BOX * by_box, SIDES * by_side])
    return parts.sum(), parts.detach()
