"""Trains the small GUI-AIMA on synthetic screens, on one core: no screen is seen twice.

    python tools/screens/train.py --minutes 60

writes the folder models/fixtures/trained/gui_aima_screens in the published layout (config.json, model.safetensors in float16,
tokenizer.json, ...). The minutes are of the processor's time and are the schedule; --state keeps what a stopped training needs
to go on. The published model starts from Qwen2.5-VL, ours from nothing: so at first the vision tower alone learns what
stands in each cell. Then GUI-AIMA's own loss on the anchor's attention, and beside it, fading, two that stand for what a
pretrained base knows: the cells, and that the anchor half-way through the layers has heard what was said.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path
from typing import Any

import cv2
import torch
from learn.batches import Batch, batch
from learn.clicks import hits
from learn.folder import write_folder
from learn.network import CELL, Grounder, patch_rows
from learn.prompt import FIXED, Words
from learn.shape import HIDDEN, config
from learn.targets import FACTS, pointing_loss
from learn.tokens import tokenizer
from screen import SIZES, screen
from torch import Tensor, nn
from torch.nn import functional as F

OUT = Path(__file__).parents[2] / "models" / "fixtures" / "trained" / "gui_aima_screens"
VISION_ALONE, WARM_UP = 0.4, 0.03
HELP = 1.0  # of the two losses beside GUI-AIMA's; it fades to nothing
FAINT = 0.1  # squared contrast below which a direction of the patches counts as noise
EMA = 0.998


def fact_loss(logits: Tensor, told: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of kind, word, colour and shape, told (..., 4), weighted by ``weights`` (...)."""
    parts = logits.float().flatten(0, 1).split([len(names) + 1 for names in FACTS], dim=-1)
    losses = [F.cross_entropy(part, told[..., i].flatten(), reduction="none") for i, part in enumerate(parts)]
    return (torch.stack(losses).sum(dim=0) * weights.flatten()).sum() / weights.sum()


