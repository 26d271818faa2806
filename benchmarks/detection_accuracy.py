"""mAP of the trained detector in every precision, beside plain post-training quantisation, and why each layer is as it is.

    python benchmarks/detection_accuracy.py [--pictures 500] [--max-drop 0.5]

The fixture (models/fixtures/trained/damo_yolo_scenes.safetensors) on synthetic scenes (models/fixtures/scenes.py). int8 is calibrated, and
its budget kept, on scenes of the split "calibration"; every row is then judged on others, the split "held_out", which nothing
was chosen on. mAP is COCO's by pycocotools; "points lost" is the paired difference to PyTorch in points with its 95 % interval.

    PyTorch eager        the judge, float32
    ours, TARGET WORD    bundles as ``edgesmith export`` writes them. cpu and openvino run as on the device; the graphs of rtx
                         run on ONNX Runtime with every 16-bit value rounded and Q and DQ as they are written
    ours, no exceptions  every convolution of our graph in int8, minimum and maximum as ranges, no smoothing: plain PTQ with our tools
    ORT ...              ONNX Runtime's quantize_static on the plain export of the deploy form: its defaults, and per channel
    ... by hand, ...     that file by ONNX Runtime's tools, ModelOpt and NNCF, each with its defaults and as one would tune it
                         (detection_peers.py); run by ONNX Runtime, those of NNCF by OpenVINO too, which it is made for

"MACs in int8" is the share of the multiplications whose two factors are codes. Writes detection_accuracy.json and .md beside
this file.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from detection_peers import DETECTOR_PEERS, make
from int8_figures import int8_share
from int8_peers import PEERS, first_line

from edgesmith.calibration.judge.accuracy import drop_between
from edgesmith.calibration.judge.accuracy import judge as judged
from edgesmith.calibration.judge.detection import judge_boxes
from edgesmith.exporter.bundle.parity import typed_runner
from edgesmith.exporter.commands.measure.peers import deploy_form, openvino_runner
from edgesmith.exporter.patterns import order_for
from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.pipeline import export
from edgesmith.exporter.run.nouns import Shapes
from edgesmith.exporter.run.runners import Runner, graph_runner, run_all, session_runner, torch_runner
from edgesmith.exporter.trace.trace import trace
from edgesmith.models import find, prepare
from edgesmith.models.fixtures.fixtures import TRAINED
from edgesmith.models.fixtures.scenes import write_scenes
from edgesmith.runtime.backends.load import load
from edgesmith.runtime.coco.annotations import Truth, read_coco
from edgesmith.runtime.coco.average_precision import evaluate_boxes
from edgesmith.runtime.pictures.preprocess import ImageContract, preprocess
from edgesmith.runtime.session.benchmark import machine
from edgesmith.runtime.tasks.detection.detection import DetectionRule
from edgesmith.runtime.tasks.detection.task import DetectionTask

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgesmith.calibration.judge.evaluation import Evaluation

HERE = Path(__file__).parent
WEIGHTS = TRAINED / "damo_yolo_scenes.safetensors"
MODEL = "damo_yolo_scenes"
EAGER = "PyTorch eager"
SCANNED = 16  # pictures of the scan, one layer at a time
WORST = 10  # layers in the sensitivity table beside those that stay in floating point
CALIBRATION = 128  # pictures for the ranges; the budget is kept on as many again as --budget-pictures says
LIBRARIES = ("torch", "onnxruntime", "openvino", "pycocotools", "numpy")
EXPORTS = {  # row -> choices of edgesmith.export
    "ours, cpu fp32": {"target": "cpu", "precision": "fp32"},
    "ours, openvino fp32": {"target": "openvino", "precision": "fp32"},
    "ours, rtx fp16": {"target": "rtx", "precision": "fp16"},
    "ours, rtx bf16": {"target": "rtx", "precision": "bf16"},
    "ours, cpu int8": {"target": "cpu", "precision": "int8"},
    "ours, openvino int8": {"target": "openvino", "precision": "int8"},
    "ours, rtx int8": {"target": "rtx", "precision": "int8"},
}
PLAIN = {"ours, no exceptions, rtx": ("rtx", "qdq"), "ours, no exceptions, cpu": ("cpu", "u8")}
PLAIN_PEERS = ("ORT static, defaults", "ORT static, u8")
ON_OPENVINO = ", OpenVINO"
PEER_ROWS = (
    *PLAIN_PEERS,
    *(name + where for name in DETECTOR_PEERS for where in ("", ON_OPENVINO) if not where or name[:4] == "NNCF"),
)


@dataclass(frozen=True)
class Scenes:
    """Pictures by their paths, as calibration and evaluation want them."""

    paths: Sequence[Path]
    contract: ImageContract
    digest: str = ""

    def __len__(self) -> int:
        return len(self.paths)

    def batches(self, size: int, start: int = 0) -> Iterator[np.ndarray]:
        for at in range(start, len(self.paths), size):
            yield preprocess(list(self.paths[at : at + size]), self.contract)


@dataclass(frozen=True)
class Row:
    """One graph: how to run it, its share of MACs in int8, and its quantisation as the manifest has it."""

    run: Runner
    share: float | None = None
    quantisation: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()


def one_by_one(run: Runner) -> Runner:
    """A graph of batch 1 on any number of pictures."""
    return lambda images: run_all(run, images, 1)


def our_row(weights: str, folder: Path, name: str, choices: Mapping[str, Any], data: Mapping[str, Any]) -> Row:
    """The bundle of ``edgesmith export``, run by its own backend or, for a GPU, with explicit rounding."""
    import onnx_ir

    out = folder / (name.replace(", ", "-").replace(" ", "-") + ".edge")
    asked = data if choices["precision"] == "int8" else {}
    done = export(
        MODEL,
        weights,
        out=out,
        check=False,
        gpu_arch="sm89" if choices["target"] == "rtx" else None,
        **choices,
        **asked,
    )
    told = done.quantisation or {}
    if choices["target"] == "rtx":
        run = typed_runner(onnx_ir.load(out / "model.onnx"))
    else:
        run = session_runner(load(out, threads=1))
    return Row(one_by_one(run), told.get("share"), told or None, done.notes)


def no_exceptions(graph: ir.Model, form: str, pictures: Scenes) -> Row:
    """Every product with a weight quantised, ranges by minimum and maximum: what plain PTQ would make of our own graph."""
    from edgesmith.calibration.budget.within import scanned
    from edgesmith.calibration.judge.detection import sqnr_db
    from edgesmith.calibration.nouns import Recipe
    from edgesmith.calibration.quantise import quantise
    from edgesmith.calibration.sites.observed import tensors_for
    from edgesmith.calibration.sites.sites import find_sites
    from edgesmith.calibration.statistics.collect import collect

    size = pictures.contract.size
    sites = find_sites(graph, {"images": np.zeros((1, 3, *size), np.float32)})
    statistics = collect(graph, tensors_for(form, sites, graph), pictures)
    every = tuple(site.node for site in sites)
    recipe = Recipe(form=form, rules="minmax", smooth=0.0, equalise=False, weights="max", also=every, low="fp32")
    found = quantise(graph, statistics, recipe, sites)
    alone = scanned(found, pictures, count=SCANNED, distance=sqnr_db)
    nodes = [
        {"node": one.node, "kind": one.kind, "share": one.share, "quantised": True, "output_sqnr_db": one.sqnr_db}
        for one in alone
    ]
    runner = one_by_one(graph_runner(found.model, optimise=form == "u8", threads=1))
    return Row(runner, found.share, quantisation={"nodes": nodes})


def peer_row(name: str, plain: Path, images: np.ndarray, folder: Path) -> Row:
    """A file of ONNX Runtime's tools, ModelOpt or NNCF, run by ONNX Runtime, or by OpenVINO where the name says so."""
    import onnx_ir

    peer = name.removesuffix(ON_OPENVINO)
    out, held = folder / f"{peer.replace(', ', '-').replace(' ', '-')}.onnx", folder / "images.npz"
    if not out.is_file():
        if peer in PLAIN_PEERS:
            PEERS[peer](plain, images, out)
        else:
            make(peer, plain, images, out)
    np.savez(held, images=images[:1])
    run = openvino_runner(out, 1, "f32") if name != peer else graph_runner(onnx_ir.load(out), threads=1)
    return Row(one_by_one(run), int8_share(out, held))


