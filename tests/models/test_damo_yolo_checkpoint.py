"""Official checkpoints load: a pickle of epoch, model, optimizer and feature_loss, of which only model is taken."""

import argparse
import collections

import damo_yolo_reference as reference
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from edgesmith.models.checkpoint import read_checkpoint
from edgesmith.models.damo_yolo import LAYOUTS, DamoYolo
from edgesmith.models.damo_yolo_deploy import is_training_form, to_deploy
from edgesmith.models.damo_yolo_picture import contract
from edgesmith.models.loading import prepare
from edgesmith.models.spec import ModelSpec
from edgesmith.runtime.errors import UserMistake


class Trainer:
    """An object of the authors' training code, which a pickle names and a reader must not build."""


def spec(variant, deploy=False):
    """As the registry will have it."""
    return ModelSpec(
        name=f"damo_yolo_{variant}",
        family="damo_yolo",
        paper="",
        licence_code="",
        licence_weights="",
        parameters=0,
        contract=contract((416, 416)),
        config={"variant": variant, "deploy": deploy},
        num_classes=80,
    )


@pytest.fixture(scope="module")
def state():
    return {name: torch.from_numpy(value) for name, value in reference.state("nano_small").items()}


@pytest.fixture(scope="module")
def training_state():
    return {name: torch.from_numpy(value) for name, value in reference.state("tiny").items()}


def saved(path, tensors, **others):
    torch.save({"epoch": 300, **others, "model": collections.OrderedDict(tensors)}, path)
    return path


@pytest.mark.parametrize(
    "others",
    [
        {},
        {
            "optimizer": {
                "state": {0: {"momentum_buffer": torch.ones(3)}},
                "param_groups": [{"lr": 0.01, "params": [0]}],
            }
        },
        {"args": argparse.Namespace(lr=0.1), "best": np.float64(0.42)},
        {"feature_loss": {"align_module.0.weight": torch.ones(2)}},  # of a distillation; None without one
        {"ema": {"head.scales.0.scale": torch.tensor(9.0)}, "feature_loss": None},
    ],
    ids=["alone", "optimizer", "namespace", "distilled", "averaged"],
)
def test_the_tensors_are_taken_from_among_other_objects(tmp_path, state, others):
    file = saved(tmp_path / "damoyolo_nano_small.pth", state, **others)
    loaded = prepare(spec("nano_small"), file)
    ours = loaded.module.state_dict()
    assert not loaded.module.training and loaded.num_classes == 80
    assert ours.keys() == state.keys() and all(torch.equal(ours[name], value) for name, value in state.items())


@pytest.mark.parametrize("wrapped", ["module.", "_orig_mod."])
def test_prefixes_of_a_training_are_taken_off(tmp_path, state, wrapped):
    file = saved(tmp_path / "net.pth", {wrapped + name: value for name, value in state.items()})
    assert prepare(spec("nano_small"), file).module.state_dict().keys() == state.keys()


def test_a_pickled_object_is_refused_by_name_and_never_built(tmp_path, state):
    file = saved(tmp_path / "net.pth", state, trainer=Trainer())
    with pytest.raises(UserMistake) as caught:
        prepare(spec("nano_small"), file)
    assert "Trainer" in str(caught.value) and "not run" in str(caught.value) and "safetensors" in str(caught.value)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_bytes(b"not a checkpoint at all"), "not a PyTorch checkpoint"),
        (lambda path: torch.save({"model": {"epoch": 3}}, path), "no named tensors"),
        (
            lambda path: torch.save({"model": {"head.gfl_cls.0.bias": torch.full((80,), torch.nan)}}, path),
            "not numbers",
        ),
    ],
    ids=["empty", "text", "no tensors", "nan"],
)
def test_a_file_that_is_no_checkpoint(tmp_path, make, told):
    make(tmp_path / "net.pth")
    with pytest.raises(UserMistake, match=told):
        prepare(spec("nano_small"), tmp_path / "net.pth")


def test_a_file_that_was_cut_off(tmp_path, state):
    file = saved(tmp_path / "net.pth", state)
    file.write_bytes(file.read_bytes()[:-200_000])
    with pytest.raises(UserMistake, match="not a PyTorch checkpoint, or not a whole one"):
        prepare(spec("nano_small"), file)


def test_the_checkpoint_of_another_variant_is_refused(tmp_path, state):
    file = saved(tmp_path / "net.pth", state)
    with pytest.raises(UserMistake, match="does not fit damo_yolo_nano_large"):
        prepare(spec("nano_large"), file)


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_the_deploy_form_from_a_training_checkpoint(tmp_path, training_state, kind):
    """What an export does: read the official tensors, fold, load; another file may hold the folded ones already."""
    file = tmp_path / f"tiny.{kind}"
    saved(file, training_state) if kind == "pth" else save_file(training_state, file)
    tensors = read_checkpoint(file).tensors
    assert is_training_form(tensors)
    module = DamoYolo(LAYOUTS["tiny"], deploy=True)
    module.load_state_dict(to_deploy(tensors))
    save_file(module.state_dict(), tmp_path / "deploy.safetensors")
    again = prepare(spec("tiny", deploy=True), tmp_path / "deploy.safetensors").module.state_dict()
    assert not is_training_form(again)
    assert all(torch.equal(again[name], value) for name, value in module.state_dict().items())


def test_own_classes(tmp_path):
    torch.manual_seed(0)
    trained = DamoYolo(LAYOUTS["nano_small"], num_classes=3)
    file = saved(tmp_path / "mine.pth", trained.state_dict())
    assert prepare(spec("nano_small"), file, num_classes=3).module.num_classes == 3
