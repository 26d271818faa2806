"""Bundles of the task grounding: their manifest, with several graphs and buckets, tokenizer, golden answers, and one of the graphs."""

from __future__ import annotations

import json
import random as random_
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bundles import PICTURE, copied, in_turn, put
from json_damage import damaged, damaged_text

NAME = "grounding"
BUNDLE, MANIFEST = "screens.edge", "manifest.json"


def prepare(folder: Path) -> None:
    import cv2
    from grounding_bundle import screenshot, write_grounding_bundle

    write_grounding_bundle(folder / BUNDLE)
    cv2.imwrite(str(folder / PICTURE), screenshot())


def mutant(random: random_.Random, folder: Path, target: Path) -> Path:
    from sealed import edit_manifest

    original = folder / BUNDLE
    listed = json.loads((original / MANIFEST).read_bytes())["files"]
    name = MANIFEST if random.random() < 0.5 else random.choice(sorted(listed))
    bundle, content = copied(original, target, name), (original / name).read_bytes()
    if name == MANIFEST:
        (bundle / name).write_text(json.dumps(damaged(random, json.loads(content), 1 + int(random.expovariate(1)))))
        edit_manifest(bundle)
    elif name.endswith(".json") and random.random() < 0.7:
        put(bundle, name, json.dumps(damaged(random, json.loads(content), 1 + random.randrange(3))).encode())
    else:
        put(bundle, name, damaged_text(random, content))
    return bundle


def use(path: Path) -> None:
    from edgesmith.exporter.commands import cli, look
    from edgesmith.runtime.bundle.bundle import open_bundle
    from edgesmith.runtime.bundle.report import write_report

    bundle, picture = str(path), str(path.parent / PICTURE)
    opened = open_bundle(bundle)
    in_turn(
        lambda: write_report(opened.manifest).encode(),
        lambda: look.inspect(bundle),
        lambda: cli.test(bundle),
        lambda: cli.run(bundle, [picture], instruction=["click the red button"], as_json=True),
    )
