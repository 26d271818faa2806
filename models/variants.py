"""The table of variants, one row each; spec.py says what the columns mean.

Input contracts are those of the authors' or timm's evaluation. VAN: the authors train and test with timm 0.4.12's
defaults for ViT, mean and std 0.5 and crop 0.9, and so does every published conversion of their weights.
"""

from __future__ import annotations

from typing import Any

from ..runtime.pictures.preprocess import ImageContract
from .families.damo_yolo.labels import COCO_LABELS
from .spec import ModelSpec

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
HALVES = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def detection_contract(size: tuple[int, int]) -> ImageContract:
    """What DAMO-YOLO's released models do to their pictures: stretched, 0..255, no mean, no std."""
    return ImageContract(
        size=size,
        resize="bilinear",
        antialias=False,
        crop_fraction=1.0,
        fit="stretch",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        scale=1.0,
    )


def _contract(crop_fraction: float, norm: dict[str, Any], size: int = 224) -> ImageContract:
    return ImageContract(
        size=(size, size),
        resize="bicubic",
        antialias=True,
        crop_fraction=crop_fraction,
        fit="crop",
        colour="RGB",
        **norm,
    )


_CONVIT: dict[str, Any] = {
    "family": "convit",
    "paper": "ConViT, d'Ascoli et al., ICML 2021, arXiv:2103.10697",
    "licence_code": "Apache-2.0 (timm); the authors' file header says CC-BY-NC 4.0, check before shipping",
    "licence_weights": "Apache-2.0 as timm states it; the authors' code header says CC-BY-NC 4.0, check before shipping",
    "contract": _contract(0.875, IMAGENET),
    "fixed_size": True,
    "size_multiple": 16,
}
_SMT: dict[str, Any] = {
    "family": "smt",
    "paper": "SMT, Lin et al., ICCV 2023, arXiv:2307.08579",
    "licence_code": "Apache-2.0 (our own code); the authors' repository is MIT",
    "licence_weights": "MIT",
    "contract": _contract(0.875, IMAGENET),
    "dynamic_size": True,
}
_DAVIT: dict[str, Any] = {
    "family": "davit",
    "paper": "DaViT, Ding et al., ECCV 2022, arXiv:2204.03645",
    "licence_code": "Apache-2.0 (timm); the authors' repository is MIT",
    "licence_weights": "Apache-2.0 as timm states it; the authors' repository is MIT",
    "contract": _contract(0.95, IMAGENET),
}
_VAN: dict[str, Any] = {
    "family": "van",
    "paper": "VAN, Guo et al., 2022, arXiv:2202.09741",
    "licence_code": "Apache-2.0 (our own code); the authors' repository is Apache-2.0",
    "licence_weights": "Apache-2.0; the authors ask to be contacted for commercial use",
    "contract": _contract(0.9, HALVES),
    "convolutional": True,
    "dynamic_size": True,
}
_VIT_GGEM: dict[str, Any] = {
    "family": "vit_ggem",
    "paper": "GGeM, Ko et al., 2022, arXiv:2212.04114, on ViT, Dosovitskiy et al., ICLR 2021, arXiv:2010.11929",
    "licence_code": "Apache-2.0 (timm, our own pooling)",
    "licence_weights": "Apache-2.0 (timm's ViT; nobody publishes weights trained with GGeM)",
    "contract": _contract(0.9, HALVES),
    "size_multiple": 16,
}


_DAMO_YOLO: dict[str, Any] = {
    "family": "damo_yolo",
    "paper": "DAMO-YOLO, Xu et al., 2022, arXiv:2211.15444",
    "licence_code": "Apache-2.0 (our own code); the authors' repository is Apache-2.0",
    "licence_weights": "Apache-2.0",
    "task": "detection",
    "num_classes": len(COCO_LABELS),
    "label_names": COCO_LABELS,
    "convolutional": True,
    "dynamic_size": True,
    "size_multiple": 32,
}


