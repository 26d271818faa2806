"""int4, nvfp4 and fp8 of every family: size, X-ray and, where there are trained weights, what they cost.

    python benchmarks/low_bits.py            the fixtures; writes benchmarks/low_bits.{json,md}
    python benchmarks/low_bits.py --full     one full-size variant of each family too (random weights, 20 to 60 s a build)

Fixtures: 128 training digits calibrate, 1000 held-out ones judge.  4-bit graphs run on ONNX Runtime with the weights as
the file rounds them, fp8 with every Q and DQ as it is written; engines are built by TensorRT-RTX without a GPU and not
run.  "near" rounds weights to nearest, "data" by the second moments of their inputs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from accuracy import BATCH, traced

from edgesmith.calibration.forms.weight_only import inputs_of
from edgesmith.calibration.judge.accuracy import sqnr_db
from edgesmith.calibration.nouns import QuantisedGraph, Recipe
from edgesmith.calibration.pictures.images import open_data
from edgesmith.calibration.quantise import quantise
from edgesmith.calibration.sites.sites import find_sites
from edgesmith.calibration.statistics.collect import collect
from edgesmith.calibration.statistics.moments import collect_moments
from edgesmith.exporter.engine.rtx import build_rtx
from edgesmith.exporter.engine.xray import read_engine
from edgesmith.exporter.patterns import order_for
from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.precision.casts import to_precision
from edgesmith.exporter.run.nouns import Shapes
from edgesmith.exporter.run.runners import graph_runner
from edgesmith.exporter.trace.trace import trace
from edgesmith.models import create, find
from edgesmith.models.fixtures.digits import digits
from edgesmith.runtime.pictures.preprocess import preprocess

HERE = Path(__file__).parent
FIXTURES = ("vit_ggem_mnist", "convit_mnist", "davit_mnist", "smt_mnist", "van_mnist")
FULL = ("vit_ggem_tiny_patch16", "convit_tiny", "davit_tiny", "smt_tiny", "van_b0")
RECIPES = {
    "int4 b32": Recipe(precision="int4", form="weights", block=32),
    "int4 b128": Recipe(precision="int4", form="weights", block=128),
    "nvfp4": Recipe(precision="nvfp4", form="weights", block=16),
    "fp8": Recipe(precision="fp8"),
}
CHIPS = {"nvfp4": "sm120"}  # the others: sm89
READING = (
    "Read in it: most int4 weights go into the matrix products as they are, but a 1x1 convolution gets a kernel of its",
    "own that widens its weight (VAN, SMT: the file shrinks, the kernels grow), and so does every nvfp4 weight on sm120.",
    "Engines of the fixtures are nearly all kernel code and grow. At full size those of int4 shrink (0.46 to 0.79 of",
    "fp16); fp8 shrinks those of DaViT and SMT, and not those of VAN and ConViT. Speed: [hardware](../docs/hardware.md).",
)
Rows = list[dict[str, Any]]


def graph_for(name: str, exported: Any, precision: str) -> ir.Model:
    """The rewritten float32 graph, in the order of passes that an export to this precision takes."""
    order = order_for("rtx", precision)
    return rewrite(exported, order).model


def engine_facts(model: ir.Model, arch: str, shapes: Shapes) -> dict[str, Any]:
    """File size of the fp16 graph around it and what the engine launches and holds."""
    typed = to_precision(model, "fp16", engine="tensorrt_rtx").model
    started = time.perf_counter()
    seen = read_engine(build_rtx(typed, arch, shapes).data)
    return {
        "file_mb": len(ir.to_proto(typed).SerializeToString()) / 1e6,
        "arch": arch,
        "build_s": time.perf_counter() - started,
        "kernels": seen.kernels,
        "fused_attention": seen.fused_attention,
        "constants_mb": seen.constant_bytes / 1e6,
        "engine_mb": seen.engine_bytes / 1e6,
        "products": {key: count for key, count in seen.counts().items() if key != "other"},
    }


def answers(model: ir.Model, images: np.ndarray) -> np.ndarray:
    """Logits, nothing fused."""
    run = graph_runner(model, optimise=False, threads=1)
    return np.concatenate([run(images[start : start + BATCH]) for start in range(0, len(images), BATCH)])


def quantised(model: ir.Model, recipe: Recipe, pictures: Any, data: bool) -> QuantisedGraph:
    """The graph by this recipe; ``data`` False keeps 4-bit weights from looking at the pictures."""
    feeds = {
        str(model.graph.inputs[0].name): next(pictures.batches(1)) if pictures else np.zeros(first(model), np.float32)
    }
    sites = find_sites(model, feeds)
    with tempfile.TemporaryDirectory() as folder:
        if recipe.form == "qdq":
            inputs = {site.input: site.in_axis for site in sites}
            return quantise(model, collect(model, inputs, pictures, cache=Path(folder)), recipe, sites)
        moments = collect_moments(model, inputs_of(sites, recipe), pictures, cache=Path(folder)) if data else None
    return quantise(model, None, recipe, sites, moments)


def first(model: ir.Model) -> tuple[int, ...]:
    """The input's shape for one image."""
    shape = model.graph.inputs[0].shape
    assert shape is not None
    return tuple(size if isinstance(size, int) else 1 for size in shape)


