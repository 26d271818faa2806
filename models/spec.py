"""What is known of one model variant, and how it is built.

    ModelSpec -> build(num_classes, image_size) -> nn.Module

Reading a spec imports neither torch nor timm; only ``build`` and ``rename`` do.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..runtime.errors import UserMistake
from ..runtime.preprocess import ImageContract

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class ModelSpec:
    """One variant. ``parameters`` is the exact count with ``num_classes`` outputs at ``contract.size``."""

    name: str
    family: str
    paper: str
    licence_code: str
    licence_weights: str
    parameters: int
    contract: ImageContract
    config: Mapping[str, Any] = field(default_factory=dict, hash=False)  # the family's constructor arguments
    pretrained: str | None = None  # "timm:NAME.TAG" or a URL; None where nobody publishes weights
    task: str = "classification"
    num_classes: int = 1000
    fixed_size: bool = False  # the network exists for one image size only
    dynamic_size: bool = False  # one exported graph may serve several image sizes
    size_multiple: int = 1  # both sides must be divisible by this
    size_min: int = 32  # the smallest side the last stage can still see
    convolutional: bool = False  # convolutions only: decides which int8 form is fast on a CPU
    label_names: tuple[str, ...] = ()  # where they are not ImageNet's
    fixture: bool = False  # trained by us on digits, for tests and benchmarks

    def build(
        self, num_classes: int | None = None, image_size: tuple[int, int] | None = None, **changes: Any
    ) -> nn.Module:
        """The network in training mode with fresh random weights; ``changes`` override ``config``."""
        family = importlib.import_module(f".{self.family}", __package__)
        config = {**self.config, **changes}
        return family.build(
            num_classes=num_classes or self.num_classes, image_size=image_size or self.contract.size, **config
        )

    def rename(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tensor names of any layout the family is published in -> the names of ``build``'s module."""
        family = importlib.import_module(f".{self.family}", __package__)
        return family.rename(state)

    def labels(self, num_classes: int | None = None) -> list[str]:
        """One name a class."""
        from .labels import labels

        count = num_classes or self.num_classes
        return list(self.label_names) if count == len(self.label_names) else labels(count)

    def check_size(self, image_size: int | tuple[int, int] | None) -> tuple[int, int]:
        """(height, width) to build for; raises UserMistake where the architecture does not allow the size."""
        if image_size is None:
            return self.contract.size
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        found = f"{height}x{width}"
        if self.fixed_size and (height, width) != self.contract.size:
            raise UserMistake(
                f"{self.name} has one image size",
                found=found,
                expected="{}x{}".format(*self.contract.size),
                because="its positions were learned for one square grid of patches",
                attempt="leave --image-size out, or choose a family that takes any size: smt, davit, van",
            )
        if min(height, width) < self.size_min or height % self.size_multiple or width % self.size_multiple:
            rule = f"a multiple of {self.size_multiple}, " if self.size_multiple > 1 else ""
            raise UserMistake(
                f"{self.name} cannot see this image size", found=found, expected=f"{rule}at least {self.size_min}"
            )
        return height, width

    def contract_for(self, image_size: tuple[int, int]) -> ImageContract:
        """The input contract at another size; everything but the size stays."""
        return replace(self.contract, size=image_size)
