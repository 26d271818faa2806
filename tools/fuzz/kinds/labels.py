"""labels.json of a bundle: other values, other text, names that no terminal spells."""

from __future__ import annotations

import json
import random as random_
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bundles import chosen, copied, put, use_bundle, write_originals
from json_damage import damaged, damaged_text, value

NAME = "labels"
FILE = "labels.json"
NAMES = (
    "\\ud800", "\\udfff\\ud800", "\\ud83d\\ude00", "\\u0000", "\\u001b[2J", "\\u202etxt", "", " ", "\\n", "%s", "{}", "é", "猫",
    "x" * 3000, "[bold]", "<b>", "\\ufeff", "\\u0301" * 50, "a/b", "..",
)  # fmt: skip


def prepare(folder: Path) -> None:
    write_originals(folder)


def mutant(random: random_.Random, folder: Path, target: Path) -> Path:
    original = chosen(random, folder)
    bundle = copied(original, target, FILE)
    text = (original / FILE).read_bytes()
    kind = random.randrange(5)
    if kind == 0:
        content = damaged_text(random, text)
    elif kind == 1:
        content = json.dumps(damaged(random, json.loads(text), 1 + random.randrange(3))).encode()
    elif kind == 2:
        content = json.dumps(value(random)).encode()
    elif kind == 3:  # as many names as before, each of any spelling
        names = [random.choice((random.choice(NAMES), label)) for label in json.loads(text)]
        content = ("[" + ", ".join(f'"{name}"' for name in names) + "]").encode()
    else:
        count = random.choice((0, 1, 2, 4, 50, 5000))
        content = json.dumps([random.choice(("x", "y", "", "\u00e9")) for _ in range(count)]).encode()
    put(bundle, FILE, content)
    return bundle


def use(path: Path) -> None:
    use_bundle(path)
