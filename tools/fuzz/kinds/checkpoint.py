"""Checkpoints: bytes, zip members, pickle opcodes, heads of safetensors, lists of shards, and what stands in the tensors' place.

Used as ``export`` does up to the filled network: what is recorded for the plan, then the weights into a network of one block.
"""

from __future__ import annotations

import argparse
import json
import random as random_module
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from checkpoint_bytes import (
    damaged_bytes,
    damaged_header,
    damaged_index,
    damaged_mark,
    damaged_members,
    damaged_opcodes,
)
from checkpoint_values import KINDS, SHAPES, VALUES, is_plain

NAME = "checkpoint"
TINY = {"patch_size": 7, "embed_dim": 8, "depth": 1, "num_heads": 2}
Random = random_module.Random


def _spec() -> Any:
    from edgesmith.models.registry import find

    spec = find("vit_ggem_mnist")
    return replace(spec, config={**spec.config, **TINY}, num_classes=3)


def _state() -> dict[str, Any]:
    import torch

    torch.manual_seed(0)
    return dict(_spec().build(num_classes=3).state_dict())


def _content(state: dict[str, Any]) -> dict[str, Any]:
    said = argparse.Namespace(mean=[0.5, 0.5, 0.5], std=[0.2], img_size=28, num_classes=3, interpolation="bilinear")
    moments = {"state": {0: {"step": 3, "exp_avg": state["norm.weight"].clone()}}, "param_groups": [{"lr": 0.1}]}
    config = {"DATA": {"IMG_SIZE": 28, "MEAN": [0.5, 0.5, 0.5]}, "MODEL": {"NUM_CLASSES": 3}}
    content = {"state_dict": {f"module.{k}": v for k, v in state.items()}, "optimizer": moments, "args": said}
    return {**content, "epoch": 3, "config": config, "class_to_idx": {"a": 0, "b": 1, "c": 2}}


def prepare(folder: Path) -> None:
    """One valid file of each form."""
    import pickle

    import torch
    from safetensors.torch import save_file

    state = _state()
    torch.save(_content(state), folder / "zip.pth")
    torch.save(_content(state), folder / "old.pth", _use_new_zipfile_serialization=False)
    (folder / "plain.pth").write_bytes(pickle.dumps({"args": {"mean": [0.5] * 3}, "epoch": 3}, protocol=4))
    save_file(state, folder / "x.safetensors")
    shards = folder / "shards"
    shards.mkdir(exist_ok=True)
    names = sorted(state)
    parts = [names[: len(names) // 2], names[len(names) // 2 :]]
    files = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for file, part in zip(files, parts, strict=True):
        save_file({name: state[name] for name in part}, shards / file)
    where = {name: file for file, part in zip(files, parts, strict=True) for name in part}
    (shards / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    (shards / "config.json").write_text(json.dumps({"num_classes": 3, "pretrained_cfg": {"mean": [0.5] * 3}}))


def mutant(random: Random, folder: Path, target: Path) -> Path:
    """One file or folder under ``target``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return random.choice(MUTATIONS)(random, folder, target)


def use(path: Path) -> None:
    """The plan's reading, then that of the export; UserMistake where the file is refused."""
    from edgesmith.models.loading import prepare as load
    from edgesmith.models.weights.recorded import recorded

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spec = _spec()
        said = recorded(path)
        said.applied(spec)
        said.told(spec)
        load(spec, path)


def _tensors(random: Random, folder: Path, target: Path) -> Path:
    """Other tensors, names and things beside them, written by PyTorch itself."""
    import torch

    state = _state()
    for _ in range(random.choice((1, 1, 2, 4))):
        name = random.choice(list(state))
        value = state[name]
        state[name] = random.choice(KINDS)(torch, value if is_plain(value) else torch.ones(2))
    content: Any = {**_content(_state()), "state_dict": {f"module.{k}": v for k, v in state.items()}}
    for _ in range(random.choice((0, 1, 2))):
        content = random.choice(SHAPES)(random, content)
    if random.random() < 0.5:
        beside = content.setdefault("config" if random.random() < 0.3 else "args", {})
        if isinstance(beside, dict):
            keys = (
                "mean",
                "std",
                "img_size",
                "input_size",
                "crop_pct",
                "interpolation",
                "crop_mode",
                "num_classes",
                "DATA",
            )
            beside[random.choice(keys)] = random.choice(VALUES)()
        content[random.choice(("id2label", "class_to_idx", "classes", "num_classes", "mean"))] = random.choice(VALUES)()
    try:
        torch.save(content, target / "x.pth", _use_new_zipfile_serialization=random.random() < 0.7)
    except (
        RuntimeError,
        RecursionError,
        NotImplementedError,
        TypeError,
        AttributeError,
        ValueError,
    ):  # it writes not all
        torch.save({"state_dict": {"a": torch.ones(2)}}, target / "x.pth")
    return target / "x.pth"


# bytes and opcodes are most of what goes wrong; the rest has fewer cases
MUTATIONS: tuple[Callable[[Random, Path, Path], Path], ...] = (
    *(
        damaged_bytes,
        damaged_bytes,
        damaged_opcodes,
        damaged_opcodes,
        damaged_opcodes,
        damaged_members,
        _tensors,
        _tensors,
        _tensors,
        damaged_header,
        damaged_index,
        damaged_mark,
    ),
)
