"""Models by name, with weights: ``create("smt", weights="smt_tiny.pth")`` gives a torch module in eval mode.

    name, weights, classes, image size -> torch model

Importing this module is free; torch and timm are imported by the call that needs them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .registry import FAMILIES, MODELS, ModelSpec, families, find, find_recorded, list_models, name_recorded

if TYPE_CHECKING:
    from torch import nn

    from .loading import Prepared

__all__ = [
    "FAMILIES",
    "MODELS",
    "ModelSpec",
    "as_recorded",
    "create",
    "families",
    "find",
    "find_recorded",
    "list_models",
    "name_recorded",
    "prepare",
]


def prepare(
    name: str | ModelSpec,
    weights: str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    seed: int = 0,
    ema: bool | None = None,
    model_args: Mapping[str, Any] | None = None,
) -> Prepared:
    """Like :func:`create`, with where the weights came from, their hash, and what has to be said about them."""
    from .loading import prepare as run

    spec = name if isinstance(name, ModelSpec) else find(name, model_args)
    return run(spec, weights, num_classes, image_size, seed, ema)


def as_recorded(
    name: str, weights: str | os.PathLike[str] | None, model_args: Mapping[str, Any] | None = None
) -> ModelSpec:
    """The variant with what a checkpoint records of it: preprocessing, image size, names of classes, network arguments."""
    from .weights.place import NAMED
    from .weights.recorded import recorded

    spec = find(name, model_args)
    weights = spec.usual_weights if weights is None else weights
    return spec if str(weights) in NAMED else recorded(os.fspath(weights)).applied(spec)


def create(
    name: str | ModelSpec,
    weights: str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    seed: int = 0,
    ema: bool | None = None,
    model_args: Mapping[str, Any] | None = None,
) -> nn.Module:
    """The model in eval mode, float32, on the CPU.

    ``weights`` is "random" (``seed`` decides), "pretrained" (downloaded), "own" (those of a folder or a function of one's own), a
    checkpoint file or a folder with one; None takes what is usual for the name. ``model_args``: arguments of its builder.
    ``image_size`` is a side in pixels or (height, width). ``ema``: averaged weights or plain ones; None takes the averaged
    ones where the file has them. Raises UserMistake for a name, a file or a size that cannot be used.
    """
    return prepare(name, weights, num_classes, image_size, seed, ema, model_args).module
