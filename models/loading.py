"""From a spec and a ``--weights`` choice to a model that is ready to trace.

ModelSpec, weights -> checkpoint tensors in our names -> comparison with the network -> nn.Module in eval mode
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ..runtime.errors import UserMistake
from .channels import adapted
from .fit import check_fit, head_classes, without_head
from .spec import ModelSpec
from .weights.checkpoint import Checkpoint, read_checkpoint
from .weights.files.download import fetch
from .weights.names.prefixes import choose
from .weights.values import values_of

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Prepared:
    """A model and the origin of its weights: ``sha256`` is the file's, None for random weights."""

    module: nn.Module
    spec: ModelSpec
    image_size: tuple[int, int]
    num_classes: int
    source: str
    sha256: str | None = None
    averaged: bool = False  # the moving average of the weights was taken
    notes: tuple[str, ...] = ()


def prepare(
    spec: ModelSpec,
    weights: str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    seed: int = 0,
    ema: bool | None = None,
) -> Prepared:
    """Build and load; UserMistake where file, class count or size do not go with the model.

    ``weights``: None takes those that are usual for ``spec``, "own" those that the network comes with.
    Class count, size and network arguments that a checkpoint records are those of ``spec`` then. ``ema`` as read_checkpoint.
    """
    if num_classes is not None and num_classes < 0:
        raise UserMistake("--num-classes must be at least 0", found=str(num_classes))
    weights = spec.usual_weights if weights is None else weights
    spec = spec.with_classes(num_classes)
    if str(weights) == "own":
        return _own(spec, num_classes, image_size, seed)
    if spec.folder:
        return _of_folder(spec, weights, spec.check_size(image_size), seed)
    if str(weights) == "random":
        size, classes = spec.check_size(image_size), num_classes or spec.num_classes
        module = _spread(_seeded(spec, classes, size, seed), seed)
        spec.settle(module, seed)
        note = f"random weights of seed {seed}: the outputs mean nothing"
        return Prepared(module.eval(), spec, size, classes, source=f"random, seed {seed}", notes=(note,))
    checkpoint = fetch(spec, ema) if str(weights) == "pretrained" else read_checkpoint(weights, ema=ema)
    spec = checkpoint.recorded.applied(spec)
    size = spec.check_size(spec.contract.size if image_size is None else image_size)
    classes = num_classes or spec.num_classes
    chosen = choose(spec, checkpoint)
    state = values_of(chosen.tensors, checkpoint.source, checkpoint.size_bytes)
    state, told = adapted(spec.rename(state), spec, size)
    state, notes = spec.at_size(state, size)
    if not classes:
        state, less = without_head(spec, state)
        notes = (*notes, *less)
    found = head_classes(spec, state)
    changes, more = spec.changes_for(state)
    with torch.device("meta"):
        template = spec.build(num_classes=found or classes, image_size=size, **changes).state_dict()
    state, filled = check_fit(spec, checkpoint, state, template)
    _check_classes(spec, checkpoint, found, classes)  # after the fit: of a wrong family only the family is told
    module = _seeded(spec, classes, size, seed, **changes)
    if filled:  # the pooling exponents of a plain ViT keep their first value
        state |= {name: value for name, value in module.state_dict().items() if name in filled}
    module.load_state_dict(state)
    notes = (*checkpoint.notes, *chosen.notes, *told, *notes, *more, *filled.values())
    return Prepared(module.eval(), spec, size, classes, checkpoint.source, checkpoint.sha256, chosen.average, notes)


def _own(spec: ModelSpec, num_classes: int | None, image_size: int | tuple[int, int] | None, seed: int) -> Prepared:
    """The weights that come with the network; what its code draws at random is drawn with ``seed``."""
    if spec.usual_weights != "own":
        raise UserMistake(
            f"{spec.name} comes without weights",
            found="--weights own",
            expected="a file, pretrained or random",
            because="own are those that a folder or a function of yours brings",
            attempt="--weights random, to try the flow without a checkpoint",
        )
    size, classes = spec.check_size(image_size), num_classes or spec.num_classes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module, source, sha256, notes = spec.load(classes, size)
    return Prepared(module.eval(), spec, size, classes, source, sha256, notes=notes)


def _of_folder(spec: ModelSpec, weights: str | os.PathLike[str], size: tuple[int, int], seed: int) -> Prepared:
    """All of a folder at once, in float32; an export reads it tensor by tensor instead."""
    from .families.gui_aima.shape import Shape
    from .folders.folder import load_eager, open_folder, random_folder

    if str(weights) == "pretrained":
        raise UserMistake(
            f"{spec.name}: the weights are not downloaded",
            found="--weights pretrained",
            expected="a folder, or random",
            because=f"they come under a licence of their own: {spec.licence_weights}",
            attempt="download the folder yourself, then --weights FOLDER",
        )
    opened = random_folder(Shape(**spec.config), seed) if str(weights) == "random" else open_folder(weights)
    return Prepared(load_eager(opened), spec, size, 0, opened.source, opened.sha256(), notes=opened.notes)


def _seeded(spec: ModelSpec, classes: int, size: tuple[int, int], seed: int, **changes: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return spec.build(num_classes=classes, image_size=size, **changes)


def _spread(module: nn.Module, seed: int) -> nn.Module:
    """Move what initialisation leaves at a constant (biases 0, norm scales 1, running statistics) a little apart.

    Otherwise the exporter drops the biases and the norms do nothing: parity would not see a norm folded wrongly, and the
    graph would be smaller, thus faster, than that of any trained network.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point() and tensor.numel() > 1 and bool((tensor == tensor.flatten()[0]).all()):
                noise = torch.randn(tensor.shape, generator=generator)
                tensor.copy_(tensor * (1 + 0.1 * noise) if tensor.flatten()[0] else 0.02 * noise)
    return module


def _check_classes(spec: ModelSpec, checkpoint: Checkpoint, found: int | None, expected: int) -> None:
    if found is not None and found != expected:
        raise UserMistake(
            f"{checkpoint.source}: the head of this checkpoint has another number of classes",
            found=f"{found} classes",
            expected=f"{expected} classes for {spec.name}",
            because="a head that does not come from the checkpoint would answer at random",
            attempt=f"--num-classes {found}; where --labels names the classes, with {found} names in its file",
        )
