"""Whether the network's clicks are on their targets, while it learns.

hits(grounder, words, screens, asks) -> bool for each instruction
"""

from __future__ import annotations

import torch
from learn.batches import pack
from learn.network import CELL, Grounder
from learn.prompt import Words
from screen import Screen

from edgesmith.runtime.tasks.grounding.regions import regions


def inside(point: tuple[float, float], box: tuple[float, float, float, float], size: tuple[int, int]) -> bool:
    """``point`` in shares of the picture of ``size`` (height, width); ``box`` in pixels, its end outside."""
    x, y = point[0] * size[1], point[1] * size[0]
    return box[0] <= x < box[2] and box[1] <= y < box[3]


@torch.inference_mode()
def hits(grounder: Grounder, words: Words, screens: list[Screen], asks: int) -> list[bool]:
    """``screens`` of one size; the first ``asks`` instructions of each."""
    packed = pack(screens, words, asks)
    height, width = packed.pictures.shape[-2:]
    rows, columns = height // CELL, width // CELL
    prefix = grounder.read(grounder.see(packed.pictures), rows, columns)
    scores = grounder.point(prefix, packed.tokens, packed.lengths).scores.view(*packed.counts.shape, rows, columns)
    return [
        inside(regions(scores[b, i].numpy())[0].point, packed.boxes[b, i].tolist(), (height, width))
        for b, i in packed.counts.nonzero().tolist()
    ]
