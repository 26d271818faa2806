"""Trains a fixture: a narrow variant of a family, on 4000 MNIST digits, in minutes on one core.

    python tools/train_small.py smt_mnist

writes models/fixtures/trained/smt_mnist.safetensors and its line of accuracy.json (1000 held-out digits). The pictures of
the test go through the input contract of the bundle, so the recorded accuracy is the one a bundle should have.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from edgesmith.models import create, find
from edgesmith.models.fixtures.digits import digits
from edgesmith.models.weights.checkpoint import read_checkpoint
from edgesmith.runtime.pictures.preprocess import ImageContract, preprocess

OUT = Path(__file__).parents[1] / "models" / "fixtures" / "trained"
LEAST = 0.93  # a fixture below this is not written


def augmented(rng: np.random.Generator, picture: np.ndarray, contract: ImageContract, by: float) -> np.ndarray:
    """One (28, 28) digit, turned, scaled, sheared, shifted, with noise -> normalised float32 (3, H, W)."""
    height, width = contract.size
    affine = cv2.getRotationMatrix2D((14, 14), rng.uniform(-15, 15) * by, 1 + rng.uniform(-0.13, 0.13) * by)  # (2, 3)
    affine[:, :2] += rng.normal(0, 0.06, (2, 2)) * by
    affine[:, 2] += rng.uniform(-2, 2, 2) * by
    zoom = np.array([[width / 28, 0, width / 56 - 0.5], [0, height / 28, height / 56 - 0.5]])
    affine = zoom[:, :2] @ affine + np.array([[0, 0, zoom[0, 2]], [0, 0, zoom[1, 2]]])
    image = cv2.warpAffine(picture.astype(np.float32) / 255, affine, (width, height))
    image += rng.normal(0, rng.uniform(0, 0.1 * by), image.shape)
    mean, std = (np.array(figure)[:, None, None] for figure in (contract.mean, contract.std))
    return ((image - mean) / std).astype(np.float32)


def accuracy(model: nn.Module, contract: ImageContract) -> tuple[int, int]:
    """(correct, all) on the held-out digits, in eval mode, through the input contract."""
    pictures, labels = digits("held_out")
    model.eval()
    correct = 0
    with torch.inference_mode():
        for start in range(0, len(pictures), 250):
            images = torch.from_numpy(preprocess(list(pictures[start : start + 250]), contract))
            correct += int((model(images).argmax(1).numpy() == labels[start : start + 250]).sum())
    return correct, len(labels)


def train(name: str, steps: int, batch: int, rate: float, augment: float, seed: int) -> nn.Module:
    """AdamW, one warm-up and cosine cycle, label smoothing; every draw comes from ``seed``."""
    contract = find(name).contract
    pictures, labels = digits("train")
    grey = pictures[..., 0]
    rng = np.random.default_rng(seed)
    model = create(name, seed=seed).train()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.03}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))
    start = time.monotonic()
    for step in range(steps):
        chosen = rng.integers(0, len(labels), batch)
        images = torch.from_numpy(np.stack([augmented(rng, grey[i], contract, augment) for i in chosen]))
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 60) * (0.5 * (1 + math.cos(math.pi * step / steps)) + 0.01)
        loss = F.cross_entropy(model(images), torch.from_numpy(labels[chosen]), label_smoothing=0.02)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 100 == 99:
            print(f"{name} step {step + 1}/{steps} loss {loss.item():.3f} {time.monotonic() - start:.0f} s", flush=True)
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description="train a digits fixture")
    parser.add_argument("model")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--augment", type=float, default=1.0, help="strength of the distortions")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    start = time.process_time()
    model = train(options.model, options.steps, options.batch, options.rate, options.augment, options.seed)
    correct, total = accuracy(model, find(options.model).contract)
    print(f"{options.model}: {correct} of {total} held-out digits")
    if correct < LEAST * total:
        sys.exit(f"below {LEAST:.0%}: not written; more --steps or another --rate")
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / f"{options.model}.safetensors"
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    record = {
        "accuracy": correct / total,
        "correct": correct,
        "held_out": total,
        "seed": options.seed,
        "command": f"python tools/train_small.py {' '.join(sys.argv[1:])}",
        "cpu_seconds": round(time.process_time() - start),
        "parameters": sum(p.numel() for p in model.parameters()),
        "sha256": read_checkpoint(path).sha256,
        "versions": {package: importlib.metadata.version(package) for package in ("torch", "timm", "numpy", "mlxtend")},
    }
    figures = OUT / "accuracy.json"
    known = json.loads(figures.read_text()) if figures.exists() else {}
    figures.write_text(json.dumps(dict(sorted({**known, options.model: record}.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