def fixture(name: str, folder: Path) -> Rows:
    """Every recipe of one trained fixture: accuracy and engine."""
    exported, contract = traced(name), find(name).contract
    pictures, labels = digits("train")
    drawn = np.random.default_rng(0).permutation(len(pictures))[:160]
    np.savez(
        folder / f"{name}.npz", images=np.stack([np.asarray(pictures[index]) for index in drawn]), labels=labels[drawn]
    )
    calibration = open_data(folder / f"{name}.npz", contract, count=128, held_out=16).calibration
    pictures, labels = digits("held_out")
    held_out = preprocess(list(pictures), contract)
    size = contract.size
    shapes = Shapes((1, 3, *size), (1, 3, *size), (BATCH, 3, *size))
    plain = graph_for(name, exported, "fp16")
    wanted = answers(plain, held_out)
    right = int((wanted.argmax(axis=1) == labels).sum())
    fp32_mb = len(ir.to_proto(plain).SerializeToString()) / 1e6
    rows: Rows = [
        {"model": name, "precision": "fp16", "top1": right, "fp32_mb": fp32_mb, **engine_facts(plain, arch, shapes)}
        for arch in ("sm89", "sm120")
    ]
    for label, recipe in RECIPES.items():
        base = graph_for(name, exported, recipe.precision)
        row: dict[str, Any] = {"model": name, "precision": label, "fp32_mb": fp32_mb}
        for way in ("near", "data") if recipe.form == "weights" else ("data",):
            graph = quantised(base, recipe, calibration, way == "data")
            found = answers(graph.model, held_out)
            row |= {
                f"sqnr_{way}": sqnr_db(wanted, found),
                f"top1_{way}": int((found.argmax(axis=1) == labels).sum()),
                "agree": float((found.argmax(axis=1) == wanted.argmax(axis=1)).mean()),
                "share": graph.share,
            }
        row |= engine_facts(graph.model, CHIPS.get(recipe.precision, "sm89"), shapes)
        rows.append(row)
        print(row, flush=True)
    return rows


def full(name: str) -> Rows:
    """Size and engine of a full-size variant with random weights; accuracy means nothing there."""
    contract = find(name).contract
    shapes = Shapes.fixed(1, 3, *contract.size)
    exported = trace(create(name, weights="random"), shapes, name=name)
    plain = graph_for(name, exported, "fp16")
    fp32_mb = len(ir.to_proto(plain).SerializeToString()) / 1e6
    rows: Rows = [{"model": name, "precision": "fp16", "fp32_mb": fp32_mb, **engine_facts(plain, "sm89", shapes)}]
    noise = open_data("random", contract, count=16, held_out=1).calibration
    for label in ("int4 b32", "fp8"):
        recipe = RECIPES[label]
        graph = quantised(graph_for(name, exported, recipe.precision), recipe, noise, False)
        facts = engine_facts(graph.model, CHIPS.get(recipe.precision, "sm89"), shapes)
        rows.append({"model": name, "precision": label, "fp32_mb": fp32_mb, "share": graph.share, **facts})
        print(rows[-1], flush=True)
    return rows


def table(rows: Rows) -> list[str]:
    """The rows in Markdown."""
    head = ("model", "precision", "MACs %", "SQNR dB near / data", "top-1 of 1000 near / data", "file MB (of fp32)", "chip",
            "kernels", "fused attention", "constants MB", "engine MB", "products")  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        sqnr = " / ".join(f"{row[key]:.1f}" for key in ("sqnr_near", "sqnr_data") if key in row)
        top1 = " / ".join(str(row[key]) for key in ("top1", "top1_near", "top1_data") if key in row)
        cells = (
            row["model"], row["precision"], f"{100 * row['share']:.1f}" if "share" in row else "", sqnr, top1,
            f"{row['file_mb']:.2f} ({row['file_mb'] / row['fp32_mb']:.2f})", row["arch"], row["kernels"],
            row["fused_attention"], f"{row['constants_mb']:.2f}", f"{row['engine_mb']:.1f}",
            ", ".join(f"{count} {key}" for key, count in row["products"].items()),
        )  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="int4, nvfp4 and fp8 of every family")
    parser.add_argument("--full", action="store_true", help="full-size variants too")
    parser.add_argument("--only", nargs="*", default=None, help="names of models")
    asked = parser.parse_args()
    record: dict[str, Rows] = (
        json.loads((HERE / "low_bits.json").read_text()) if (HERE / "low_bits.json").exists() else {}
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.only or (*FIXTURES, *(FULL if asked.full else ())):
            record[name] = fixture(name, Path(folder)) if name in FIXTURES else full(name)
            (HERE / "low_bits.json").write_text(json.dumps(record, indent=1) + "\n")
    write_table(record)


def write_table(record: dict[str, Rows]) -> None:
    """The record as Markdown, with what it was measured on."""
    rows = [row for name in (*FIXTURES, *FULL) for row in record.get(name, [])]
    on = f"{date.today()}, " + ", ".join(f"{name} {version(name)}" for name in ("tensorrt_rtx", "onnxruntime"))
    lines = ["# int4, nvfp4 and fp8", "", f"Measured on {on}.", "", *(__doc__ or "").splitlines()[2:], "", *READING, ""]
    (HERE / "low_bits.md").write_text("\n".join([*lines, *table(rows)]) + "\n")


if __name__ == "__main__":
    main()
