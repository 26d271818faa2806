"""SMT: what is known of its variants."""

from __future__ import annotations

from typing import Any

from ...channels import ARGUMENT
from ...spec import ModelSpec
from ..contracts import IMAGENET, crop_contract

FACTS: dict[str, Any] = {
    "family": "smt",
    "channels_argument": ARGUMENT,
    "first_layers": ("patch_embed1.conv.0",),
    "paper": "SMT, Lin et al., ICCV 2023, arXiv:2307.08579",
    "licence_code": "Apache-2.0 (our own code); the authors' repository is MIT",
    "licence_weights": "MIT",
    "contract": crop_contract(0.875, IMAGENET),
    "dynamic_size": True,
}
_WIDE: dict[str, Any] = {"stem_kernel": 7, "mlp_ratios": (8, 6, 4, 2)}  # base and large


def _variant(
    name: str, parameters: int, depths: tuple[int, ...], dims: tuple[int, ...] = (64, 128, 256, 512), **config: Any
) -> ModelSpec:
    file = "smt_large_22k_224_ft" if name == "smt_large" else name
    url = f"https://github.com/AFeng-x/SMT/releases/download/v1.0.0/{file}.pth"
    return ModelSpec(
        name=name, parameters=parameters, config={"depths": depths, "dims": dims, **config}, pretrained=url, **FACTS
    )


VARIANTS = (
    _variant("smt_tiny", 11_506_536, (2, 2, 8, 1)),
    _variant("smt_small", 22_550_952, (3, 4, 18, 2)),
    _variant("smt_base", 32_037_352, (4, 6, 28, 2), **_WIDE),
    _variant("smt_large", 80_620_264, (4, 6, 28, 4), (96, 192, 384, 768), layer_scale=1e-4, **_WIDE),
)
