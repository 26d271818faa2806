"""Small bundles of every task, for repositories of Triton, and pictures to ask them about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from detection_bundle import write_detection_bundle
from segmentation_bundle import write_segmentation_bundle
from small_bundle import GRAPH, write_small_bundle


def write_features(out: Path) -> Path:
    outputs = [{"name": "logits", "dtype": "float32", "shape": [1, 3]}]
    return write_small_bundle(out, task="features", outputs=outputs)


def write_arrays(out: Path) -> Path:
    """A graph for arrays: images (1, 3, 8, 8) -> logits (1, 3)."""
    import onnx

    from edgesmith.runtime.bundle.bundle import write_bundle
    from edgesmith.runtime.bundle.golden import golden_bytes

    cases = np.random.default_rng(1).random((2, 1, 3, 8, 8), dtype=np.float32)
    files = {
        "model.onnx": onnx.parser.parse_model(GRAPH).SerializeToString(),
        "golden.npz": golden_bytes({"images": cases}, {"logits": cases.mean(axis=(3, 4))}),
    }
    manifest: dict[str, Any] = {
        "name": "arrays", "task": "tensors", "target": "cpu", "precision": "fp32",
        "inputs": [{"name": "images", "dtype": "float32", "shape": [1, 3, 8, 8]}],
        "outputs": [{"name": "logits", "dtype": "float32", "shape": [1, 3]}],
    }  # fmt: skip
    return write_bundle(out, files, manifest).path


def write_bundles(folder: Path) -> list[Path]:
    """small, boxes (its batch is open), masks (as well), features, arrays."""
    return [
        write_small_bundle(folder / "small.edge"),
        write_detection_bundle(folder / "boxes.edge", batch="batch"),
        write_segmentation_bundle(folder / "masks.edge"),
        write_features(folder / "features.edge"),
        write_arrays(folder / "arrays.edge"),
    ]


def write_pictures(folder: Path, count: int) -> list[Path]:
    """JPEG files, and a PNG in each ten, of many sizes; none is like another."""
    folder.mkdir()
    made, rng = [], np.random.default_rng(7)
    for number in range(count):
        height, width = rng.integers(9, 80, 2)
        small = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        picture = cv2.resize(small, (int(width), int(height)), interpolation=cv2.INTER_NEAREST)
        path = folder / f"{number:05d}.{'png' if number % 10 == 9 else 'jpg'}"
        assert cv2.imwrite(str(path), picture)
        made.append(path)
    return made