FAMILY_FACTS = {
    "convit": _CONVIT,
    "smt": _SMT,
    "davit": _DAVIT,
    "van": _VAN,
    "vit_ggem": _VIT_GGEM,
    "damo_yolo": _DAMO_YOLO,
}


def _convit(name: str, parameters: int) -> ModelSpec:
    return ModelSpec(
        name=name, parameters=parameters, config={"variant": name}, pretrained=f"timm:{name}.fb_in1k", **_CONVIT
    )


def _smt(
    name: str, parameters: int, depths: tuple[int, ...], dims: tuple[int, ...] = (64, 128, 256, 512), **config: Any
) -> ModelSpec:
    file = "smt_large_22k_224_ft" if name == "smt_large" else name
    url = f"https://github.com/AFeng-x/SMT/releases/download/v1.0.0/{file}.pth"
    return ModelSpec(
        name=name, parameters=parameters, config={"depths": depths, "dims": dims, **config}, pretrained=url, **_SMT
    )


def _davit(name: str, parameters: int, published: bool = True) -> ModelSpec:
    source = f"timm:{name}.msft_in1k" if published else None
    return ModelSpec(name=name, parameters=parameters, config={"variant": name}, pretrained=source, **_DAVIT)


def _van(
    name: str,
    parameters: int,
    depths: tuple[int, ...],
    dims: tuple[int, ...] = (64, 128, 320, 512),
    file: str | None = None,
) -> ModelSpec:
    url = f"https://huggingface.co/Visual-Attention-Network/{file}" if file else None
    config = {"depths": depths, "dims": dims}
    return ModelSpec(name=name, parameters=parameters, config=config, pretrained=url, **_VAN)


def _vit_ggem(size: str, parameters: int, dim: int, depth: int, heads: int, tag: str) -> ModelSpec:
    return ModelSpec(
        name=f"vit_ggem_{size}_patch16",
        parameters=parameters,
        config={"patch_size": 16, "embed_dim": dim, "depth": depth, "num_heads": heads},
        pretrained=f"timm:vit_{size}_patch16_224.{tag}",
        **_VIT_GGEM,
    )


_DAMO_FILES = "https://idstcv.oss-cn-zhangjiakou.aliyuncs.com/DAMO-YOLO"


def _damo_yolo(variant: str, parameters: int, file: str, older: str | None = None) -> ModelSpec:
    """The distilled weights where there are some; ``older`` are those of the first release, of the same network."""
    nano = variant.startswith("nano")
    return ModelSpec(
        name=f"damo_yolo_{variant}",
        parameters=parameters,
        config={"variant": variant},
        contract=detection_contract((416, 416) if nano else (640, 640)),
        score=0.03 if nano else 0.05,
        iou=0.65 if nano else 0.7,
        pretrained=f"{_DAMO_FILES}/release_model/{file}.pth",
        older_weights=f"{_DAMO_FILES}/clean_models/{older}.pth" if older else None,
        **_DAMO_YOLO,
    )


_WIDE: dict[str, Any] = {"stem_kernel": 7, "mlp_ratios": (8, 6, 4, 2)}  # SMT base and large

