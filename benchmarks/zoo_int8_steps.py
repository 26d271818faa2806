"""The steps of one model of zoo_int8.py but for the peer's (zoo_int8_peer.py): what both start from, our export, and the judge.

make     living weights, the pictures as the network takes them, what PyTorch says to those that judge, the plain torch.onnx.export
ours     edgesmith.export(precision="int8", data=FOLDER): our graph, and what the bundle says of it
judge    SQNR, agreement and cosine of the logits on the held-out photographs against PyTorch in float32; CPU time of one thread, in turns
"""

from __future__ import annotations

import shutil
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx_ir as ir
from apart import Notes
from living import SEED, living, save, size_of
from steps import told_in
from zoo_int8_peer import PEER, PLAIN, answers, figures, opened

import edgesmith
from edgesmith.calibration.pictures.images import open_data
from edgesmith.exporter.plan.plan import make_plan
from edgesmith.exporter.trace.source import open_source
from edgesmith.models.fixtures.ground import photographs
from edgesmith.models.registry import find
from edgesmith.runtime.session.benchmark import measure as in_turns

SPLITS = {
    "calibration": 64,
    "held_out": 39,
}  # crops: half of the first calibrate, the others tell the export what was lost
CROP = 256  # pixels a side; the contract of each model makes its own size of them
ROUNDS = 15
WEIGHTS, OURS = "weights.safetensors", "ours.onnx"


def crops(folder: Path, split: str) -> Path:
    """Seeded crops of photographs as PNG files in one folder without classes; the left half of each calibrates, the right one judges."""
    place, rng = folder / split, np.random.default_rng(SEED)
    if not place.is_dir():
        part = folder / f"{split}.part"
        part.mkdir(parents=True, exist_ok=True)
        pictures = [picture for one in ("train", "held_out") for picture in photographs(one)]
        for number in range(SPLITS[split]):
            picture = pictures[number % len(pictures)]
            half = np.array_split(picture, 2, axis=1)[list(SPLITS).index(split)]
            side = int(min(half.shape[:2]) * rng.uniform(0.4, 1.0))
            top, left = (int(rng.integers(whole - side + 1)) for whole in half.shape[:2])
            crop = cv2.resize(half[top : top + side, left : left + side], (CROP, CROP), interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(part / f"{number:03}.png"), crop[:, :: rng.choice((-1, 1)), ::-1])
        part.rename(place)
    return place


def make(name: str, folder: Path, notes: Notes) -> None:
    """What our export and the peer start from."""
    import torch

    with told_in(notes, "pictures"):
        spec, size = find(f"timm:{name}"), size_of(find(f"timm:{name}"))
        notes.put(size=list(size), parameters=spec.parameters)
        plan = make_plan(f"timm:{name}", **choices(folder))
        assert plan.calibration is not None and plan.calibration.data is not None
        judging = open_data(
            str(crops(folder.parent, "held_out")), plan.contract, count=SPLITS["held_out"], held_out=0, seed=SEED
        )
        images = {"calibration": plan.calibration.data.calibration, "held_out": judging.calibration}
        arrays = {split: np.concatenate(list(found.batches(16))) for split, found in images.items()}
    with told_in(notes, "create"):
        module = living(spec, spec.num_classes, size, images=torch.from_numpy(arrays["calibration"]))
        save(module, folder / WEIGHTS)
        with torch.inference_mode():
            logits = np.concatenate([module(torch.from_numpy(image[None])).numpy() for image in arrays["held_out"]])
        np.savez(folder / "pictures.npz", logits=logits, **arrays)
        notes.put(calibrate=len(arrays["calibration"]), judge=len(logits))
    with told_in(notes, "trace"):
        plan = make_plan(f"timm:{name}", str(folder / WEIGHTS), **choices(folder))
        ir.save(open_source(plan).export(folder).model, folder / PLAIN)
        notes.put(made=True)


def ours(name: str, folder: Path, notes: Notes) -> None:
    """Our bundle's graph and what its report says."""
    with told_in(notes, "export"):
        result = edgesmith.export(f"timm:{name}", str(folder / WEIGHTS), **choices(folder))
        assert result.bundle is not None
        shutil.copy(result.path / "model.onnx", folder / OURS)
        notes.put(**said(result.bundle.manifest["quantisation"]))
        notes.put(seconds=round(sum(stage.seconds for stage in result.stages), 1))
        for left in folder.glob("int8*"):  # where int8 lost, the bundle in floating point stands beside it
            shutil.rmtree(left)


def choices(folder: Path) -> dict[str, Any]:
    """What our export is asked for; the contract of the model says how pictures are prepared."""
    spec = find(f"timm:{folder.name}")
    height, width = size_of(spec)
    return {
        "target": "cpu", "precision": "int8", "data": str(crops(folder.parent, "calibration")), "seed": SEED,
        "image_size": f"{height}x{width}", "num_classes": spec.num_classes, "out": str(folder / "int8.edge"),
        "overwrite": True, "calib_cache": str(folder / "statistics"),
    }  # fmt: skip


def said(told: dict[str, Any]) -> dict[str, Any]:
    """What the bundle itself says: form, share of the MACs, SQNR on its own held-out pictures, layers in float and why."""
    float_ones = [row for row in told["nodes"] if not row["quantised"]]
    whys = Counter(row["why"] for row in float_ones)
    shares = {why: sum(row["share"] for row in float_ones if row["why"] == why) for why in whys}
    return {
        "form": told["form"], "share": told["share"], "own_sqnr_db": told["accuracy"]["sqnr_db"], "sites": len(told["nodes"]),
        "float": [{"why": why, "count": count, "share": shares[why]} for why, count in whys.most_common()],
        "notes": [*told["notes"], *told.get("floor", {}).get("notes", ())], "raced": {key: told["latency"][key] for key in ("time_ratio", "against", "won")},
    }  # fmt: skip


def judge(name: str, folder: Path, notes: Notes) -> None:
    """The plain graph, ours and the peer's best: figures, then time."""
    files = {path: folder / path for path in (PLAIN, OURS, PEER) if (folder / path).is_file()}
    with np.load(folder / "pictures.npz") as held:
        images, logits = held["held_out"], held["logits"]
    notes.put(figures={path: figures(answers(file, images), logits) for path, file in files.items()})
    notes.put(sizes={path: file.stat().st_size for path, file in files.items()})
    sessions = {path: opened(file) for path, file in files.items()}
    calls = {path: partial(one.run, None, {one.get_inputs()[0].name: images[:1]}) for path, one in sessions.items()}
    timed = in_turns(calls, rounds=ROUNDS, warmup=2, clock="cpu")
    notes.put(times={path: {"ms": one.median_ms, "ratio": one.time_ratio, "low": one.time_ratio_low, "high": one.time_ratio_high} for path, one in timed.items()})  # fmt: skip
