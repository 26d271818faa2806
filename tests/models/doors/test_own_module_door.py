"""A function of one's own: what it gives is taken as it is, with its weights, and what nothing says is told as assumed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from own_networks import write_file

from edgesmith.models import prepare
from edgesmith.models.registry import find, find_recorded, names_a_place
from edgesmith.runtime.errors import UserMistake


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_file(tmp_path)


def test_the_network_tells_classes_and_size_by_running_once(file: Path):
    spec = find(f"{file}:make")
    assert (spec.task, spec.num_classes, spec.contract.size, spec.usual_weights) == (
        "classification",
        5,
        (224, 224),
        "own",
    )
    assert spec.classifier == ("head",) and spec.convolutional
    assert spec.recorded_name == "net.py:make" and spec.file_name == "net"
    assert any("assumed" in line for line in spec.assumed)


def test_the_first_size_that_it_sees_is_taken(file: Path):
    assert find(f"{file}:small").contract.size == (32, 32)
    with pytest.raises(UserMistake, match="--image-size 32 32"):
        find(f"{file}:small").check_size(64)


def test_a_function_that_takes_the_size_gets_it(file: Path):
    spec = find(f"{file}:sized")
    assert spec.contract.size == (48, 48) and spec.check_size(64) == (64, 64)
    assert prepare(spec, image_size=64).module(torch.zeros(1, 3, 64, 64)).shape == (1, 4)
    assert find(f"{file}:sized", {"image_size": 40}).contract.size == (40, 40)


def test_a_dict_with_logits_and_a_tuple_of_one_are_one_tensor(file: Path):
    made = prepare(f"{file}:make", num_classes=7)
    assert made.module(torch.zeros(2, 3, 64, 64)).shape == (2, 7)
    assert made.source == "net.py:make"
    means = prepare(f"{file}:means")
    assert means.module(torch.ones(1, 3, 8, 8)).tolist() == [[1.0, 1.0, 1.0]]


def test_what_it_draws_at_random_follows_the_seed(file: Path):
    first, same, other = (prepare(f"{file}:make", seed=seed).module.head.weight for seed in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_a_checkpoint_fills_it_under_the_names_of_the_users_module(file: Path, tmp_path: Path):
    state = prepare(f"{file}:make", seed=5).module.state_dict()
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "w.pth")
    made = prepare(f"{file}:make", tmp_path / "w.pth")
    assert all(torch.equal(value, state[name]) for name, value in made.module.state_dict().items())


def test_a_module_beside_the_file_can_be_imported(tmp_path: Path):
    write_file(tmp_path, "layers.py")
    (tmp_path / "net2.py").write_text(
        "def make():\n    from layers import Net\n    return Net(2, 3)\n", encoding="utf-8"
    )
    assert find(f"{tmp_path / 'net2.py'}:make").num_classes == 3


def test_a_bundle_does_not_get_code_run_because_it_says_so(file: Path, monkeypatch):
    monkeypatch.chdir(file.parent)
    for name in ("net.py:make", "hf:somewhere", "net.onnx"):
        assert names_a_place({"model": name})
        with pytest.raises(UserMistake, match="a bundle may come from anywhere"):
            find_recorded({"model": name})
    assert find_recorded({"model": "timm:resnet18", "model_args": {"stem_width": 32}}).asked == {"stem_width": 32}
    assert find_recorded({"model": "smt_tiny"}).name == "smt_tiny"
