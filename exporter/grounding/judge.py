"""PyTorch in float32 as the judge of a grounding export, with the weights of one layer in memory (models/folders/streamed.py).

the checkpoint, or what quantised weights stand for -> patch scores of some instructions on one screen
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .codes import int4_codes, int8_codes
from .write import LANGUAGE

if TYPE_CHECKING:
    from ...models.folders.folder import ModelFolder
    from ...models.folders.tensors import LazyTensor

TEXTS = ("open the settings", "click the blue button that says save", "close")
MANY_PARAMETERS = 10**9  # from there on one instruction judges: each takes minutes


def texts(folder: ModelFolder) -> tuple[str, ...]:
    """The instructions that a checkpoint of this size is judged by."""
    return TEXTS if folder.parameters < MANY_PARAMETERS else TEXTS[:1]


def judged(folder: ModelFolder, pixels: np.ndarray, instructions: Sequence[Sequence[int]]) -> np.ndarray:
    """pixels (3, H, W) as the vision tower takes them, instructions as ids -> scores (n, V) float64."""
    from ...models.families.gui_aima.scoring import patch_scores
    from ...models.folders.streamed import see

    return np.stack([patch_scores(see(folder, pixels, ids).attention, folder.weighting) for ids in instructions])


def rounded(folder: ModelFolder, block: int, table: bool) -> ModelFolder:
    """The weights that the codes of an int4 bundle stand for: with them PyTorch is to give the bundle's own answers.

    ``table``: the table of words is in 8 bits too; the fixed text, a part of it, is in every bundle as it was.
    """
    return replace(folder, tensors={name: _rounded(one, block, table) for name, one in folder.tensors.items()})


def _rounded(tensor: LazyTensor, block: int, table: bool) -> LazyTensor:
    words = tensor.name.endswith("embed_tokens.weight")
    if len(tensor.shape) != 2 or (words and not table):
        return tensor

    def read() -> Any:
        import torch

        array = tensor.read().float().numpy()
        if tensor.name.startswith(LANGUAGE) and not words and array.shape[1] % block == 0:
            found, width = int4_codes(array, block), block
        else:
            found, width = int8_codes(array), array.shape[1]
        return torch.from_numpy(found.codes.astype(np.float32) * np.repeat(found.scale, width, axis=1))

    return replace(tensor, dtype="float32", read=read)
