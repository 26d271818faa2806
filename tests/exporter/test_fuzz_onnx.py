"""A short run of the mutants of ONNX files: each is used, or refused in words (the long one is ``make fuzz``)."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from types import ModuleType

import pytest

from edgesmith.runtime.errors import EdgesmithError

KIND = Path(__file__).parents[2] / "tools" / "fuzz" / "kinds" / "onnx_file.py"
FEW = 16  # in seconds; most are refused at the door


@pytest.fixture(scope="module")
def kind() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_onnx_file", KIND)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def originals(kind: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    kind.prepare(folder)
    return folder


def used(kind: ModuleType, path: Path) -> str:
    """What it was refused for, "" where it was used."""
    try:
        kind.use(path)
    except EdgesmithError as error:
        return error.what
    return ""


def test_mutants_are_used_or_refused_in_words(kind: ModuleType, originals: Path, tmp_path: Path):
    ends = []
    for index in range(FEW):
        target = tmp_path / str(index)
        target.mkdir()
        ends.append(used(kind, kind.mutant(random.Random(f"short/{index}"), originals, target)))
    assert sum(map(bool, ends)) > FEW / 3, "damage is found"


@pytest.mark.parametrize("name", ["blocks", "qdq_beside"])
def test_the_originals_are_used(kind: ModuleType, originals: Path, tmp_path: Path, name: str):
    mutant = kind.mutant(random.Random(0), originals, tmp_path)  # brings what it is compared with
    path = mutant.with_name(f"{name}.onnx")
    path.write_bytes((originals / path.name).read_bytes())
    for data in originals.glob("*.data"):
        (tmp_path / data.name).write_bytes(data.read_bytes())
    assert used(kind, path) == ""


def test_a_seed_is_always_the_same_mutant(kind: ModuleType, originals: Path, tmp_path: Path):
    made = []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        made.append(kind.mutant(random.Random("same"), originals, tmp_path / place).read_bytes())
    assert made[0] == made[1]
