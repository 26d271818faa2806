"""``--ema`` and ``--no-ema`` reach the weights, and what a bundle was made of is what it is compared with."""

import pytest
import torch

from edgesmith.exporter.plan.plan import make_plan
from edgesmith.exporter.run.arguments import flags
from edgesmith.exporter.tasks.eager import eager
from edgesmith.models import find


class Bundle:
    """As much of a bundle as PyTorch's row reads."""

    name = "van_mnist"
    labels = tuple(map(str, range(10)))
    contract = find("van_mnist").contract

    def __init__(self, **weights):
        self.manifest = {"model": "van_mnist", "num_classes": 10, "weights": weights}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    plain = find("van_mnist").build().state_dict()
    average = {name: value + 1 if name == "head.bias" else value for name, value in plain.items()}
    path = tmp_path_factory.mktemp("ema") / "x.pth"
    torch.save({"state_dict": plain, "state_dict_ema": average}, path)
    return path, plain["head.bias"]


def test_pytorchs_row_is_of_the_weights_that_the_bundle_was_made_of(checkpoint):
    path, bias = checkpoint
    assert torch.equal(eager(Bundle(ema=True), str(path)).head.bias, bias + 1)
    assert torch.equal(eager(Bundle(ema=False), str(path)).head.bias, bias)
    assert torch.equal(eager(Bundle(), str(path)).head.bias, bias), "bundles of before had the plain ones"


@pytest.mark.parametrize("asked", [None, True, False])
def test_the_plan_keeps_the_choice(checkpoint, tmp_path, asked):
    assert make_plan("van_mnist", str(checkpoint[0]), out=tmp_path / "x.edge", ema=asked).to_json()["ema"] is asked


def test_a_setting_that_is_switched_off_as_key_and_value_is_off():
    known = {"--ema": False, "--no-ema": False, "--check": False, "--no-check": False, "--force": False, "--mean": True}
    assert flags(["ema=false", "check=0", "force=no"], known) == ["--no-ema", "--no-check"]
    assert flags(["ema=true"], known) == ["--ema"]


def test_three_numbers_may_have_spaces_between_as_timms_scripts_take_them():
    assert flags(["--mean", "0.5", "0.5", ".5", "-w", "x"], {}) == ["--mean", "0.5,0.5,.5", "-w", "x"]
    assert flags(["mean=[0.5,0.5,0.5]"], {"--mean": True}) == ["--mean", "[0.5,0.5,0.5]"]
