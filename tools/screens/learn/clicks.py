"""Where scores point, as GUI-AIMA has it, and whether that is on the target.

click(scores (rows, columns)) -> (x, y) in 0..1;   hits(grounder, prompt, screens, asks) -> bool for each instruction
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from learn.batches import pack
from learn.network import CELL, Grounder
from learn.prompt import Prompt
from screen import Screen


def click(scores: np.ndarray) -> tuple[float, float]:
    """Patches above 0.3 of the maximum, in 4-connected regions; the centre of mass of the one that holds the maximum."""
    rows, columns = scores.shape
    _, regions = cv2.connectedComponents((scores > 0.3 * scores.max()).astype(np.uint8), connectivity=4)
    best = regions == regions[np.unravel_index(int(scores.argmax()), scores.shape)]
    y, x = np.nonzero(best)
    weights = scores[best] / scores[best].sum()
    return float(((x + 0.5) * weights).sum() / columns), float(((y + 0.5) * weights).sum() / rows)


@torch.inference_mode()
def hits(grounder: Grounder, prompt: Prompt, screens: list[Screen], asks: int) -> list[bool]:
    """``screens`` of one size; the first ``asks`` instructions of each."""
    packed = pack(screens, prompt, asks)
    height, width = packed.pictures.shape[-2:]
    rows, columns = height // CELL, width // CELL
    scores = grounder.point(
        grounder.read(grounder.see(packed.pictures), rows, columns), packed.tokens, packed.lengths
    ).scores
    found = []
    for b, i in packed.counts.nonzero().tolist():
        x, y = click(scores[b, i].view(rows, columns).float().numpy())
        x1, y1, x2, y2 = packed.boxes[b, i].tolist()
        found.append(x1 <= x * width < x2 and y1 <= y * height < y2)
    return found