def loss_of(grounder: Grounder, heads: nn.ModuleDict, data: Batch, progress: float) -> tuple[Tensor, dict[str, float]]:
    """GUI-AIMA's loss and what helps it at the beginning; bare cells, which are most, count a fifth."""
    with torch.autocast("cpu", torch.bfloat16):
        embeds = grounder.see(data.pictures)
        cells = fact_loss(heads["cells"](embeds), data.cells, torch.where(data.cells[..., 0] > 0, 1.0, 0.2))
        if progress < VISION_ALONE:
            return cells, {"cells": cells.item()}
        rows, columns = (side // CELL for side in data.pictures.shape[-2:])
        found = grounder.point(grounder.read(embeds, rows, columns), data.tokens, data.lengths)
        said = fact_loss(heads["said"](found.anchor), data.said, data.counts.float())
    pointing = pointing_loss(found.scores.float(), data.labels, data.counts)
    shown = {"cells": cells.item(), "said": said.item(), "pointing": pointing.item()}
    return pointing + HELP * (1 - progress) * (cells + said), shown


def accuracy(grounder: Grounder, words: Words, screens: int, split: str = "held_out", asks: int = 4) -> float:
    """Share of right clicks, sizes in equal parts."""
    found: list[bool] = []
    for kind, size in enumerate(SIZES):
        indices = range(kind, screens, len(SIZES))
        for start in range(0, len(indices), 25):
            found += hits(grounder, words, [screen(i, split, size) for i in indices[start : start + 25]], asks)
    return sum(found) / len(found)


def begin(grounder: Grounder, patches: Tensor) -> None:
    """Weights that keep the size of what goes through; 0.02, the rule of large models, is too small for narrow layers.

    The patch embedding begins with the main directions of ``patches`` (N, 588), all made equally strong: most of a screen is
    plain colour, and letters would be the faintest of signals.
    """
    depth = len(grounder.vision.blocks) + len(grounder.text.layers)
    for name, p in grounder.named_parameters():
        if p.ndim > 1:
            ends_a_branch = name.endswith(("attn.proj.weight", "o_proj.weight", "down_proj.weight"))
            scale = 0.5 if "embed_tokens" in name else p[0].numel() ** -0.5
            nn.init.normal_(p, std=scale * (depth**-0.5 if ends_a_branch else 1))
    kernel = grounder.vision.patch_embed.proj.weight  # (C, 3, 2, 14, 14)
    strengths, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    main = (directions * (strengths.clamp(min=0) + FAINT) ** -0.5).T[-len(kernel) :]
    kernel.data = (main / 2).view(len(kernel), 3, 1, *kernel.shape[3:]).repeat(1, 1, 2, 1, 1)


class Optimisers:
    """Muon (Jordan et al., 2024) for the matrices of both towers, AdamW for all else; one rate for both."""

    def __init__(self, grounder: Grounder, heads: nn.Module) -> None:
        named = [*grounder.named_parameters(), *heads.named_parameters()]
        inner = [p for name, p in named if p.ndim == 2 and (".blocks." in name or ".layers." in name)]
        others = [p for name, p in named if not (p.ndim == 2 and (".blocks." in name or ".layers." in name))]
        self.parts = (
            torch.optim.Muon(inner, lr=1e-3, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
        )

    def step(self, rate: float) -> None:
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
            part.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        return {str(index): part.state_dict() for index, part in enumerate(self.parts)}

    def load_state_dict(self, kept: dict[str, Any]) -> None:
        for index, part in enumerate(self.parts):
            part.load_state_dict(kept[str(index)])


def started(options: argparse.Namespace) -> dict[str, Any]:
    told = tokenizer(FIXED)
    words = Words.of(told)
    torch.manual_seed(options.seed)
    grounder = Grounder(config(told), words.before)
    begin(grounder, patch_rows(batch(0, 64, words, options.seed + 1).pictures))
    facts = sum(len(names) + 1 for names in FACTS)
    heads = nn.ModuleDict({name: nn.Linear(HIDDEN, facts) for name in ("cells", "said")})
    state = {"step": 0, "seconds": 0.0, "model": grounder, "average": copy.deepcopy(grounder), "heads": heads}
    state["optimisers"] = Optimisers(grounder, heads)
    if options.state and options.state.exists():
        kept = torch.load(options.state, weights_only=True)
        for name, value in kept.items():
            if name in ("step", "seconds"):
                state[name] = value
            else:
                state[name].load_state_dict(value)
    return {**state, "tokenizer": told, "words": words}


def keep(state: dict[str, Any], path: Path | None) -> None:
    if path:
        draft = path.with_suffix(".draft")
        names = ("model", "average", "heads", "optimisers")
        torch.save(
            {**{n: state[n].state_dict() for n in names}, "step": state["step"], "seconds": state["seconds"]}, draft
        )
        draft.replace(path)


def train(state: dict[str, Any], options: argparse.Namespace) -> None:
    grounder, average, heads, words = (state[name] for name in ("model", "average", "heads", "words"))
    begun, shown, due = time.process_time() - state["seconds"], {}, state["seconds"] + 60 * options.every
    while (progress := state["seconds"] / (60 * options.minutes)) < 1:
        data = batch(state["step"], options.batch, words, options.seed)
        loss, parts = loss_of(grounder, heads, data, progress)
        loss.backward()
        nn.utils.clip_grad_norm_([*grounder.parameters(), *heads.parameters()], 1.0)
        fade = 0.5 * (1 + math.cos(math.pi * progress)) + 0.01
        state["optimisers"].step(options.rate * min(1, progress / WARM_UP + 0.01) * fade)
        state["step"] += 1
        keep_share = min(EMA, (1 + state["step"]) / (10 + state["step"]))
        with torch.no_grad():
            for mine, new in zip(average.parameters(), grounder.parameters(), strict=True):
                mine.lerp_(new, 1 - keep_share)
        for name, value in parts.items():
            shown[name] = shown.get(name, value) * 0.95 + value * 0.05
        state["seconds"] = time.process_time() - begun
        if state["step"] % 25 == 0:
            losses = " ".join(f"{name} {value:.3f}" for name, value in shown.items())
            print(f"{progress:.3f} step {state['step']} {losses} {state['seconds']:.0f} s", flush=True)
        if state["seconds"] >= due:
            due = state["seconds"] + 60 * options.every
            keep(state, options.state)
            print(f"{progress:.3f} held out: {100 * accuracy(average, words, 100):.1f} % of clicks", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="train the small GUI-AIMA on synthetic screens")
    parser.add_argument("--minutes", type=float, default=60, help="of the processor's time")
    parser.add_argument("--every", type=float, default=5, help="minutes from one look at held-out screens to the next")
    parser.add_argument("--batch", type=int, default=8, help="screens a step")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", type=Path, help="file that a stopped training goes on from")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    state = started(options)
    print(sum(p.numel() for p in state["model"].parameters()), "parameters", flush=True)
    train(state, options)
    keep(state, options.state)
    write_folder(options.out, state["average"].model, state["tokenizer"], config(state["tokenizer"]))
    print(f"held out: {100 * accuracy(state['average'], state['words'], 500):.1f} % of clicks", flush=True)


if __name__ == "__main__":
    main()
