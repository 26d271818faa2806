"""Trains the detection fixture on synthetic scenes: no scene is seen twice, two processes share the work.

    python tools/train_detector.py damo_yolo_scenes --minutes 45

writes models/fixtures/trained/damo_yolo_scenes.safetensors and its line of accuracy.json: mAP on held-out scenes by
pycocotools, the model's own decoding, class-wise NMS. The minutes are the schedule (rate and picture size follow the
clock), so that a busy machine gets fewer steps and not a longer run.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import resource
import sys
import time
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.distributed as group
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from train_detector_loss import Cells, Truths, detection_loss

from edgesmith.models import create, find, prepare
from edgesmith.models.families.damo_yolo.head import STRIDES
from edgesmith.models.families.damo_yolo.network import DamoYolo
from edgesmith.models.fixtures.scenes import scene

TESTS = Path(__file__).parents[1] / "tests"
sys.path.append(str(TESTS / "helpers"))

from scenes_score import measure  # what the tests judge by

OUT = TESTS.parent / "models" / "fixtures" / "trained"
SIZES = ((0.0, 160), (0.4, 224), (0.7, 256))  # from this share of the minutes on, pixels a side
CROWD = 24  # things tried a scene: a picture costs the same, so more of them teach more
WARM_UP = 0.03
MEETING = 8  # steps from one to the next
EMA = 0.97  # a meeting
WORKERS = 2


@cache
def cells(size: int, reach: int) -> Cells:
    points, strides = [], []
    for stride in STRIDES:
        steps = torch.arange(size // stride, dtype=torch.float32) * stride
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        points.append(torch.stack([x, y], dim=-1).flatten(0, 1))
        strides.append(torch.full((len(steps) ** 2,), float(stride)))
    return Cells(torch.cat(points), torch.cat(strides), reach)


def batch_of(start: int, count: int, size: int, seed: int) -> tuple[Tensor, Truths]:
    """Scenes ``start``, ... of the training split as the network sees them, and their boxes."""
    pictures, boxes, classes = zip(*(scene(start + i, "train", size, seed, CROWD) for i in range(count)), strict=True)
    most = max(1, *(len(some) for some in boxes))
    truths = Truths(
        torch.zeros(count, most, 4), torch.zeros(count, most, dtype=torch.long), torch.zeros(count, most) > 0
    )
    for i, (some, labels) in enumerate(zip(boxes, classes, strict=True)):
        truths.boxes[i, : len(some)] = torch.from_numpy(some)
        truths.classes[i, : len(some)] = torch.from_numpy(labels)
        truths.present[i, : len(some)] = True
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float()  # (B, 3, H, W), channels last
    return images, truths


def loss_of(model: DamoYolo, images: Tensor, truths: Truths) -> tuple[Tensor, Tensor]:
    levels = model.levels(images)
    boxes, _ = model.head.integral(levels)
    logits, sides = (
        torch.cat([part.flatten(2).transpose(1, 2) for part in parts], dim=1) for parts in zip(*levels, strict=True)
    )
    sides = sides.unflatten(-1, (4, -1))
    return detection_loss(logits, sides, boxes, cells(images.shape[-1], sides.shape[-1] - 1), truths)


def meet(model: nn.Module, progress: float) -> float:
    """The processes average their weights, their statistics and their clocks, in one flat message.

    Between two meetings each goes its own way (local SGD; Stich, arXiv:1805.09767), so that on a busy machine none waits
    for the other at every step.
    """
    mine = [value for value in model.state_dict().values() if value.is_floating_point()]
    flat = torch.cat([*(value.flatten() for value in mine), torch.tensor([progress])])
    group.all_reduce(flat)
    flat /= group.get_world_size()
    with torch.no_grad():
        for value, new in zip(mine, flat.split([value.numel() for value in mine] + [1]), strict=False):
            value.copy_(new.view_as(value))
    return float(flat[-1])


def follow(average: nn.Module, model: nn.Module, step: int) -> None:
    """Exponential average of weights and statistics, short at first."""
    keep = min(EMA, (1 + step) / (10 + step))
    with torch.no_grad():
        for mine, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(new, 1 - keep)
            else:
                mine.copy_(new)


def evaluations(every: float) -> Iterator[float]:
    yield from (share for share in np.arange(every, 1.0, every))
    yield math.inf


def train(rank: int, options: argparse.Namespace, draft: Path) -> None:
    """One of the processes; the first keeps the average and writes it to ``draft``."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(options.port))
    group.init_process_group("gloo", rank=rank, world_size=WORKERS)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    model = create(options.model, options.weights, seed=options.seed).train().to(memory_format=torch.channels_last)
    average = create(options.model, options.weights, seed=options.seed)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.03}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=options.rate, fused=True)
    start, progress, step, images_seen = time.monotonic(), 0.0, 0, 0
    due = evaluations(0.3)
    next_due = next(due)
    mean = torch.zeros(3)
    while progress < 1:
        size = next(side for share, side in reversed(SIZES) if progress >= share)
        images, truths = batch_of((step * WORKERS + rank) * options.batch, options.batch, size, options.seed)
        for one in optimiser.param_groups:
            one["lr"] = (
                options.rate * min(1, progress / WARM_UP + 0.01) * (0.5 * (1 + math.cos(math.pi * progress)) + 0.01)
            )
        optimiser.zero_grad()
        loss, parts = loss_of(model, images, truths)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        step, images_seen = step + 1, images_seen + WORKERS * options.batch
        if step % MEETING == 0:
            progress = meet(model, (time.monotonic() - start) / (60 * options.minutes))
            follow(average, model, step // MEETING)
        if rank == 0:
            mean = torch.lerp(mean, parts, max(0.02, 1 / step))
            if step % 80 == 0:
                shown = " ".join(f"{part:.3f}" for part in mean.tolist())
                print(f"{progress:.3f} step {step} images {images_seen} size {size} loss {shown}", flush=True)
        if progress >= next_due:
            next_due = next(due)
            if rank == 0:
                save(average, draft, options, images_seen)
                found = measure(average.eval(), find(options.model), 100)
                print(f"{progress:.3f} held out: mAP {found['map']:.1f} AP50 {found['map50']:.1f}", flush=True)
    if rank == 0:
        save(average, draft, options, images_seen)
    group.destroy_process_group()


def history(path: str | Path) -> tuple[int, list[str]]:
    """Images seen and commands given so far, as the checkpoint itself tells them."""
    if str(path) == "random":
        return 0, []
    with safe_open(path, "pt") as file:
        told = file.metadata() or {}
    return int(told.get("images", 0)), json.loads(told.get("commands", '["unknown"]'))


def save(model: nn.Module, path: Path, options: argparse.Namespace, images_seen: int) -> None:
    images, commands = options.before
    told = {"images": str(images + images_seen), "commands": json.dumps([*commands, options.command])}
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path, metadata=told)


