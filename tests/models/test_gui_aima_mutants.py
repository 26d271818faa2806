"""Some of the damaged folders of ``make fuzz`` (tools/fuzz/kinds/folder.py): each is loaded, or refused in words."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

import pytest

from edgesmith.runtime.errors import UserMistake

KIND = Path(__file__).parents[2] / "tools" / "fuzz" / "kinds" / "folder.py"
COUNT = 60


def test_a_damaged_folder_is_loaded_or_refused_in_words(tmp_path, monkeypatch):
    import sys

    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("fuzz_folder", KIND)
    kind = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kind)
    kind.prepare(tmp_path)
    for layout in ("4.51", "5.x"):  # what is not damaged is used
        kind.use(tmp_path / layout)
    refused = 0
    for index in range(COUNT):
        target = tmp_path / str(index)
        target.mkdir()
        path = kind.mutant(random.Random(f"short/{index}"), tmp_path, target)
        try:
            kind.use(path)
        except UserMistake as mistake:
            refused += 1
            assert len(str(mistake)) < 2_000
            assert str(tmp_path) not in str(mistake), "the folder that a checkpoint lies in is nobody's business"
        except Exception as error:  # noqa: BLE001
            pytest.fail(f"short/{index}: {type(error).__name__}: {error}")
    assert COUNT / 3 < refused < COUNT
