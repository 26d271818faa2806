"""What the training asks for: patch labels of GUI-AIMA's loss, and what stands in each cell.

    soft_labels(boxes, rows, columns) -> (N, V), each sums to 1;   pointing_loss(scores, labels, weights)
    cells(widgets, rows, columns) -> int64 (V, 4): kind, word, colour, shape; 0 is none.  said(sentence, widget): the same of a sentence

GUI-AIMA (Zhou et al., arXiv:2511.00810): a patch's label is how much of it the target covers, weighted towards the target's
centre; the loss is the Kullback-Leibler divergence of the anchor's aggregated attention from the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from words import COLOURS, ICONS, KINDS, LABELS

CELL = 28  # pixels of a merged token
SIGMA = 0.8  # of half the target's width and height; at least half a cell
FACTS = (KINDS, LABELS, tuple(COLOURS), tuple(ICONS))


def _overlap(boxes: Tensor, rows: int, columns: int) -> Tensor:
    """Share of each cell that each box (N, 4) covers, (N, rows, columns)."""
    x, y = torch.arange(columns) * CELL, torch.arange(rows) * CELL
    wide = (torch.minimum(boxes[:, 2:3], x + CELL) - torch.maximum(boxes[:, 0:1], x)).clamp(min=0)
    high = (torch.minimum(boxes[:, 3:4], y + CELL) - torch.maximum(boxes[:, 1:2], y)).clamp(min=0)
    return high[:, :, None] * wide[:, None, :] / CELL**2


def soft_labels(boxes: Tensor, rows: int, columns: int) -> Tensor:
    """Boxes float (N, 4) in pixels, x1 y1 x2 y2."""
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    sigma = (SIGMA * half).clamp(min=CELL / 2)
    x, y = (torch.arange(columns) + 0.5) * CELL, (torch.arange(rows) + 0.5) * CELL
    across = torch.exp(-0.5 * ((x - centre[:, 0:1]) / sigma[:, 0:1]) ** 2)
    down = torch.exp(-0.5 * ((y - centre[:, 1:2]) / sigma[:, 1:2]) ** 2)
    weights = (_overlap(boxes, rows, columns) * down[:, :, None] * across[:, None, :]).flatten(1)
    return weights / weights.sum(dim=1, keepdim=True)


def pointing_loss(scores: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """KL(labels || scores) (B, I, V), averaged over the instructions that ``counts`` (B, I), bool, holds for."""
    gaps = torch.xlogy(labels, labels) - labels * scores.clamp(min=1e-12).log()
    return gaps.sum(dim=-1)[counts].mean()


def cells(widgets: Sequence[Any], rows: int, columns: int) -> np.ndarray:
    """The widget that covers most of a cell, a quarter of it at least, stands for it."""
    told = np.zeros((len(widgets) + 1, len(FACTS)), np.int64)
    for index, widget in enumerate(widgets):
        facts = (widget.kind, widget.word, widget.colour, widget.icon)
        told[index + 1] = [names.index(fact) + 1 if fact else 0 for names, fact in zip(FACTS, facts, strict=True)]
    covered = _overlap(torch.tensor([widget.box for widget in widgets], dtype=torch.float32), rows, columns).flatten(1)
    share, which = covered.max(dim=0)
    return told[torch.where(share >= 0.25, which + 1, 0).numpy()]


def said(sentence: str, widget: Any) -> list[int]:
    """What a sentence tells of the thing that it means; the kind is always understood."""
    words = sentence.split()
    told = (widget.kind, *(fact if fact in words else "" for fact in (widget.word, widget.colour, widget.icon)))
    return [names.index(fact) + 1 if fact else 0 for names, fact in zip(FACTS, told, strict=True)]
