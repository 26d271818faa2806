"""Models we trained ourselves: real weights and a real accuracy, offline.

The classifiers are narrow variants that learned digits (tools/train_small.py), the detector is the smallest DAMO-YOLO
and learned synthetic scenes (scenes.py, tools/train_detector.py). Their checkpoints stand in tests/data/trained with the accuracy that was measured. They are for tests and benchmarks;
`edgesmith list` keeps them apart.
"""

from __future__ import annotations

from typing import Any

from ..runtime.preprocess import ImageContract
from .spec import ModelSpec
from .variants import FAMILY_FACTS, detection_contract

SCENE_LABELS = ("circle", "ring", "square", "triangle", "star", "cross", "arrow", "heart")


def _digits(family: str, parameters: int, size: int, **config: Any) -> ModelSpec:
    changes = {
        "licence_weights": "Apache-2.0 (trained by us on MNIST)",
        "contract": ImageContract(
            size=(size, size),
            resize="bilinear",
            antialias=True,
            crop_fraction=1.0,
            fit="stretch",
            colour="RGB",
            mean=(0.13, 0.13, 0.13),
            std=(0.31, 0.31, 0.31),
        ),
        "size_multiple": config.get("patch_size", 1),
        "size_min": min(size, 32),
    }
    return ModelSpec(
        name=f"{family}_mnist",
        parameters=parameters,
        config=config,
        num_classes=10,
        label_names=tuple(f"digit {digit}" for digit in range(10)),
        fixture=True,
        **{**FAMILY_FACTS[family], **changes},
    )


def _scenes(variant: str, parameters: int, size: int) -> ModelSpec:
    changes = {
        "licence_weights": "Apache-2.0 (trained by us on synthetic scenes)",
        "num_classes": len(SCENE_LABELS),
        "label_names": SCENE_LABELS,
    }
    return ModelSpec(
        name="damo_yolo_scenes",
        parameters=parameters,
        config={"variant": variant},
        contract=detection_contract((size, size)),
        fixture=True,
        score=0.03,
        iou=0.65,
        **{**FAMILY_FACTS["damo_yolo"], **changes},
    )


_CONVIT = {"patch_size": 7, "embed_dim": 16, "depth": 4, "num_heads": 4, "local_up_to_layer": 3}  # embed_dim: a head
_DAVIT = {"depths": (1, 1, 1, 1), "embed_dims": (32, 64, 64, 96), "num_heads": (1, 2, 2, 3)}

FIXTURES: tuple[ModelSpec, ...] = (
    _digits("convit", 210_566, 28, variant="convit_tiny", **_CONVIT),
    _digits("smt", 372_346, 64, dims=(16, 32, 64, 128), depths=(1, 1, 2, 1), attention_heads=(4, 8)),
    _digits("davit", 514_922, 64, variant="davit_tiny", **_DAVIT),
    _digits("van", 437_898, 64, dims=(16, 32, 64, 128), depths=(1, 1, 2, 1)),
    _digits("vit_ggem", 211_342, 28, patch_size=7, embed_dim=64, depth=4, num_heads=4),
    _scenes("nano_small", 1_385_315, 256),
)
