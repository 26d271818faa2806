"""DAMO-YOLO: what is known of its variants."""

from __future__ import annotations

from typing import Any

from ....runtime.pictures.contract import ImageContract
from ...channels import ARGUMENT
from ...spec import ModelSpec
from .labels import COCO_LABELS

FACTS: dict[str, Any] = {
    "family": "damo_yolo",
    "channels_argument": ARGUMENT,
    "first_layers": (
        "backbone.block_list.0.conv.conv",
        "backbone.csp_stage.0.conv.conv",
        "backbone.block_list.0.conv.conv1",
    ),
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


_FILES = "https://idstcv.oss-cn-zhangjiakou.aliyuncs.com/DAMO-YOLO"


def _variant(variant: str, parameters: int, file: str, older: str | None = None) -> ModelSpec:
    """The distilled weights where there are some; ``older`` are those of the first release, of the same network."""
    nano = variant.startswith("nano")
    return ModelSpec(
        name=f"damo_yolo_{variant}",
        parameters=parameters,
        config={"variant": variant},
        contract=detection_contract((416, 416) if nano else (640, 640)),
        score=0.03 if nano else 0.05,
        iou=0.65 if nano else 0.7,
        pretrained=f"{_FILES}/release_model/{file}.pth",
        older_weights=f"{_FILES}/clean_models/{older}.pth" if older else None,
        **FACTS,
    )


VARIANTS = (
    _variant("tiny", 8_875_727, "clean_model_0317/damoyolo_tinynasL20_T_436", "damoyolo_tinynasL20_T"),
    _variant("small", 16_935_647, "clean_model_0317/damoyolo_tinynasL25_S_477", "damoyolo_tinynasL25_S"),
    _variant("medium", 29_241_727, "clean_model_0317/damoyolo_tinynasL35_M_502", "damoyolo_tinynasL35_M"),
    _variant("large", 43_861_759, "clean_model_0317/damoyolo_tinynasL45_L_519"),
    _variant("nano_small", 1_405_691, "ckpt/before_distill/damoyolo_nano_small"),
    _variant("nano_medium", 2_707_219, "ckpt/before_distill/damoyolo_nano_middle"),
    _variant("nano_large", 5_688_579, "ckpt/before_distill/damoyolo_nano_large"),
)
_NAMES = {  # variant -> the letters of the paper, then the authors' files and configurations, in lower case
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
        f"{start}_{name}": f"damo_yolo_{variant}"
        for variant, names in _NAMES.items()
        for name in (variant, *names)
        for start in ("damo_yolo", "damoyolo")
        if (start, name) != ("damo_yolo", variant)
    },
    "damoyolo": VARIANTS[0].name,
}
