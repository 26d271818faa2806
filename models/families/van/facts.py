"""VAN: what is known of its variants.

The authors train and test with timm 0.4.12's defaults for ViT, mean and std 0.5 and crop 0.9, and so does every published
conversion of their weights.
"""

from __future__ import annotations

from typing import Any

from ...channels import ARGUMENT
from ...spec import ModelSpec
from ..contracts import HALVES, crop_contract

FACTS: dict[str, Any] = {
    "family": "van",
    "channels_argument": ARGUMENT,
    "first_layers": ("patch_embed1.proj",),
    "paper": "VAN, Guo et al., 2022, arXiv:2202.09741",
    "licence_code": "Apache-2.0 (our own code); the authors' repository is Apache-2.0",
    "licence_weights": "Apache-2.0; the authors ask to be contacted for commercial use",
    "contract": crop_contract(0.9, HALVES),
    "convolutional": True,
    "dynamic_size": True,
}


def _variant(
    name: str,
    parameters: int,
    depths: tuple[int, ...],
    dims: tuple[int, ...] = (64, 128, 320, 512),
    file: str | None = None,
) -> ModelSpec:
    url = f"https://huggingface.co/Visual-Attention-Network/{file}" if file else None
    config = {"depths": depths, "dims": dims}
    return ModelSpec(name=name, parameters=parameters, config=config, pretrained=url, **FACTS)


VARIANTS = (
    _variant(
        "van_b0", 4_105_800, (3, 3, 5, 2), (32, 64, 160, 256), "VAN-Tiny-original/resolve/main/van_tiny_754.pth.tar"
    ),
    _variant("van_b1", 13_861_800, (2, 2, 4, 2), file="VAN-Small-original/resolve/main/van_small_811.pth.tar"),
    _variant("van_b2", 26_578_472, (3, 3, 12, 3), file="VAN-Base-original/resolve/main/van_base_828.pth.tar"),
    _variant("van_b3", 44_765_608, (3, 5, 27, 3), file="VAN-Large-original/resolve/main/van_large_839.pth.tar"),
    _variant("van_b4", 60_283_176, (3, 6, 40, 3)),
    _variant("van_b5", 89_967_688, (3, 3, 24, 3), (96, 192, 480, 768)),
    _variant("van_b6", 199_829_416, (6, 6, 90, 6), (96, 192, 384, 768)),
)