def record(options: argparse.Namespace, path: Path, cpu_seconds: float) -> dict[str, Any]:
    """The line of accuracy.json: figures of the file as it is written, and where they come from."""
    spec = find(options.model)
    prepared = prepare(options.model, weights=path)
    names = ("map", "map50", "map75", "small", "medium", "large", "low", "high")
    found, few = (measure(prepared.module, spec, count) for count in (options.held_out, 100))
    print("held out:", " ".join(f"{name} {found[name]:.2f}" for name in names), flush=True)
    images, commands = history(path)
    pixels = sha256(b"".join(scene(index, "held_out")[0].tobytes() for index in range(20))).hexdigest()
    return {
        **{name: round(found[name], 2) for name in names},
        "map_of_100": round(few["map"], 2),
        "held_out": options.held_out,
        "scenes_sha256": pixels,
        "images": images,
        "commands": commands,
        "cpu_seconds": round(cpu_seconds),  # of the last command
        "parameters": spec.parameters,
        "sha256": prepared.sha256,
        "versions": {
            package: importlib.metadata.version(package)
            for package in ("torch", "numpy", "opencv-python-headless", "pycocotools", "scikit-image", "scikit-learn")
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="train the detection fixture on synthetic scenes")
    parser.add_argument("model", nargs="?", default="damo_yolo_scenes")
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--weights", default="random", help="a checkpoint to go on from; give another --seed then")
    parser.add_argument("--batch", type=int, default=4, help="scenes a process and step")
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held-out", type=int, default=500, help="scenes to judge by")
    parser.add_argument("--port", type=int, default=29541, help="of this machine, for the two processes to meet")
    options = parser.parse_args()
    words = [Path(word).name if word == options.weights else word for word in sys.argv[1:]]
    options.command = " ".join(["python tools/train_detector.py", *words])
    options.before = history(options.weights)  # read now: the file may be the one that is written
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / f"{options.model}.safetensors"
    torch.multiprocessing.spawn(train, (options, path), nprocs=WORKERS)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    line = record(options, path, used.ru_utime + used.ru_stime)
    figures = OUT / "accuracy.json"
    known = json.loads(figures.read_text()) if figures.exists() else {}
    figures.write_text(json.dumps(dict(sorted({**known, options.model: line}.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
