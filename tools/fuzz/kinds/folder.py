"""Folders of GUI-AIMA: values in config.json, tokenizer.json and the list of shards, bytes of all files, files that are not there.

Used as ``export`` does up to the filled network.
"""

from __future__ import annotations

import json
import random as random_module
import shutil
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(Path(__file__).parents[1]), str(ROOT / "tests" / "helpers")]

from checkpoint_bytes import changed
from json_damage import damaged, damaged_text

NAME = "folder"
INDEX = "model.safetensors.index.json"
TINY = {"hidden": 16, "layers": 1, "heads": 2, "kv_heads": 1, "mlp": 8, "vision_hidden": 8, "vision_layers": 1}
Random = random_module.Random


def prepare(folder: Path) -> None:
    """One folder in each layout."""
    from grounding_folder import write_folder

    for layout in ("4.51", "5.x"):
        write_folder(folder / layout, layout=layout, full_attention=(0,), vision_mlp=8, **TINY)  # type: ignore[arg-type]


def mutant(random: Random, folder: Path, target: Path) -> Path:
    """One folder under ``target`` with one file of it damaged."""
    made = target / "folder"
    shutil.copytree(folder / random.choice(("4.51", "5.x")), made)
    name = random.choice(("config.json", "config.json", "config.json", "tokenizer.json", INDEX, "shard"))
    file = random.choice(sorted(made.glob("*.safetensors"))) if name == "shard" else made / name
    content = file.read_bytes()
    kind = random.random()
    if kind < 0.05:
        file.unlink()
    elif name == "shard":
        file.write_bytes(changed(random, content))
    elif kind < 0.2:
        file.write_bytes(damaged_text(random, content))
    else:
        file.write_text(json.dumps(damaged(random, json.loads(content), 1 + int(random.expovariate(1)))))
    return made


def use(path: Path) -> None:
    """The names and shapes, then the values, the prompt and an instruction; UserMistake where the folder is refused."""
    from edgesmith.models.folders.folder import load_eager, open_folder

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = open_folder(path)
        opened.prompt.ids(opened.prompt.instruction("open the settings", opened.tokenizer), (2, 3))
        load_eager(opened)
