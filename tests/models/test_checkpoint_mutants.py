"""Some of the damaged checkpoints of ``make fuzz`` (tools/fuzz/kinds/checkpoint.py): each is loaded, or refused in words."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

import pytest

from edgesmith.runtime.errors import UserMistake

KIND = Path(__file__).parents[2] / "tools" / "fuzz" / "kinds" / "checkpoint.py"


@pytest.fixture(scope="module")
def kind():
    spec = importlib.util.spec_from_file_location("fuzz_checkpoint", KIND)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def originals(kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    kind.prepare(folder)
    for name in ("zip.pth", "old.pth", "x.safetensors", "shards"):  # what is not damaged is used
        kind.use(folder / name)
    return folder


def test_a_damaged_checkpoint_is_loaded_or_refused_in_words(kind, originals, tmp_path):
    refused = 0
    for index in range(120):
        target = tmp_path / str(index)
        target.mkdir()
        path = kind.mutant(random.Random(f"short/{index}"), originals, target)
        try:
            kind.use(path)
        except UserMistake as mistake:
            refused += 1
            assert mistake.what and len(str(mistake)) < 4000
    assert 60 < refused < 120