def figures(row: Row, judge: Evaluation, truths: Sequence[Truth], labels: Sequence[str]) -> dict[str, Any]:
    """COCO's figures in percent and the paired drop, from one pass of the graph over the pictures."""
    found = judge.answers(row.run)
    own = judged(judge.metric, found.kept, judge.truth)
    drop, (expected, got) = drop_between(judge.judged, own), (judge.reference.whole, found.whole)
    same = expected.shape == got.shape  # a graph that hands out fewer candidates is compared by its boxes alone
    db = judge.view.sqnr_db(expected, got) if same else np.inf
    told = {"share": row.share, "sqnr_db": db if np.isfinite(db) else None,
            "agreement": judge.view.agreement(judge.reference.kept, found.kept),
            "points": drop.points, "points_low": drop.low, "points_high": drop.high}  # fmt: skip
    coco = evaluate_boxes(found.kept, truths, labels)
    told |= {key: coco[key] for key in ("map", "map50", "map75", "low", "high")}
    return {**told, "notes": list(row.notes)}


def sensitivities(quantisation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The layers that stay in floating point, with the reason, and the ten quantised ones that cost most."""
    nodes = quantisation.get("nodes") or []
    floating = [one for one in nodes if not one.get("quantised")]
    known = [one for one in nodes if one.get("quantised") and one.get("output_sqnr_db") is not None]
    worst = sorted(known, key=lambda one: float(one["output_sqnr_db"]))[:WORST]
    keys = (
        "node",
        "kind",
        "share",
        "quantised",
        "output_sqnr_db",
        "weight_sqnr_db",
        "activation_sqnr_db",
        "why",
        "reasons",
    )
    return [{key: one.get(key) for key in keys} for one in (*floating, *worst)]


def measured(words: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every row, and the sensitivity tables of the quantised ones."""
    import onnx_ir

    spec = find(MODEL)
    labels, contract = spec.labels(), spec.contract
    size = contract.size
    calibration = write_scenes(folder / "calibration", CALIBRATION + words.budget_pictures, "calibration", size)
    test = read_coco(write_scenes(folder / "held_out", words.pictures, "held_out", size), folder / "held_out", labels)
    data: dict[str, Any] = {"data": str(calibration), "images": str(calibration.parent), "calib_images": CALIBRATION,
                            "eval_images": words.budget_pictures, "max_drop": words.max_drop}  # fmt: skip
    module = prepare(MODEL, words.weights).module
    rule = DetectionRule("runtime", spec.score or 0.03, spec.iou or 0.65)
    scenes = Scenes(test.paths, contract)
    run = torch_runner(module, 2, DetectionTask.outputs)
    truths = list(test.truths)
    judge = judge_boxes(scenes, run, rule, contract, truths)
    rows: dict[str, dict[str, Any]] = {}

    def add(name: str, make: Callable[[], Row]) -> None:
        if words.rows and not any(part in name for part in words.rows):
            return
        try:
            row = make()
            rows[name] = figures(row, judge, truths, labels)
            if row.quantisation:
                rows[name]["sensitivity"] = sensitivities(row.quantisation)
                if name in PLAIN:
                    rows[name]["every"] = row.quantisation["nodes"]
                rows[name]["budget"] = row.quantisation.get("budget")
        except Exception as error:  # noqa: BLE001 a row that cannot be made says why, the others are still worth having
            rows[name] = {"failed": first_line(error)}
        print(name, {key: value for key, value in rows[name].items() if isinstance(value, (float, str))}, flush=True)

    add(EAGER, lambda: Row(run))
    for name, choices in EXPORTS.items():
        add(name, partial(our_row, words.weights, folder, name, choices, data))
    pictures = Scenes(
        sorted((folder / "calibration").glob("*.png"))[:CALIBRATION], contract, digest=f"scenes {CALIBRATION}"
    )
    exported = trace(module, Shapes.fixed(1, 3, *size), name=MODEL, outputs=DetectionTask.outputs)
    for name, (target, form) in PLAIN.items():
        add(
            name,
            lambda target=target, form=form: no_exceptions(
                rewrite(exported, order_for(target, "int8")).model, form, pictures
            ),
        )  # type: ignore[misc]
    _filled_in(rows)
    plain = folder / "plain.onnx"
    fair = trace(deploy_form(module)[0], Shapes.fixed(1, 3, *size), name="plain", outputs=DetectionTask.outputs)
    onnx_ir.save(fair.model, plain)
    images = np.concatenate(list(pictures.batches(32)))
    for name in PEER_ROWS:
        add(name, partial(peer_row, name, plain, images, folder))
    return {
        "pictures": len(scenes),
        "boxes": sum(len(one) for one in truths),
        "metric": judge.metric.name,
        "rows": rows,
    }


def _filled_in(rows: Mapping[str, Mapping[str, Any]]) -> None:
    """What a layer that stays in floating point would cost alone, from the scan of the same graph without exceptions."""
    for name, (target, _) in PLAIN.items():
        scan = {one["node"]: one["output_sqnr_db"] for one in rows.get(name, {}).get("every", [])}
        for one in rows.get(f"ours, {target} int8", {}).get("sensitivity", []):
            if one["output_sqnr_db"] is None:
                one["output_sqnr_db"] = scan.get(one["node"])


def written(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    found = report["result"]
    lines = ["# Accuracy of the trained detector", "", str(__doc__).strip(), "", (f"{report['date']}; `{report['command']}`; {found['metric']} on "
             f"{found['pictures']} pictures with {found['boxes']} boxes; weights {report['weights']}. Versions: {versions}."), "",
             "| row | mAP (95 %) | mAP50 | points lost (95 %) | MACs in int8 | boxes found again | SQNR dB |", "|---|---|---|---|---|---|---|"]  # fmt: skip
    for name, row in found["rows"].items():
        if "failed" in row:
            lines.append(f"| {name} | failed: {row['failed']} |" + " |" * 5)
            continue
        between = f" ({row['low']:.1f} to {row['high']:.1f})" if row.get("low") is not None else ""
        cells = [f"{row['map']:.2f}{between}", _figure(row.get("map50"), ".2f"),
                 f"{row['points']:+.2f} ({row['points_low']:+.2f} to {row['points_high']:+.2f})", _figure(row["share"], ".1%"),
                 f"{row['agreement']:.1f} %", _figure(row["sqnr_db"], ".1f")]  # fmt: skip
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for name, row in found["rows"].items():
        if row.get("sensitivity"):
            lines += ["", f"## {name}: why each layer is as it is", "", *_sensitivity(row)]
    return "\n".join(lines) + "\n"


def _sensitivity(row: Mapping[str, Any]) -> list[str]:
    told = row["sensitivity"]
    floating, quantised = ([one for one in told if bool(one["quantised"]) is kind] for kind in (False, True))
    lines = [(f"{len(floating)} layers stay in floating point; below them the {len(quantised)} quantised ones that cost most. dB: SQNR "
             "of the answers with this layer alone in int8."), "",
             "| layer | kind | MACs | dB | state | why |", "|---|---|---|---|---|---|"]  # fmt: skip
    for one in told:
        why = "; ".join([str(one.get("why") or ""), *(one.get("reasons") or [])])
        state = "int8" if one["quantised"] else "float"
        lines.append(f"| `{one['node']}` | {one['kind']} | {_figure(one['share'], '.2%')} | {_figure(one['output_sqnr_db'], '.1f')} | {state} | {why} |")  # fmt: skip
    return lines


def _figure(value: Any, form: str) -> str:
    return "-" if value is None else format(float(value), form)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help="parts of the names of rows; all without")
    parser.add_argument("--pictures", type=int, default=500, help="scenes that every row is judged on")
    parser.add_argument("--budget-pictures", type=int, default=300, help="scenes that the budget of int8 is kept on")
    parser.add_argument("--max-drop", type=float, default=0.5, help="points that int8 may lose on those")
    parser.add_argument("--weights", default=str(WEIGHTS))
    parser.add_argument("--out", type=Path, default=HERE, help="folder of detection_accuracy.json and .md")
    chosen = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="edgesmith-") as folder:
        result = measured(chosen, Path(folder))
    report = {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "command": " ".join(["python benchmarks/detection_accuracy.py", *(sys.argv[1:] if words is None else words)]),
        "weights": Path(chosen.weights).name,
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "machine": machine(),
        "result": result,
    }
    (chosen.out / "detection_accuracy.json").write_text(json.dumps(report, indent=1) + "\n")
    (chosen.out / "detection_accuracy.md").write_text(written(report))


if __name__ == "__main__":
    main()
