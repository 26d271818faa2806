"""A small segmenter as a bundle, whose answers are known by hand: a place of 4x4 pixels is of the colour that it has most of.

mask_logits (B, 3, 8, 8)    how red, green and blue the places of a 32x32 picture are on average, 0..1

write_segmentation_bundle(out)                          three classes
write_segmentation_bundle(out, fit="crop", size=...)    another contract
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

LABELS = ["red", "green", "blue"]
SIZE, STRIDE = 32, 4
QUARTERS = np.array([[0, 1], [2, 1]]).repeat(16, axis=0).repeat(16, axis=1)  # (32, 32)
GRAPH = f"""
<ir_version: 10, opset_import: ["" : 20]>
segmenter (float[batch, 3, {SIZE}, {SIZE}] images) => (float[batch, 3, {SIZE // STRIDE}, {SIZE // STRIDE}] mask_logits)
{{ mask_logits = AveragePool<kernel_shape = [{STRIDE}, {STRIDE}], strides = [{STRIDE}, {STRIDE}]>(images) }}
"""


def judge(images: np.ndarray) -> np.ndarray:
    """(n, 3, 32, 32) -> (n, 3, 8, 8): what the model computes, in numpy."""
    side = SIZE // STRIDE
    return np.asarray(images.reshape(-1, 3, side, STRIDE, side, STRIDE).mean(axis=(3, 5)), np.float32)


def painted(classes: np.ndarray) -> np.ndarray:
    """(H, W) -> (H, W, 3) uint8 RGB: a picture whose pixels have the colours of the classes."""
    return (np.eye(3, dtype=np.uint8) * 255)[classes]


def write_segmentation_bundle(
    out: Path, labels: Any = LABELS, contract: dict[str, Any] | None = None, **changes: Any
) -> Path:
    """Write it to ``out``; ``changes`` replace keys of the manifest, ``contract`` fields of the contract."""
    import onnx

    from edgesmith.runtime.bundle.bundle import write_bundle
    from edgesmith.runtime.bundle.golden import golden_bytes
    from edgesmith.runtime.pictures.preprocess import ImageContract

    images = np.random.default_rng(0).random((2, 3, SIZE, SIZE), dtype=np.float32)
    told = {"fit": "stretch", "crop_fraction": 1.0, "mean": (0, 0, 0), "std": (1, 1, 1), **(contract or {})}
    files = {
        "model.onnx": onnx.parser.parse_model(GRAPH).SerializeToString(),
        "labels.json": json.dumps(labels).encode(),
        "golden.npz": golden_bytes({"images": images}, {"mask_logits": judge(images)}),
    }
    bounds = {"min": [1, 3, SIZE, SIZE], "opt": [1, 3, SIZE, SIZE], "max": [4, 3, SIZE, SIZE]}
    manifest = {
        "name": "segmenter", "task": "segmentation", "target": "cpu", "precision": "fp32", "num_classes": len(labels),
        "inputs": [{"name": "images", "dtype": "float32", "shape": ["batch", 3, SIZE, SIZE], **bounds}],
        "outputs": [{"name": "mask_logits", "dtype": "float32", "shape": ["batch", 3, SIZE // STRIDE, SIZE // STRIDE]}],
        "input_contract": ImageContract((SIZE, SIZE), **told).to_json(), "labels": "labels.json",
    }  # fmt: skip
    return write_bundle(out, files, {**manifest, **changes}).path


def write_pair(folder: Path, name: str, seen: np.ndarray, said: np.ndarray) -> None:
    """A picture that shows ``seen`` and a mask that says ``said``, (H, W) classes, in images/ and masks/ of ``folder``."""
    import cv2

    for kind, pixels in (("images", painted(seen)[..., ::-1]), ("masks", said.astype(np.uint8))):
        (folder / kind / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(folder / kind / f"{name}.png"), pixels)
