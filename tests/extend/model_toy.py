"""A model family in one file of one's own: the facts of its variants, the network, and the call that makes them known."""

from __future__ import annotations

from typing import Any

from edgesmith import register_model
from edgesmith.models.spec import ModelSpec
from edgesmith.runtime.pictures.contract import ImageContract


def build(num_classes: int, image_size: tuple[int, int], width: int) -> Any:
    """image (B, 3, H, W) > two convolutions (B, width, H/4, W/4) > mean over positions > logits (B, classes)"""
    from torch import nn  # here only, so that reading the facts is free

    class Toy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, width, 4, stride=4)
            self.block = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.GELU())
            self.head = nn.Linear(width, num_classes)

        def forward(self, x: Any) -> Any:
            return self.head(self.block(self.stem(x)).mean(dim=(2, 3)))

    return Toy()


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Checkpoints of the toy's trainer carry ``net.`` before every name."""
    return {name.removeprefix("net."): value for name, value in state.items()}


TOY_SMALL = ModelSpec(
    name="toy_small",
    family="toy",
    module=__name__,
    paper="none",
    licence_code="Apache-2.0",
    licence_weights="Apache-2.0",
    parameters=3_221,
    contract=ImageContract(size=(32, 32)),
    config={"width": 16},
    num_classes=5,
    label_names=("red", "green", "blue", "grey", "none"),
)


def add() -> None:
    """What ``[project.entry-points."edgesmith"] toy = "model_toy:add"`` would name in a package that is installed."""
    register_model(TOY_SMALL)
