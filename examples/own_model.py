"""Bring a model family of your own: one file, and export, list, compare and bench know it.

You learn: what a family must have (`build`) and may have (`rename`, ...), what its spec says, and how an installed package
registers itself, so that the command knows it too: an entry point of the group `edgesmith` in its pyproject.toml,

    [project.entry-points.edgesmith]
    stripes = "own_model:register"

    python examples/own_model.py
"""

import tempfile
from pathlib import Path

import numpy as np
from torch import nn

import edgesmith
from edgesmith.models import list_models
from edgesmith.models.spec import ModelSpec
from edgesmith.runtime.pictures.contract import ImageContract


def build(num_classes: int, image_size: tuple[int, int], width: int) -> nn.Module:
    """image (B, 3, H, W) > maps (B, width, H/4, W/4) > logits (B, classes)"""
    stem = nn.Sequential(nn.Conv2d(3, width, 4, stride=4), nn.BatchNorm2d(width), nn.GELU())
    return nn.Sequential(stem, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))


def register() -> None:
    edgesmith.register_model(
        ModelSpec(
            name="stripes_tiny",
            family="stripes",
            module=__name__,  # where `build` stands
            paper="unpublished",
            licence_code="Apache-2.0",
            licence_weights="Apache-2.0",
            parameters=850,
            contract=ImageContract(size=(32, 32)),
            config={"width": 16},
            num_classes=2,
            label_names=("upright", "lying"),
        )
    )


if __name__ == "__main__":
    register()
    print("known now:", ", ".join(spec.name for spec in list_models() if spec.family == "stripes"))
    with tempfile.TemporaryDirectory() as scratch:
        result = edgesmith.export("stripes", out=Path(scratch) / "stripes.edge")  # random weights: no checkpoint given
        with edgesmith.load(result.path) as session:
            print(session(np.zeros((48, 48, 3), np.uint8)))
