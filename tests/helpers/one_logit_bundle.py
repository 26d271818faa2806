"""A real bundle of a classifier with one logit: 8 x (red - blue) of an 8x8 picture, its colours 0..1."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from small_bundle import GRAPH, write_small_bundle

from edgesmith.runtime.bundle.bundle import open_bundle, write_bundle
from edgesmith.runtime.bundle.golden import golden_bytes
from edgesmith.runtime.pictures.preprocess import ImageContract

ONE = GRAPH.replace("logits = Flatten<axis = 1>(mean)", "flat = Flatten<axis = 1>(mean)\n  logits = MatMul(flat, w)")
ONE = ONE.replace("float[1, 3] logits", "float[1, 1] logits").replace(
    "{\n", "<float[3, 1] w = {8.0, 0.0, -8.0}> {\n", 1
)
PLAIN = ImageContract(size=(8, 8), mean=(0, 0, 0), std=(1, 1, 1)).to_json()  # a picture is read as 0..1


def one_logit(out: Path, labels: list[str], graph: str = ONE, shape: tuple[int, ...] = (1, 1)) -> Path:
    """The logit of a picture is 8 x (red - blue), both 0..1."""
    small = open_bundle(write_small_bundle(out.with_suffix(".small")))
    images = np.random.default_rng(0).random((1, 3, 8, 8), dtype=np.float32)
    mean = images.mean(axis=(2, 3))
    logits = 8 * (mean[:, :1] - mean[:, 2:]) if shape == (1, 1) else mean[:, :, None, None]
    files = {
        "model.onnx": onnx.parser.parse_model(graph).SerializeToString(),
        "labels.json": json.dumps(labels).encode(),
        "golden.npz": golden_bytes({"images": images}, {"logits": logits}),
    }
    outputs = [{"name": "logits", "dtype": "float32", "shape": list(shape)}]
    changes = {"num_classes": 1, "outputs": outputs, "input_contract": PLAIN, "name": "one"}
    kept = {key: value for key, value in small.manifest.items() if key != "files"}
    return write_bundle(out, files, {**kept, **changes}).path


def picture(red: float, blue: float) -> np.ndarray:
    return np.broadcast_to(np.array([red, 0, blue]) * 255, (8, 8, 3)).round().astype(np.uint8)