VARIANTS: tuple[ModelSpec, ...] = (
    _convit("convit_tiny", 5_710_512),
    _convit("convit_small", 27_777_322),
    _convit("convit_base", 86_540_040),
    _smt("smt_tiny", 11_506_536, (2, 2, 8, 1)),
    _smt("smt_small", 22_550_952, (3, 4, 18, 2)),
    _smt("smt_base", 32_037_352, (4, 6, 28, 2), **_WIDE),
    _smt("smt_large", 80_620_264, (4, 6, 28, 4), (96, 192, 384, 768), layer_scale=1e-4, **_WIDE),
    _davit("davit_tiny", 28_360_168),
    _davit("davit_small", 49_745_896),
    _davit("davit_base", 87_954_408),
    _davit("davit_large", 196_811_752, published=False),
    _davit("davit_huge", 348_922_856, published=False),
    _davit("davit_giant", 1_406_470_120, published=False),
    _van("van_b0", 4_105_800, (3, 3, 5, 2), (32, 64, 160, 256), "VAN-Tiny-original/resolve/main/van_tiny_754.pth.tar"),
    _van("van_b1", 13_861_800, (2, 2, 4, 2), file="VAN-Small-original/resolve/main/van_small_811.pth.tar"),
    _van("van_b2", 26_578_472, (3, 3, 12, 3), file="VAN-Base-original/resolve/main/van_base_828.pth.tar"),
    _van("van_b3", 44_765_608, (3, 5, 27, 3), file="VAN-Large-original/resolve/main/van_large_839.pth.tar"),
    _van("van_b4", 60_283_176, (3, 6, 40, 3)),
    _van("van_b5", 89_967_688, (3, 3, 24, 3), (96, 192, 480, 768)),
    _van("van_b6", 199_829_416, (6, 6, 90, 6), (96, 192, 384, 768)),
    _vit_ggem("tiny", 5_717_419, 192, 12, 3, "augreg_in21k_ft_in1k"),
    _vit_ggem("small", 22_050_670, 384, 12, 6, "augreg_in21k_ft_in1k"),
    _vit_ggem("base", 86_567_668, 768, 12, 12, "augreg2_in21k_ft_in1k"),
    _vit_ggem("large", 304_326_648, 1024, 24, 16, "augreg_in21k_ft_in1k"),
    _damo_yolo("tiny", 8_875_727, "clean_model_0317/damoyolo_tinynasL20_T_436", "damoyolo_tinynasL20_T"),
    _damo_yolo("small", 16_935_647, "clean_model_0317/damoyolo_tinynasL25_S_477", "damoyolo_tinynasL25_S"),
    _damo_yolo("medium", 29_241_727, "clean_model_0317/damoyolo_tinynasL35_M_502", "damoyolo_tinynasL35_M"),
    _damo_yolo("large", 43_861_759, "clean_model_0317/damoyolo_tinynasL45_L_519"),
    _damo_yolo("nano_small", 1_405_691, "ckpt/before_distill/damoyolo_nano_small"),
    _damo_yolo("nano_medium", 2_707_219, "ckpt/before_distill/damoyolo_nano_middle"),
    _damo_yolo("nano_large", 5_688_579, "ckpt/before_distill/damoyolo_nano_large"),
)

FAMILIES = {  # family -> its default variant
    "convit": "convit_tiny",
    "smt": "smt_tiny",
    "davit": "davit_tiny",
    "van": "van_b0",
    "vit_ggem": "vit_ggem_tiny_patch16",
    "damo_yolo": "damo_yolo_tiny",
}
_VIT_SIZES = ("tiny", "small", "base", "large")
_DAMO_NAMES = {  # variant -> the letters of the paper, then the authors' files and configurations, in lower case
    "tiny": ("t", "tinynasl20_t", "tinynasl20_t_420", "tinynasl20_t_436", "tinynasl20_t_418"),
    "small": ("s", "tinynasl25_s", "tinynasl25_s_460", "tinynasl25_s_477", "tinynasl25_s_456"),
    "medium": ("m", "tinynasl35_m", "tinynasl35_m_492", "tinynasl35_m_502", "tinynasl35_m_487"),
    "large": ("l", "tinynasl45_l", "tinynasl45_l_508", "tinynasl45_l_519"),
    "nano_small": ("ns", "tinynasl18_ns"),
    "nano_medium": ("nm", "tinynasl18_nm", "nano_middle"),
    "nano_large": ("nl", "tinynasl20_nl"),
}
ALIASES = {
    **{
        f"vit_ggem_{size}{suffix}": f"vit_ggem_{size}_patch16" for size in _VIT_SIZES for suffix in ("", "_patch16_224")
    },
    **{
        f"{start}_{name}": f"damo_yolo_{variant}"
        for variant, names in _DAMO_NAMES.items()
        for name in (variant, *names)
        for start in ("damo_yolo", "damoyolo")
        if (start, name) != ("damo_yolo", variant)
    },
    "damoyolo": FAMILIES["damo_yolo"],
}
