"""What it costs to turn the boxes and scores of 8,400 cells and 80 classes into detections, on one core, beside peers.

    python benchmarks/postprocess.py [--rounds 200]      prints the table and writes benchmarks/postprocess.{json,md}

Every contestant gets the same arrays, boxes (8400, 4) and scores (8400, 80), and answers with boxes, scores and classes of
the best 500: threshold 0.05, class-wise suppression at 0.7. So the figures hold the thresholding of 672,000 scores, and
the form that a library wants its boxes in. Pictures are drawn at random but seeded: things that a number of neighbouring
cells see with about the same box. Times are CPU time of all threads of the process, the contestants in turns.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import torch
import torchvision

from edgesmith.runtime.session.benchmark import machine, measure
from edgesmith.runtime.tasks.detection.boxes import Kept
from edgesmith.runtime.tasks.detection.detection import DetectionRule, check_finite, keep_parts
from edgesmith.runtime.tasks.detection.nms import nms

HERE = Path(__file__).parent
CELLS, CLASSES = 8400, 80
RULE = DetectionRule("runtime", 0.05, 0.7, 500)
# name -> (things, cells that see one, classes among the things, what it stands for)
PICTURES = {
    "empty": (0, 0, 1, "nothing above the threshold"),
    "street": (15, 25, 8, "a photograph"),
    "crowd": (150, 40, 20, "a crowd of many kinds: thousands above the threshold"),
    "one class": (150, 40, 1, "the same, all of one class: the bad case for class-wise suppression"),
    "everything": (0, 0, 80, "half of all 672,000 scores above the threshold: a network that learned nothing"),
}
OPERATOR = """
<ir_version: 10, opset_import: ["" : 20]>
nms (float[1, N, 4] boxes, float[1, K, N] scores) => (int64[M, 3] kept)
<int64[1] most = {8400}, float[1] iou = {0.7}, float[1] score = {0.05}>
{ kept = NonMaxSuppression(boxes, scores, most, iou, score) }
"""


def picture(things: int, seen_by: int, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """(8400, 4), (8400, 80) float32 in 640 x 640 pixels."""
    rng = np.random.default_rng(0)
    corner = rng.random((CELLS, 2)) * 560
    boxes = np.concatenate([corner, corner + 8 + rng.random((CELLS, 2)) * 120], axis=1)
    if not things and labels > 1:
        return boxes.astype(np.float32), (rng.random((CELLS, CLASSES)) * 0.1).astype(np.float32)
    scores = rng.random((CELLS, CLASSES)) ** 4 * 0.04
    cells = rng.permutation(CELLS)[: things * seen_by].reshape(things, seen_by)
    for thing, own in enumerate(cells):
        boxes[own] = boxes[own[0]] + rng.normal(0, 4, (seen_by, 4))
        scores[own, thing % labels] = 0.06 + 0.9 * rng.random(seen_by)
    return boxes.astype(np.float32), scores.astype(np.float32)


def ours(boxes: np.ndarray, scores: np.ndarray) -> Kept:
    return keep_parts(boxes, scores, RULE)


def opencv(boxes: np.ndarray, scores: np.ndarray) -> Kept:
    cells, classes = np.divmod(np.flatnonzero(scores > np.float32(RULE.score)), CLASSES)
    values, chosen = scores[cells, classes], boxes[cells]
    sides = np.concatenate([chosen[:, :2], chosen[:, 2:] - chosen[:, :2]], axis=1).astype(np.float64)
    best = np.asarray(cv2.dnn.NMSBoxesBatched(sides, values, classes.astype(np.int32), RULE.score, RULE.iou), int)
    best = best[np.argsort(-values[best], kind="stable")][: RULE.max_detections]
    return Kept(chosen[best], values[best], classes[best])


def torch_vision(boxes: np.ndarray, scores: np.ndarray) -> Kept:
    all_boxes, all_scores = torch.from_numpy(boxes), torch.from_numpy(scores)
    cells, classes = torch.nonzero(all_scores > RULE.score, as_tuple=True)
    values, chosen = all_scores[cells, classes], all_boxes[cells]
    best = torchvision.ops.batched_nms(chosen, values, classes, RULE.iou)[: RULE.max_detections]
    return Kept(chosen[best].numpy(), values[best].numpy(), classes[best].numpy())


def onnx_operator(session: Any, boxes: np.ndarray, scores: np.ndarray) -> Kept:
    (rows,) = session.run(None, {"boxes": boxes[None], "scores": np.ascontiguousarray(scores.T)[None]})
    classes, cells = rows[:, 1], rows[:, 2]
    values = scores[cells, classes]
    best = np.argsort(-values, kind="stable")[: RULE.max_detections]
    return Kept(boxes[cells[best]], values[best], classes[best])


def parts(boxes: np.ndarray, scores: np.ndarray) -> dict[str, Callable[[], Any]]:
    """The steps of ours, each alone."""
    flat = np.flatnonzero(scores > np.float32(RULE.score))
    cells, classes = np.divmod(flat, CLASSES)
    values = scores[cells, classes]
    return {
        "no NaN, no infinity": partial(check_finite, boxes, scores),
        "threshold": lambda: np.flatnonzero(scores > np.float32(RULE.score)),
        "suppression": lambda: nms(boxes[cells], values, classes, RULE.iou, RULE.max_detections),
    }


def same(found: Kept, expected: Kept) -> str:
    """How many detections of ours another finds, to the bit."""
    rows = [{(*box, s, c) for box, s, c in zip(k.boxes.tolist(), k.scores.tolist(), k.classes.tolist())} for k in (found, expected)]  # fmt: skip
    return f"{len(rows[0] & rows[1])} of {len(rows[1])}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        onnx.parser.parse_model(OPERATOR).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    contestants = {
        "ours": ours,
        "cv2.dnn.NMSBoxesBatched": opencv,
        "torchvision.ops.batched_nms": torch_vision,
        "ONNX Runtime NonMaxSuppression": partial(onnx_operator, session),
    }
    rows = []
    for name, (things, seen_by, labels, meaning) in PICTURES.items():
        boxes, scores = picture(things, seen_by, labels)
        expected = ours(boxes, scores)
        heavy = name == "everything"
        calls = {key: partial(call, boxes, scores) for key, call in contestants.items() if not heavy or key == "ours"}
        turns = max(rounds // 10, 3) if heavy else rounds
        times = measure(calls, rounds=turns, clock="cpu")
        steps = measure(parts(boxes, scores), rounds=turns, clock="cpu")
        rows.append({
            "picture": name,
            "meaning": meaning,
            "candidates": int((scores > RULE.score).sum()),
            "detections": len(expected.scores),
            "cpu_ms": {key: timing.median_ms for key, timing in times.items()},
            "p90_ms": {key: timing.p90_ms for key, timing in times.items()},
            "same": {key: same(contestants[key](boxes, scores), expected) for key in calls},
            "steps_ms": {key: timing.median_ms for key, timing in steps.items()},
        })  # fmt: skip
        print(name, {key: round(value, 3) for key, value in rows[-1]["cpu_ms"].items()}, flush=True)
    write(rows, rounds)


def write(rows: list[dict[str, Any]], rounds: int) -> None:
    facts = {
        **machine(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "torchvision": torchvision.__version__,
        "onnxruntime": onnxruntime.__version__,
        "rounds": rounds,
    }
    (HERE / "postprocess.json").write_text(json.dumps({"machine": facts, "rows": rows}, indent=1) + "\n")
    names = list(rows[0]["cpu_ms"])
    versions = ", ".join(f"{name} {facts[name]}" for name in ("numpy", "opencv", "torchvision", "onnxruntime"))
    command = f"`python benchmarks/postprocess.py --rounds {rounds}`"
    lines = [
        "# From boxes and scores of 8,400 cells to detections",
        "",
        "How to read it: the head of [postprocess.py](postprocess.py). CPU time on one core in ms, median (90th percentile);",
        "behind it how many detections are those of ours to the bit, where not all are.",
        "",
        f"{command}, {facts['cpu']}, {facts['cores']} cores, load {facts['load']}, {versions}",
        "",
        "| picture | above the threshold | kept | " + " | ".join(names) + " |",
        "|---" * (3 + len(names)) + "|",
    ]
    for row in rows:
        cells = []
        for name in names:
            if name not in row["cpu_ms"]:
                cells.append("not run")
                continue
            all_of_them = row["same"][name].split(" of ")
            note = "" if all_of_them[0] == all_of_them[1] else f", {row['same'][name]}"
            cells.append(f"{row['cpu_ms'][name]:.2f} ({row['p90_ms'][name]:.2f}){note}")
        lines.append(f"| {row['picture']} | {row['candidates']:,} | {row['detections']} | " + " | ".join(cells) + " |")
    lines += ["", *[f"- {row['picture']}: {row['meaning']}" for row in rows], ""]
    steps = list(rows[0]["steps_ms"])
    lines += ["| steps of ours, ms | " + " | ".join(steps) + " |", "|---" * (1 + len(steps)) + "|"]
    for row in rows:
        lines.append(f"| {row['picture']} | " + " | ".join(f"{row['steps_ms'][step]:.2f}" for step in steps) + " |")
    (HERE / "postprocess.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
