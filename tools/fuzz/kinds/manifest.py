"""Manifests: values of other kinds, sealed again so that what stands behind the hash is reached; old ones have no hash."""

from __future__ import annotations

import json
import random as random_
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bundles import chosen, copied, use_bundle, write_originals
from json_damage import damaged, damaged_text

NAME = "manifest"
MANIFEST = "manifest.json"
SEAL = "manifest_sha256"


def prepare(folder: Path) -> None:
    write_originals(folder)


def mutant(random: random_.Random, folder: Path, target: Path) -> Path:
    from sealed import edit_manifest

    original = chosen(random, folder)
    bundle = copied(original, target, MANIFEST)
    text = (original / MANIFEST).read_bytes()
    if random.random() < 0.08:
        (bundle / MANIFEST).write_bytes(damaged_text(random, text))
        return bundle
    document = damaged(random, json.loads(text), 1 + int(random.expovariate(1)))
    (bundle / MANIFEST).write_text(json.dumps(document))
    if isinstance(document, dict) and SEAL in json.loads(text):
        edit_manifest(bundle)
    return bundle


def use(path: Path) -> None:
    use_bundle(path)
