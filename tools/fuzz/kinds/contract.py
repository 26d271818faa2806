"""The file of --contract (TOML) and that of --instructions: words and values of other kinds, text that is none."""

from __future__ import annotations

import random as random_
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from json_damage import TEXTS, damaged_text, value

NAME = "contract"
FIELDS = (
    "mean",
    "std",
    "scale",
    "crop",
    "resize",
    "colour",
    "channels",
    "input_dtype",
    "layout",
    "fit",
    "antialias",
    "image_size",
    "labels",
    "x",
)
USUAL = {
    "mean": "[0.485, 0.456, 0.406]", "std": "[0.229, 0.224, 0.225]", "scale": '"1/255"', "crop": "0.9", "resize": '"bicubic"', "colour": '"bgr"',
    "channels": "3", "input_dtype": '"float32"', "layout": '"nchw"', "fit": '"letterbox"', "antialias": "true", "image_size": "32",
}  # fmt: skip
ODD = (
    "inf",
    "nan",
    "-0.0",
    "0x1f",
    "1979-05-27",
    "[1, [2]]",
    "{a = 1}",
    "1e400",
    "''",
    '"""x"""',
    "9" * 400,
    "[nan, 1, 1]",
    "[0, 0, 0]",
    "true",
)


def prepare(folder: Path) -> None:
    (folder / "contract.toml").write_text("".join(f"{name} = {text}\n" for name, text in USUAL.items()))


def mutant(random: random_.Random, folder: Path, target: Path) -> Path:
    place, names = target / "contract.toml", random.sample(sorted(USUAL), random.randrange(1, len(USUAL)))
    rows = {name: USUAL[name] for name in names}
    for _ in range(random.randrange(3)):
        rows[random.choice(FIELDS)] = _text(random)
    text = "".join(f"{name} = {value}\n" for name, value in rows.items()).encode("utf-8", "replace")
    place.write_bytes(damaged_text(random, text) if random.random() < 0.3 else text)
    return place


def _text(random: random_.Random) -> str:
    kind = random.randrange(3)
    if kind == 0:
        return random.choice(ODD)
    if kind == 1:
        return '"' + random.choice(TEXTS)[:200].replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value(random)).replace("None", "''").replace("True", "true").replace("False", "false")


def use(path: Path) -> None:
    from edgesmith.exporter.plan.plan import make_plan
    from edgesmith.runtime.commands.running.asked import instructions_of

    instructions_of(str(path))
    make_plan("van_b0", num_classes=2, out=path.parent / "van.edge", contract=str(path))
