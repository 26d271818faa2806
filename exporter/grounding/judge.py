"""PyTorch in float32 as the judge of a grounding export, with the weights of one layer in memory (models/folders/streamed.py).

the checkpoint, or what quantised weights stand for -> patch scores of some instructions on one screen
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .few_bits.codes import int4_codes, int8_codes
from .write import LANGUAGE

if TYPE_CHECKING:
    from ...models.folders.folder import ModelFolder
    from ...models.folders.tensors import LazyTensor

TEXTS = ("open the settings", "click the blue button that says save", "close")
MANY_PARAMETERS = 10**9  # from there on one instruction judges: each takes minutes


def texts(folder: ModelFolder) -> tuple[str, ...]:
    """The instructions that a checkpoint of this size is judged by."""
    return TEXTS if folder.parameters < MANY_PARAMETERS else TEXTS[:1]


@dataclass(frozen=True, eq=False)
class Judged:
    """What each part is to give: visual tokens (V, D), the sums S_l (L, D), and scores (n, V) float64 of the instructions."""

    image: np.ndarray
    sums: np.ndarray
    scores: np.ndarray


def judged(
    folder: ModelFolder, pixels: np.ndarray, instructions: Sequence[Sequence[int]], dtype: str = "float32"
) -> Judged:
    """pixels (3, H, W) as the vision tower takes them, instructions as ids; ``dtype`` is torch's name of a type."""
    from ...models.families.gui_aima.scoring import patch_scores
    from ...models.folders.streamed import see

    scores = []
    for ids in instructions:
        seen = see(folder, pixels, ids, dtype=dtype)
        scores.append(patch_scores(seen.attention, folder.weighting))
    return Judged(seen.image, seen.visual_sums, np.stack(scores))


def rounded(folder: ModelFolder, block: int | None, nbits: bool) -> ModelFolder:
    """The weights that the codes of a bundle stand for: with them PyTorch is to give the bundle's own answers.

    ``block``: of the language model's 4 bits; None where they are 8, too. ``nbits``: its engine takes zeros beside the scales, and the
    table of words in 8 bits; the fixed text, a part of it, is in every bundle as it was.
    """
    return replace(folder, tensors={name: _rounded(one, block, nbits) for name, one in folder.tensors.items()})


def _rounded(tensor: LazyTensor, block: int | None, nbits: bool) -> LazyTensor:
    words = tensor.name.endswith("embed_tokens.weight")
    if len(tensor.shape) != 2 or (words and not nbits):
        return tensor

    def read() -> Any:
        import torch

        array = tensor.read().float().numpy()
        if block and tensor.name.startswith(LANGUAGE) and not words and array.shape[1] % block == 0:
            return torch.from_numpy(int4_codes(array, block, zeros=nbits).values())
        return torch.from_numpy(int8_codes(array).values())

    return replace(tensor, dtype="float32", read=read)
