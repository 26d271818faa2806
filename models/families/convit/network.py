"""ConViT: soft convolutional inductive biases (d'Ascoli et al., ICML 2021, arXiv:2103.10697).

The network is timm's, whose parameter names and logits are those of the authors. What is ours: the relative positions
of the patches are put in place when the model is built, so that ``forward`` writes nothing and an export finds a
constant instead of the code that computes it.

    image (B, 3, S, S) > N patches (B, N, C) > 10 gated positional blocks > class token put in front
    > 2 plain attention blocks (B, N + 1, C) > logits of token 0 (B, classes)
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ....runtime.errors import UserMistake


def fix_positions(model: nn.Module) -> None:
    """Compute each gated block's (1, N, N, 3) table of (dx, dy, dx^2 + dy^2); a later forward finds it and keeps it."""
    from timm.models.convit import GPSA

    for module in model.modules():
        if isinstance(module, GPSA):
            module.rel_indices = module.get_rel_indices(model.num_patches)


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' names and timm's are the same; a saved position table is recomputed, so it is dropped."""
    return {name: value for name, value in state.items() if not name.endswith(".rel_indices")}


def build(num_classes: int, image_size: tuple[int, int], variant: str, **config: Any) -> nn.Module:
    """``variant`` is timm's name; ``config`` narrows or deepens it."""
    import timm

    if image_size[0] != image_size[1]:
        raise UserMistake(
            "ConViT has square pictures only",
            found=f"{image_size[0]}x{image_size[1]}",
            expected="as high as wide",
            because="its position tables are of a square grid, whatever the sides are",
        )
    model = timm.create_model(variant, num_classes=num_classes, img_size=image_size, **config)
    fix_positions(model)
    return model
