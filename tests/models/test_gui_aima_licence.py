"""A bundle says whose its weights are: the base's, or what a folder of another network says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from grounding_folder import write_folder

from edgesmith.models.families.gui_aima.facts import LICENCE_WEIGHTS
from edgesmith.models.families.gui_aima.shape import Shape
from edgesmith.models.fixtures.fixtures import TRAINED
from edgesmith.models.folders.folder import open_folder, random_folder
from edgesmith.models.folders.licence import card, licence_of

SMALL = Shape(hidden=64)


def test_what_we_trained_ourselves_is_not_qwens():
    found = open_folder(TRAINED / "gui_aima_screens").licence
    assert found.startswith("apache-2.0") and "RESEARCH" not in found


def test_a_folder_that_says_nothing_has_the_licence_of_the_base(tmp_path: Path):
    assert open_folder(write_folder(tmp_path / "tiny")).licence == LICENCE_WEIGHTS


def test_random_weights_are_nobodys():
    assert "nobody" in random_folder(SMALL).licence


@pytest.mark.parametrize(
    ("head", "shape"),
    [
        ("license: mit", Shape()),  # as large as 3B: made of it, whatever the card says
        ("license: mit\nbase_model: Qwen/Qwen2.5-VL-3B-Instruct", SMALL),
        ("license: mit\nbase_model:\n- Qwen/Qwen2.5-VL-3B-Instruct", SMALL),
    ],
)
def test_the_licence_of_the_base_stays_beside_that_of_the_folder(tmp_path: Path, head: str, shape: Shape):
    (tmp_path / "README.md").write_text(f"---\n{head}\n---\n# A model\n")
    found = licence_of(tmp_path, shape)
    assert found.startswith(LICENCE_WEIGHTS) and found.endswith("says mit")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('---\nlicense: other\nlicense_name: "ours"\n---\n', {"license": "other", "license_name": "ours"}),
        ("---\r\nlicense: mit\r\ntags:\r\n- a\r\n---\r\n", {"license": "mit", "tags": "a"}),
        ("# Licence: mit\n", {}),
        ("---\nlicense: mit\n", {}),
        ("", {}),
    ],
)
def test_a_card_is_read_as_far_as_it_is_one(tmp_path: Path, text: str, said: dict[str, str]):
    (tmp_path / "README.md").write_bytes(text.encode())
    assert card(tmp_path / "README.md") == said


def test_a_card_of_bytes_or_without_end_is_none(tmp_path: Path):
    (tmp_path / "README.md").write_bytes(b"---\nlicense: \xff\x00mit\n---\n")
    assert card(tmp_path / "README.md")["license"].endswith("mit")
    (tmp_path / "README.md").write_bytes(b"---\n" + b"license: mit\n" * 10_000)
    assert card(tmp_path / "README.md") == {}
