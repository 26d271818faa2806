"""Screens as the network takes them: one size a batch, several instructions a screen, drawn anew for every step.

batch(step, count, seed) -> Batch: pictures normalised (B, 3, H, W), tails (B, I, M), lengths, labels (B, I, V), cells (B, V, 4)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from learn.prompt import Words
from learn.targets import CELL, FACTS, cells, said, soft_labels
from screen import SIZES, Screen, screen
from torch import Tensor

from edgesmith.models.families.gui_aima.picture import normalised

SHARES = (0.35, 0.35, 0.2, 0.1)  # of the sizes, the larger cost more
ASKS = 8  # instructions of a screen that are learned at once


@dataclass(frozen=True, eq=False)
class Batch:
    pictures: Tensor
    tokens: Tensor
    lengths: Tensor
    labels: Tensor
    counts: Tensor  # bool (B, I): False where a screen has fewer instructions
    cells: Tensor
    boxes: Tensor  # (B, I, 4), pixels
    said: Tensor  # (B, I, 4): what each instruction tells


def pack(screens: list[Screen], words: Words, asks: int = ASKS) -> Batch:
    """``screens`` of one size."""
    height, width = screens[0].picture.shape[:2]
    rows, columns = height // CELL, width // CELL
    chosen = [[one.asks[i] for i in range(min(asks, len(one.asks)))] for one in screens]
    tails = [[words.tail(text) for text, _ in some] for some in chosen]
    most, longest = max(len(some) for some in tails), max(len(tail) for some in tails for tail in some)
    tokens = torch.zeros(len(screens), most, longest, dtype=torch.long)
    lengths = torch.full((len(screens), most), 4)
    boxes = torch.tensor([0.0, 0.0, CELL, CELL]).repeat(len(screens), most, 1)
    counts = torch.zeros(len(screens), most, dtype=torch.bool)
    facts = torch.zeros(len(screens), most, len(FACTS), dtype=torch.long)
    for b, some in enumerate(tails):
        for i, tail in enumerate(some):
            tokens[b, i, longest - len(tail) :] = torch.tensor(tail)
            lengths[b, i] = len(tail)
            boxes[b, i] = torch.tensor(screens[b].widgets[chosen[b][i][1]].box)
            counts[b, i] = True
            text, which = chosen[b][i]
            facts[b, i] = torch.tensor(said(text, screens[b].widgets[which]))
    labels = soft_labels(boxes.flatten(0, 1), rows, columns).unflatten(0, (len(screens), most))
    told = torch.from_numpy(np.stack([cells(one.widgets, rows, columns) for one in screens]))
    pictures = torch.from_numpy(np.stack([normalised(one.picture) for one in screens]))
    return Batch(pictures, tokens, lengths, labels, counts, told, boxes, facts)


def batch(step: int, count: int, words: Words, seed: int) -> Batch:
    """The screens of one training step; sizes take turns at random, and no screen comes twice."""
    size = SIZES[int(np.random.default_rng([seed, step]).choice(len(SIZES), p=SHARES))]
    return pack([screen(step * count + i, "train", size, seed) for i in range(count)], words)
