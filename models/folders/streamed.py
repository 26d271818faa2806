"""The judge for networks that do not fit into memory at once: the vision tower, then one decoder layer after the other.

ModelFolder, picture, instruction -> Seen, as families/gui_aima/judge.py gives it, with the weights of one layer held
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..families.gui_aima import judge
from ..families.gui_aima.names import EMBEDDINGS
from ..families.gui_aima.network import fill, skeleton
from ..families.gui_aima.versions import check_transformers
from .folder import ModelFolder

if TYPE_CHECKING:
    from torch import nn

VISION, DECODER = "model.visual.", "model.language_model."


def see(
    folder: ModelFolder,
    pixels: np.ndarray,
    instruction: Sequence[int],
    *,
    dtype: str = "float32",
    all_of_it: bool = False,
) -> judge.Seen:
    """Every tensor read once; ``pixels`` (3, H, W) as picture.prepared gives them, ``instruction`` its ids.

    ``dtype`` is torch's name of the type that weights and activations have; the judge is float32.

    Raises UserMistake as load_eager does.
    """
    import torch

    check_transformers()
    module = skeleton(folder.shape)
    layout = judge.layout_of(folder.prompt, pixels, instruction)
    with torch.inference_mode():
        with _held(folder, module.model.visual, VISION, dtype):
            image = judge.image_embeddings(module, pixels)
        table = folder.tensors[EMBEDDINGS].read()
        embedded = table[folder.prompt.ids(instruction, layout.grid)].to(getattr(torch, dtype))[None]
        del table
        embedded[:, layout.visual] = image
        decoder = module.model.language_model
        with _held(folder, decoder.norm, f"{DECODER}norm.", dtype):
            return judge.run(
                _layers(folder, decoder, dtype), decoder.norm, decoder.rotary_emb, embedded, layout, all_of_it=all_of_it
            )


def _layers(folder: ModelFolder, decoder: Any, dtype: str) -> Iterator[Any]:
    for index, layer in enumerate(decoder.layers):
        with _held(folder, layer, f"{DECODER}layers.{index}.", dtype):
            yield layer


class _held:
    """A part of the skeleton has its values inside, and none outside."""

    def __init__(self, folder: ModelFolder, part: nn.Module, prefix: str, dtype: str) -> None:
        self.folder, self.part, self.prefix, self.dtype = folder, part, prefix, dtype

    def __enter__(self) -> None:
        import torch

        dtype = getattr(torch, self.dtype)
        named = {name: one for name, one in self.folder.tensors.items() if name.startswith(self.prefix)}
        fill(self.part, {name: one.read().to(dtype) for name, one in named.items()}, self.prefix)

    def __exit__(self, *_: object) -> None:
        self.part.to("meta")
