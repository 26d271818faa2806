"""The models of the comparison, and what we make of each: the plain float export that all get, its pictures, our files.

    fixture    trained on digits (models/fixtures/trained): accuracy, size, TensorRT-RTX, latency
    full       the size that users run, seeded random weights, random pictures: size, parser, latency
    detector   convolutions with SiLU (tests/helpers/silu_detector.py), random weights: the same; no checkpoint, so not by `export`

Ours is what ``edgesmith export`` writes; only the detector, which no family has, goes through ``calibration`` itself.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgesmith.exporter.run.nouns import ExportedGraph, Shapes
from edgesmith.models import create, find
from edgesmith.models.fixtures.fixtures import TRAINED
from edgesmith.runtime.pictures.preprocess import ImageContract

if TYPE_CHECKING:
    import onnx_ir as ir

HERE = Path(__file__).parent
DIGITS, RANDOM = 128, 16  # calibration pictures
DETECTOR = {"size": 320, "width": 32}
OURS: dict[str, dict[str, Any]] = {  # row -> choices of edgesmith.export
    "ours, cpu": {"precision": "int8", "target": "cpu"},
    "ours, portable": {"precision": "int8", "target": "cpu", "int8_form": "static"},
    "ours, rtx": {"precision": "int8", "target": "rtx"},
    "ours, rtx fp8": {"precision": "fp8", "target": "rtx"},
}
SPEED = ("ours, cpu", "ours, portable")  # what is timed at full size
FULL_PEERS = (
    "ORT static, defaults",
    "ORT static, u8",
    "ORT static, by hand",
    "ORT dynamic, defaults",
    "ORT dynamic, MatMul",
)
PLAIN, OURS_FLOAT, OURS_FP16 = "plain export, fp32", "ours, fp32 cpu", "ours, fp16 rtx"


@dataclass(frozen=True)
class Model:
    """One model of the comparison; ``kind`` is "fixture", "full" or "detector"."""

    name: str
    kind: str

    @property
    def weights(self) -> str:
        return str(TRAINED / f"{self.name}.safetensors") if self.kind == "fixture" else "random"

    @property
    def ours(self) -> tuple[str, ...]:
        return tuple(OURS) if self.kind == "fixture" else SPEED

    @property
    def images(self) -> int:
        """Calibration pictures."""
        return DIGITS if self.kind == "fixture" else RANDOM


FIXTURES = tuple(Model(path.stem, "fixture") for path in sorted(TRAINED.glob("*.safetensors")))
FULL = tuple(Model(name, "full") for name in ("convit_tiny", "davit_tiny", "smt_tiny", "van_b0"))
MODELS = {model.name: model for model in (*FIXTURES, *FULL, Model("silu_detector", "detector"))}


def traced(model: Model) -> ExportedGraph:
    """The float32 export at batch 1, as it comes."""
    from edgesmith.exporter.trace.trace import trace

    if model.kind == "detector":
        return ExportedGraph(_detector(), model.name, Shapes.fixed(1, 3, DETECTOR["size"], DETECTOR["size"]))
    height, width = find(model.name).contract.size
    module = create(model.name, weights=model.weights)
    return trace(module, Shapes.fixed(1, 3, height, width), name=model.name)


def contract(model: Model) -> ImageContract:
    """How pictures become the model's input."""
    side = DETECTOR["size"]
    return ImageContract(size=(side, side)) if model.kind == "detector" else find(model.name).contract


