"""A configuration of yacs, as Swin's trainings and many after it save it beside the weights, in timm's words.

{"DATA": {"IMG_SIZE": 192, "MEAN": ...}, "MODEL": {"NUM_CLASSES": 7}, "TEST": {"CROP": True}} -> {"img_size": 192, ...}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..said import size_px

NAMES = {"IMG_SIZE": "img_size", "MEAN": "mean", "STD": "std", "INTERPOLATION": "interpolation", "CROP_PCT": "crop_pct"}
SHORTER, SEEN = 256, 224  # Swin's evaluation: the shorter side to 256/224 of the size, then a crop of the size


def of_yacs(words: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of yacs as Swin's and ConvNeXt's trainings save it -> the same in timm's words; empty where it is none.

    DATA: IMG_SIZE, MEAN, STD, INTERPOLATION; TEST.CROP: the shorter side to 256/224 of the size, then a crop, or all of it squashed.
    """
    data, model, test = (words.get(name) for name in ("DATA", "MODEL", "TEST"))
    if not isinstance(data, Mapping):
        return {}
    found = {ours: data[theirs] for theirs, ours in NAMES.items() if data.get(theirs) is not None}
    if isinstance(model, Mapping) and model.get("NUM_CLASSES") is not None:
        found["num_classes"] = model["NUM_CLASSES"]
    size = size_px(data.get("IMG_SIZE"))
    if size and isinstance(test, Mapping) and isinstance(test.get("CROP"), bool):
        if test["CROP"]:
            found |= {"val_crop_size": list(size), "val_resize_size": int(SHORTER / SEEN * min(size))}
        else:
            found |= {"crop_mode": "squash", "crop_pct": 1.0}
    return found
