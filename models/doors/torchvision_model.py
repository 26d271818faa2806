"""torchvision:NAME[.WEIGHTS] -> ModelSpec: preprocessing and names of classes as the metadata of the weights have them.

torchvision:resnet50, torchvision:resnet50.IMAGENET1K_V1       the default weights where none are named
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...runtime.errors import UserMistake
from ...runtime.pictures.contract import ImageContract
from ..labels import numbers
from ..spec import ModelSpec
from ..weights.said import fraction_of
from .building import OneTensor, arguments_of, built, check_size, on_meta, sized
from .kinds import CLASSES, MAPS, Kind

if TYPE_CHECKING:
    from torch import nn

__all__ = ["build", "check_size", "spec"]

KINDS: dict[str, Kind] = {"ImageClassification": CLASSES, "SemanticSegmentation": MAPS}  # by the kind of transforms
SIZED = {"vit_": "image_size", "maxvit_": "input_size"}  # beginnings of names -> the argument that says the size
AS_PUBLISHED = {"googlenet": {"transform_input": True, "init_weights": False},
                "inception_v3": {"transform_input": True, "init_weights": False}}  # fmt: skip


def spec(name: str, model_args: Mapping[str, Any]) -> ModelSpec:
    """The facts of one network with one set of weights.

    Raises:
        UserMistake: torchvision has no such network or weights, it is of another task, or does not take ``model_args``.
    """
    wanted, _, tag = name.strip().partition(".")
    key = wanted.lower().replace("-", "_")
    weights = _weights(key, tag)
    kind = type(weights.transforms()).__name__ if weights is not None else "ImageClassification"
    if kind not in KINDS:
        raise UserMistake(
            f"torchvision's {key} is of another task",
            found=f"pictures prepared by {kind}",
            expected="a classifier or a network for segmentation",
            attempt="--model torchvision:resnet50, or damo_yolo for detection",
        )
    names = tuple(weights.meta.get("categories", ())) if weights is not None else tuple(numbers(1000))
    known = ModelSpec(
        name=f"torchvision:{name.strip()}",
        family="torchvision",
        paper=f"torchvision, {key}",
        licence_code="BSD-3-Clause (torchvision)",
        licence_weights="BSD-3-Clause as torchvision states it; the data sets have terms of their own",
        parameters=0,
        contract=_contract(weights),
        config={"name": key, **AS_PUBLISHED.get(key, {}), **model_args},
        pretrained=weights.url if weights is not None else None,
        **KINDS[kind],
        num_classes=len(names),
        size_min=1,
        label_names=names,
        module=__name__,
        asked=dict(model_args),
        sizes_by_trying=True,
    )
    network = built(known.name, lambda: on_meta(known, known.contract.size), model_args, lambda: _arguments(key))
    return sized(known, network)


def build(num_classes: int, image_size: tuple[int, int], *, name: str, **model_args: Any) -> nn.Module:
    """The network without weights; segmentation gives its map of scores, without the head that only training uses."""
    from torchvision import models

    for beginning, argument in SIZED.items():
        if name.startswith(beginning):
            model_args.setdefault(argument, image_size if argument == "input_size" else image_size[0])
    if name in models.list_models(module=models.segmentation):
        model_args = {"weights_backbone": None, **model_args}
    network: nn.Module = models.get_model(name, weights=None, num_classes=num_classes, **model_args)
    network.register_forward_hook(OneTensor(f"torchvision:{name}"))
    return network


def _weights(name: str, tag: str) -> Any:
    """The set of weights by its tag, or the default one; None where nobody published any."""
    from torchvision import models

    if name not in models.list_models():
        near = difflib.get_close_matches(name, models.list_models(), n=3, cutoff=0.5)
        raise UserMistake(
            "torchvision has no model of this name",
            found=f"torchvision:{name}",
            expected=f"one of its {len(models.list_models())} names",
            attempt=f"did you mean {' or '.join(near)}?" if near else "--model torchvision:resnet50",
        )
    sets = models.get_model_weights(name)
    if not tag:
        return getattr(sets, "DEFAULT", None)
    if tag.upper() not in sets.__members__:
        raise UserMistake(
            f"torchvision's {name} has no weights of this name",
            found=f"torchvision:{name}.{tag}",
            expected="one of " + ", ".join(sets.__members__),
            attempt=f"--model torchvision:{name}",
        )
    return sets[tag.upper()]


def _contract(weights: Any) -> ImageContract:
    """The transforms' metadata: short side to resize_size, the centre of crop_size."""
    if weights is None:
        return ImageContract(size=(224, 224), resize="bilinear")
    said = weights.transforms()
    resized = said.resize_size[0]
    seen = said.crop_size[0] if hasattr(said, "crop_size") else resized
    return ImageContract(
        size=(seen, seen),
        resize=said.interpolation.value,
        antialias=bool(said.antialias),
        crop_fraction=fraction_of(seen, resized),
        fit="crop" if hasattr(said, "crop_size") else "stretch",
        mean=tuple(said.mean),
        std=tuple(said.std),
    )


def _arguments(name: str) -> tuple[str, ...]:
    """Names of the network's constructor."""
    import torch
    from torchvision import models

    with torch.device("meta"):
        return arguments_of(type(models.get_model(name, weights=None)).__init__)