def save_pictures(model: Model, folder: Path) -> None:
    """``digits.npz`` as ``--data`` takes it, ``pictures.npz`` (preprocessed; all peers calibrate on it) and ``held_out.npz``.

    Both are drawn by the code that draws them in an export with the same seed, so that all tools see the same pictures.
    """
    from edgesmith.calibration.pictures.images import open_data

    data, labels = "random", ()
    if model.kind == "fixture":
        from edgesmith.models.fixtures.digits import digits

        (images, truth), (held, held_truth) = digits("train"), digits("held_out")
        data, labels = str(folder / "digits.npz"), find(model.name).labels(10)
        np.savez(data, images=images, labels=truth, val_images=held, val_labels=held_truth)
    held_out = 1000 if labels else 0
    found = open_data(data, contract(model), labels=labels, count=model.images, held_out=held_out)
    np.savez(folder / "pictures.npz", images=np.concatenate(list(found.calibration.batches(32))))
    if labels:
        held_images = np.concatenate(list(found.held_out.batches(100)))
        np.savez(folder / "held_out.npz", images=held_images, labels=np.asarray(found.held_out.labels))


def make_ours(model: Model, row: str, folder: Path, output: Path) -> dict[str, Any]:
    """Write our file of one row to ``output``; what the export itself says of it: share, form, X-ray, seconds."""
    if model.kind == "detector":
        return _quantise_detector(model, row, folder, output)
    import edgesmith

    bundle = folder / (output.stem + ".edge")
    data = str(folder / "digits.npz") if model.kind == "fixture" else "random"
    result = edgesmith.export(
        model.name, weights=model.weights, data=data, out=bundle, overwrite=True, calib_cache=folder / "statistics",
        calib_images=model.images, eval_images=0, **OURS[row],
    )  # fmt: skip
    (bundle / "model.onnx").replace(output)
    manifest = json.loads((bundle / "manifest.json").read_text())
    found = {"share": manifest["quantisation"]["share"], "form": manifest["quantisation"]["form"]}
    found["seconds"] = round(
        sum(stage.seconds for stage in result.stages if stage.name in ("calibrate", "quantise")), 1
    )
    if manifest["engines"]:
        found["xray"] = {key: manifest["engines"][0]["xray"][key] for key in ("kernels", "fused_attention")}
    return found


def float_graphs(model: Model, exported: ExportedGraph) -> dict[str, ir.Model]:
    """Our graphs in floating point: the rewrites alone, for the CPU and in fp16 for TensorRT-RTX."""
    from edgesmith.exporter.patterns.rewrite import rewrite
    from edgesmith.exporter.precision.casts import to_precision

    found = {OURS_FLOAT: rewrite(exported, "cpu").model}
    if model.kind == "fixture":
        found[OURS_FP16] = to_precision(rewrite(exported, "rtx").model, "fp16", engine="tensorrt_rtx").model
    return found


def _quantise_detector(model: Model, row: str, folder: Path, output: Path) -> dict[str, Any]:
    """The calibration package on a graph that no family makes."""
    import onnx_ir as ir

    from edgesmith.calibration.budget.promote import promote
    from edgesmith.calibration.nouns import Recipe
    from edgesmith.calibration.pictures.images import open_data
    from edgesmith.calibration.quantise import quantise
    from edgesmith.calibration.sites.observed import tensors_for
    from edgesmith.calibration.sites.sites import find_sites
    from edgesmith.calibration.statistics.collect import collect

    graph, side = _detector(), DETECTOR["size"]
    pictures = open_data("random", contract(model), count=RANDOM, held_out=0).calibration
    sites = find_sites(graph, {"images": np.zeros((1, 3, side, side), np.float32)})
    form = "u8" if row == "ours, cpu" else "qdq"
    statistics = collect(graph, tensors_for(form, sites, graph), pictures, cache=folder / "statistics", batch=1)
    quantised = quantise(graph, statistics, Recipe(form=form), sites)
    quantised = promote(quantised, lambda recipe: quantise(graph, statistics, recipe, sites), pictures)
    ir.save(quantised.model, output)
    return {"share": quantised.share, "form": form}


def _detector() -> ir.Model:
    sys.path.insert(0, str(HERE.parent / "tests" / "helpers"))
    from silu_detector import silu_detector

    return silu_detector(**DETECTOR)
