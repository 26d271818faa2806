"""The digits as a user would hand them over, and exports of the trained fixtures that trace each graph once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgesmith
from edgesmith.exporter.pipeline import Result
from edgesmith.exporter.run.nouns import ExportedGraph, Shapes
from edgesmith.models.fixtures.digits import digits
from edgesmith.models.fixtures.fixtures import TRAINED as WEIGHTS

NAMES = ("vit_ggem_mnist", "convit_mnist", "davit_mnist", "smt_mnist", "van_mnist")
TRACED: dict[tuple[Any, ...], ExportedGraph] = {}


def arrays(count: int = 64, held_out: int = 200) -> dict[str, np.ndarray]:
    """Digits to calibrate with, and others to judge by, under the names that an .npz has."""
    train, held = digits("train"), digits("held_out")
    return {
        "images": train[0][:count],
        "labels": train[1][:count],
        "val_images": held[0][:held_out],
        "val_labels": held[1][:held_out],
    }


def write_npz(path: Path, count: int = 64, held_out: int = 200) -> Path:
    np.savez(path, **arrays(count, held_out))
    return path


def write_folder(path: Path, count: int = 40) -> Path:
    """PNG files in one sub-folder for each class."""
    import cv2

    for number, (picture, label) in enumerate(zip(*digits("train"), strict=True)):
        if number == count:
            break
        place = path / f"digit {label}"
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f"{number}.png"), picture)
    return path


def export(name: str, out: Path, **choices: Any) -> Result:
    """``edgesmith.export`` of a trained fixture."""
    return edgesmith.export(name, weights=str(WEIGHTS / f"{name}.safetensors"), out=out, **choices)


@contextmanager
def traced_once() -> Iterator[None]:
    """Tracing takes most of the time of these tests: inside, the same model at the same shapes is traced once a process."""
    from edgesmith.exporter.trace import trace as module

    real = module.trace

    def trace(
        network: Any, shapes: Shapes, *, name: str, opset: int, outputs: tuple[str, ...], folder: Path
    ) -> ExportedGraph:
        key = name, shapes.min, shapes.opt, shapes.max, opset
        if key not in TRACED:
            TRACED[key] = real(network, shapes, name=name, opset=opset, outputs=outputs)
        return ExportedGraph(TRACED[key].model.clone(), name, shapes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "trace", trace)
        yield
