"""A tiny classifier as a bundle: mean over the picture, then a linear layer, so every answer is known by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgesmith.runtime.bundle.bundle import Bundle, write_bundle
from edgesmith.runtime.bundle.golden import golden_bytes
from edgesmith.runtime.pictures.preprocess import ImageContract

LABELS = ["red", "green", "blue", "dark"]
WEIGHT = np.array([[4, -2, -2, 0], [-2, 4, -2, 0], [-2, -2, 4, 0]], np.float32)  # (channels, classes)
CONTRACT = ImageContract((8, 8), crop_fraction=1.0, mean=(0, 0, 0), std=(1, 1, 1))


def tiny_model(batch: int | str = 1) -> onnx.ModelProto:
    """images (batch, 3, 8, 8) -> logits (batch, 4)."""
    nodes = [
        helper.make_node("ReduceMean", ["images", "axes"], ["colour"], keepdims=0),
        helper.make_node("MatMul", ["colour", "weight"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 4])],
        [numpy_helper.from_array(np.array([2, 3], np.int64), "axes"), numpy_helper.from_array(WEIGHT, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def tiny_logits(images: np.ndarray) -> np.ndarray:
    """What the tiny model computes, (B, 3, 8, 8) -> (B, 4)."""
    return images.mean(axis=(2, 3)) @ WEIGHT


def tiny_manifest(batch: int | str = 1, **changes: Any) -> dict[str, Any]:
    bounds: dict[str, Any] = {"min": None, "opt": None, "max": None}
    if isinstance(batch, str):
        bounds = {"min": [1, 3, 8, 8], "opt": [1, 3, 8, 8], "max": [4, 3, 8, 8]}
    return {
        "name": "tiny",
        "task": "classification",
        "target": "cpu",
        "precision": "fp32",
        "inputs": [{"name": "images", "dtype": "float32", "shape": [batch, 3, 8, 8], **bounds}],
        "outputs": [{"name": "logits", "dtype": "float32", "shape": [batch, 4]}],
        "input_contract": CONTRACT.to_json(),
        "labels": "labels.json",
        "engines": [],
        **changes,
    }


def tiny_files(batch: int | str = 1) -> dict[str, bytes | Path]:
    cases = 3 if isinstance(batch, str) else batch
    images = np.random.default_rng(0).standard_normal((cases, 3, 8, 8), dtype=np.float32)
    return {
        "model.onnx": tiny_model(batch).SerializeToString(),
        "labels.json": json.dumps(LABELS).encode(),
        "golden.npz": golden_bytes({"images": images}, {"logits": tiny_logits(images)}),
    }


@pytest.fixture
def make_tiny(tmp_path: Path) -> Callable[..., Bundle]:
    """``make_tiny(batch=1, files={...}, **manifest changes)`` writes tiny.edge."""

    def make(batch: int | str = 1, files: dict[str, bytes | Path] | None = None, **changes: Any) -> Bundle:
        return write_bundle(
            tmp_path / "tiny.edge",
            {**tiny_files(batch), **(files or {})},
            tiny_manifest(batch, **changes),
            overwrite=True,
        )

    return make


@pytest.fixture
def tiny(make_tiny: Callable[..., Bundle]) -> Bundle:
    return make_tiny()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A machine with a GPU and TensorRT, played by tests/helpers/fake_gpu.py; the value is the library."""
    from fake_gpu import fake_machine

    return fake_machine(monkeypatch, tmp_path)
