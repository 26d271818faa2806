"""A model family from outside the package, in one file (model_toy.py): found, listed, exported, loaded from a checkpoint."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import edgesmith as command
from extend.model_toy import TOY_SMALL, add

import edgesmith
from edgesmith.models import create, find
from edgesmith.models.fixtures.fixtures import TRAINED
from edgesmith.runtime.errors import UserMistake

HERE = Path(__file__).parent
PICTURE = np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8)


@pytest.fixture(autouse=True)
def toy(own_tables: None) -> None:
    add()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """As the toy's trainer would write it; batch norm has seen something."""
    module = create("toy", seed=3)
    torch.save({f"net.{name}": value for name, value in module.state_dict().items()}, tmp_path / "toy.pth")
    return tmp_path / "toy.pth"


def test_the_first_variant_is_the_familys_default_and_adding_it_again_changes_nothing():
    add()
    assert find("toy") is find("Toy-Small") is TOY_SMALL
    assert sum(parameter.numel() for parameter in create("toy").parameters()) == TOY_SMALL.parameters


def test_it_is_exported_with_random_weights_to_a_bundle_that_runs(tmp_path: Path):
    result = edgesmith.export("toy_small", out=tmp_path / "toy.edge")
    assert all(row.passed for row in result.parity)
    with edgesmith.load(result.path) as session:
        assert {guess.label for guess in session(PICTURE).top()} == set(TOY_SMALL.label_names)
        assert all(row.passed for row in session.self_test())


def test_it_is_exported_with_a_checkpoint_whose_names_it_renames_itself(tmp_path: Path, checkpoint: Path):
    result = edgesmith.export("toy", checkpoint, out=tmp_path / "toy.edge")
    from edgesmith.runtime.pictures.preprocess import preprocess

    feeds = preprocess([PICTURE], TOY_SMALL.contract)
    with edgesmith.load(result.path) as session, torch.inference_mode():
        (found,) = session.run({session.inputs[0].name: feeds}).values()
        expected = create("toy", seed=3)(torch.from_numpy(feeds)).numpy()
    assert np.abs(found - expected).max() < 1e-5


def test_a_checkpoint_of_ours_is_told_from_the_toys():
    with pytest.raises(UserMistake, match="--model van_mnist"):
        create("toy", TRAINED / "van_mnist.safetensors")


def test_names_near_to_it_are_answered_with_it_and_errors_list_its_family():
    with pytest.raises(UserMistake, match="did you mean toy_small") as caught:
        find("toy_smal")
    assert "gui_aima, toy or a variant" in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "because"),
    [
        (replace(TOY_SMALL, parameters=1), "There is a model toy_small already"),
        (replace(TOY_SMALL, name="Toy-Large"), "the name 'toy_large'"),
        (replace(TOY_SMALL, name=""), "cannot be called ''"),
        (replace(TOY_SMALL, name="damoyolo"), "name of a family or an alias"),
        (replace(TOY_SMALL, name="toy"), "name of a family or an alias"),
        (replace(TOY_SMALL, name="other", family="other", module=None), "module=__name__"),
    ],
)
def test_a_spec_that_could_not_be_found_or_built_is_refused(spec, because):
    with pytest.raises(UserMistake, match=because):
        edgesmith.register_model(spec)


def test_a_variant_of_a_family_of_ours_needs_no_module():
    edgesmith.register_model(replace(find("van_mnist"), name="van_mine", fixture=False, config={"dims": (8, 8, 8, 8)}))
    assert create("van_mine").head.in_features == 8
    assert find("van").name == "van_b0", "the family keeps its default"


def test_an_installed_package_is_listed_by_the_command(tmp_path: Path):
    installed = tmp_path / "toy-0.1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 0.1\n")
    (installed / "entry_points.txt").write_text("[edgesmith]\ntoy = model_toy:add\n")
    paths = [str(tmp_path), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "edgesmith", "list"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (line,) = [line for line in done.stdout.splitlines() if "toy" in line]
    assert line.split() == ["toy_small*", "classification", "3,221", "32x32", "-", "Apache-2.0"]


def test_the_command_exports_it(tmp_path: Path):
    answer = command("export", "--model", "toy", "--out", str(tmp_path / "toy.edge"), "--json")
    assert answer.code == 0 and (tmp_path / "toy.edge" / "model.onnx").is_file()
