"""The golden files of DAMO-YOLO in tests/data/reference, written by the authors' code (commits in the files).

    facts(v), arrays(v)        what a file says; the npz arrays are named "<case>/<tensor>[slice]"
    state(v), model(v)         the reference weights, training form, rebuilt from names and shapes
    picture(case)              the input of a case: (B, 3, H, W) float32, 0..255

Weights are the recipe of reference_weights.py but for the BatchNorm statistics and head scales (stored, so that
activations keep unit scale), the class bias (shifted, so that scores do not saturate) and head.integral.project.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import reference_weights

VARIANTS = ("tiny", "nano_small")  # with golden outputs down to the detections
FEATURES = ("small", "medium", "large")  # with golden outputs of backbone and neck

CASES = {"tiny": ("b1_640x640", "b2_320x416"), "nano_small": ("b1_640x640", "b2_320x416", "b1_416x416")}


def facts(variant: str) -> dict[str, Any]:
    return reference_weights.facts(f"damoyolo_{variant}")


def arrays(variant: str) -> Any:
    return reference_weights.golden(f"damoyolo_{variant}")


def state(variant: str) -> dict[str, np.ndarray]:
    """The training form under the official names."""
    stored, description = arrays(variant), facts(variant)
    return {name: _value(name, shape, dtype, stored, description) for name, shape, *dtype in description["tensors"]}


def _value(name: str, shape: list[int], dtype: list[str], stored: Any, description: dict[str, Any]) -> np.ndarray:
    if f"state/{name}" in stored:
        return np.asarray(stored[f"state/{name}"])
    if name == "head.integral.project":
        return np.arange(shape[0], dtype=np.float32)
    if dtype:
        return np.zeros(shape, dtype[0])
    value = reference_weights.reference_array(name, shape)
    if name.startswith("head.gfl_cls.") and name.endswith(".bias"):
        value = value + np.float32(description["weights_exceptions"]["class_bias_shift"])
    return value


def model(variant: str, **changes: Any) -> Any:
    """Our network with the reference weights, training form, eval mode, float32."""
    import torch

    from edgesmith.models.families.damo_yolo.network import LAYOUTS, DamoYolo

    module = DamoYolo(LAYOUTS[variant], **changes)
    module.load_state_dict({name: torch.from_numpy(value) for name, value in state(variant).items()})
    return module.eval()


def picture(seed: int, shape: list[int], **_: Any) -> np.ndarray:
    """The file's input_rule: coarse and fine noise around grey, whole numbers."""
    batch, channels, height, width = shape
    rng = np.random.Generator(np.random.PCG64(seed))
    total = 0.3 * rng.standard_normal((batch, channels, height, width))
    for size in (16, 32, 64):
        coarse = rng.standard_normal((batch, channels, -(-height // size), -(-width // size)))
        total = total + 0.55 * coarse.repeat(size, axis=2).repeat(size, axis=3)[:, :, :height, :width]
    return np.clip(np.round(114 + 50 * total), 0, 255).astype(np.float32)


def outputs(module: Any, image: Any) -> dict[str, np.ndarray]:
    """Everything the golden files hold of one run, from inside out."""
    import torch

    with torch.inference_mode():
        backbone = module.backbone(image)
        neck = module.neck(backbone)
        levels = module.head.levels(neck)
        boxes, scores = module.head.integral(levels)
    named = {f"backbone{i}": x for i, x in enumerate(backbone)} | {f"neck{i}": x for i, x in enumerate(neck)}
    named |= {f"cls_logits{i}": logits for i, (logits, _) in enumerate(levels)}
    named |= {f"reg_scaled{i}": sides for i, (_, sides) in enumerate(levels)}
    named |= {"boxes_xyxy": boxes, "scores": scores, "scores_max_over_classes": scores.amax(-1)}
    return {name: value.numpy() for name, value in named.items()}


def differences(found: dict[str, np.ndarray], stored: Any, case: str) -> dict[str, float]:
    """Tensor name -> largest absolute difference from the golden values, over what the file holds of it."""
    return {name: max_abs(found[name][slices], stored[key]) for name, slices, key in _stored(stored, case, found)}


def _stored(stored: Any, case: str, found: dict[str, np.ndarray]) -> Iterator[tuple[str, tuple[slice, ...], str]]:
    for key in stored:
        name, _, text = key.removeprefix(f"{case}/").partition("[")
        if key.startswith(f"{case}/") and name in found:
            steps = [part.strip(":") for part in text.rstrip("]").split(",")] if text else []
            yield name, tuple(slice(None, None, int(step) if step else None) for step in steps), key


def max_abs(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found.astype(np.float64) - expected).max())
