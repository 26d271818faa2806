"""PyTorch in float32 as the judge of a grounding export: the method on transformers' layers, one layer in memory at a time.

    tensors of the checkpoint, or what quantised weights stand for -> patch scores of some instructions on one screen

A model of 3 billion parameters is judged in 6 GB: the tower is made, run and forgotten, then each decoder layer.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .codes import int4_codes, int8_codes

if TYPE_CHECKING:
    from ...models.folders.folder import ModelFolder

ReadTensor = Callable[[str], Any]  # state name -> float32 tensor of torch
TEXTS = ("open the settings", "click the blue button that says save", "close")


def plain(folder: ModelFolder) -> ReadTensor:
    """The weights as they are."""
    return lambda name: folder.tensors[name].read().float()


def rounded(folder: ModelFolder, block: int, table: bool) -> ReadTensor:
    """The weights that the codes of an int4 bundle stand for: with them PyTorch is to give the bundle's own answers.

    ``table``: the table of words is in 8 bits too.
    """
    import torch

    from .write import LANGUAGE

    def read(name: str) -> Any:
        tensor = folder.tensors[name].read().float()
        words = name.endswith("embed_tokens.weight")
        if tensor.ndim != 2 or (words and not table):
            return tensor
        array = tensor.numpy()
        if name.startswith(LANGUAGE) and not words and array.shape[1] % block == 0:
            found, width = int4_codes(array, block), block
        else:
            found, width = int8_codes(array), array.shape[1]
        found.codes.astype(np.float32, copy=False)
        return torch.from_numpy(found.codes.astype(np.float32) * np.repeat(found.scale, width, axis=1))

    return read


def judged(folder: ModelFolder, read: ReadTensor, pixels: np.ndarray, rows: Sequence[Sequence[int]]) -> np.ndarray:
    """pixels (3, H, W) as the vision tower takes them, instructions as ids -> scores (n, V) float64."""
    import torch

    from ...models.families.gui_aima.judge import Layout, embeddings, image_embeddings, run
    from ...models.families.gui_aima.network import empty, rebuild_rotary
    from ...models.families.gui_aima.picture import grid_of
    from ...models.families.gui_aima.scoring import patch_scores

    with torch.device("meta"):
        module = empty(folder.shape)
    rebuild_rotary(module)
    module.requires_grad_(False)
    prompt, grid = folder.prompt, grid_of((pixels.shape[1], pixels.shape[2]))
    decoder = module.model.language_model
    with torch.inference_mode():
        _fill(module.model.visual, "model.visual.", read)
        image = image_embeddings(module, pixels)
        module.model.visual = None
        gc.collect()
        _fill(decoder.norm, "model.language_model.norm.", read)
        _fill(decoder.embed_tokens, "model.language_model.embed_tokens.", read)
        embedded = []
        for row in rows:
            layout = Layout(len(prompt.before), grid, len(prompt.tail(row)) - 2, len(prompt.after))
            embedded.append((embeddings(module, prompt.ids(row, grid), image, layout), layout))
        decoder.embed_tokens = None
        found = [
            run(_layers(decoder, read), decoder.norm, decoder.rotary_emb, each, layout) for each, layout in embedded
        ]
    return np.stack([patch_scores(one.attention, folder.weighting) for one in found])


def _layers(decoder: Any, read: ReadTensor) -> Iterator[Any]:
    """The decoder's layers, each with its weights while it runs."""
    for index, layer in enumerate(decoder.layers):
        _fill(layer, f"model.language_model.layers.{index}.", read)
        yield layer
        layer.to("meta")


def _fill(module: Any, prefix: str, read: ReadTensor) -> None:
    import torch

    for name, _ in list(module.named_parameters()):
        owner, _, leaf = name.rpartition(".")
        holder = module.get_submodule(owner)
        holder.register_parameter(leaf, torch.nn.Parameter(read(prefix + name), requires_grad=False))
