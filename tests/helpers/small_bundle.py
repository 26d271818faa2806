"""A real bundle in a few kilobytes, written in milliseconds: mean colour of an 8x8 picture as three classes."""

from __future__ import annotations

from pathlib import Path

GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
small (float[1, 3, 8, 8] images) => (float[1, 3] logits)
{
  mean = GlobalAveragePool(images)
  logits = Flatten<axis = 1>(mean)
}
"""


def write_small_bundle(out: Path, **changes: object) -> Path:
    """Write it to ``out``; ``changes`` replace keys of the manifest."""
    import numpy as np
    import onnx

    from edgesmith.runtime.bundle.bundle import write_bundle
    from edgesmith.runtime.bundle.golden import golden_bytes
    from edgesmith.runtime.pictures.preprocess import ImageContract

    images = np.random.default_rng(0).standard_normal((1, 3, 8, 8), dtype=np.float32)
    files = {
        "model.onnx": onnx.parser.parse_model(GRAPH).SerializeToString(),
        "labels.json": b'["red", "green", "blue"]',
        "golden.npz": golden_bytes({"images": images}, {"logits": images.mean(axis=(2, 3))}),
    }
    manifest = {
        "name": "small",
        "model": "small",
        "family": "small",
        "task": "classification",
        "target": "cpu",
        "precision": "fp32",
        "num_classes": 3,
        "inputs": [{"name": "images", "dtype": "float32", "shape": [1, 3, 8, 8]}],
        "outputs": [{"name": "logits", "dtype": "float32", "shape": [1, 3]}],
        "input_contract": ImageContract(size=(8, 8)).to_json(),
        "labels": "labels.json",
        "weights": {"source": "none", "sha256": None},
        "rewrite": {"passes": [], "nodes_before": {}, "nodes_after": {}},
        "parity": [],
        "benchmark": None,
        "engines": [],
        "notes": [],
    }
    return write_bundle(out, files, {**manifest, **changes}).path
