"""A folder given as weights: what another system left beside the checkpoint is none of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesmith.models.weights.place import weights_file
from edgesmith.runtime.errors import UserMistake


@pytest.mark.parametrize("name", ["mine.safetensors", "mine.safetensors.index.json"])
def test_files_of_a_foreign_disk_are_no_second_checkpoint(name: str, tmp_path: Path):
    (tmp_path / name).write_bytes(b"")
    (tmp_path / f"._{name}").write_bytes(b"left by macOS")
    assert weights_file(tmp_path) == tmp_path / name


def test_they_are_none_alone_either(tmp_path: Path):
    (tmp_path / "._mine.safetensors").write_bytes(b"left by macOS")
    with pytest.raises(UserMistake, match="no checkpoint in this folder"):
        weights_file(tmp_path)
