"""The float32 limit follows what float32 costs PyTorch itself, and no further."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from edgesmith import export, load, register_model
from edgesmith.exporter.run.own_error import own_error
from edgesmith.exporter.run.runners import torch_runner
from edgesmith.exporter.tasks.rows import agreement, within_rounding
from edgesmith.models.registry import FAMILIES, MODELS
from edgesmith.models.spec import ModelSpec
from edgesmith.runtime.ground.limits import FP32, FP32_MAX_ABS, FP32_MOST_ABS, OWN_ERRORS
from edgesmith.runtime.pictures.contract import ImageContract
from edgesmith.runtime.tasks.selftest import agreement as selftest

IMAGES = np.random.default_rng(0).standard_normal((3, 3, 4, 4), dtype=np.float32)


class Cancels(torch.nn.Module):
    """Adds a large number and takes it away again: float32 loses digits that float64 keeps."""

    def __init__(self, large):
        super().__init__()
        self.large = torch.nn.Parameter(torch.tensor(float(large)))

    def forward(self, x):
        return (x.flatten(1)[:, :10] + self.large) - self.large


def measured(module, batch=2):
    return own_error(module, torch_runner(module), IMAGES, batch, ("logits",))


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_it_is_the_distance_of_float32_from_float64(batch):
    module = Cancels(1000.0)
    exact = module.double()(torch.from_numpy(IMAGES).double()).detach().numpy()
    module.float()
    found = module(torch.from_numpy(IMAGES)).detach().numpy()
    assert measured(module, batch) == pytest.approx(np.abs(exact - found).max(), rel=1e-3)
    assert measured(module, batch) > 1e-5
    assert module.large.dtype == torch.float32


def test_a_network_that_makes_float32_of_its_own_has_none():
    class Mixes(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1) @ torch.ones(48, 10)

    class GoesBack(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1).float()

    assert measured(Mixes()) == 0.0 and measured(GoesBack()) == 0.0


def row_of(error):
    expected = np.ones((2, 5), np.float32)
    return agreement("rewritten", "x", "seeded", (2, 3, 4, 4), expected, expected + np.float32(error), FP32)


def test_the_limit_of_a_row_follows_it():
    row = row_of(5e-5)
    assert not row.passed and row.limit == f"max abs <= {FP32_MAX_ABS:.1e}"
    held = within_rounding(row, 2e-5)
    assert (
        held.passed and held.limit == f"max abs <= {OWN_ERRORS * 2e-5:.1e} (4 times what float32 costs PyTorch itself)"
    )
    assert not within_rounding(row, 1e-5).passed  # four times that is less than it is off
    assert within_rounding(row, 0.0).limit == row.limit


def test_no_cost_of_float32_lets_a_wrong_graph_pass():
    assert not within_rounding(row_of(2 * FP32_MOST_ABS), 1.0).passed


def test_a_device_is_held_to_it_too():
    expected = np.ones((2, 5), np.float32)
    found = expected + np.float32(5e-5)
    assert not selftest("logits", expected, found, FP32).passed
    assert selftest("logits", expected, found, FP32, own_error=2e-5).passed


class Deep(torch.nn.Module):
    """Sums of large numbers that almost cancel: another order of the same sums is off by more than the usual limit."""

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 512, 3)
        self.head = torch.nn.Conv2d(512, 10, 1)
        with torch.no_grad():
            self.stem.bias.add_(1000.0)
            self.head.weight.sub_(self.head.weight.mean(dim=1, keepdim=True))

    def forward(self, x):
        return self.head(self.stem(x)).mean((2, 3))


@pytest.fixture
def deep(monkeypatch):
    """``Deep`` as a model of somebody's own."""
    module = ModuleType("deep_net")
    module.build = lambda num_classes, image_size: Deep()
    monkeypatch.setitem(sys.modules, "deep_net", module)
    for table in (MODELS, FAMILIES):
        monkeypatch.setattr(table, "_things", dict(table._things))
    facts = {"paper": "", "licence_code": "", "licence_weights": "", "contract": ImageContract(size=(32, 32))}
    register_model(ModelSpec(name="deep", family="deep", module="deep_net", parameters=19466, num_classes=10, **facts))


def test_an_export_takes_a_right_graph_that_float32_blurs_and_tells_the_device(deep, tmp_path):
    bundle = export("deep", "random", out=tmp_path / "deep.edge").bundle
    wider = [row for row in bundle.manifest["parity"] if "times what float32 costs PyTorch itself" in row["limit"]]
    assert wider and all(row["passed"] and row["max_abs"] > FP32_MAX_ABS for row in wider)
    assert bundle.manifest["precision_report"]["golden_own_error"] > FP32_MAX_ABS / OWN_ERRORS
    with load(bundle.path) as session:
        assert all(row.passed for row in session.self_test())


@pytest.mark.parametrize("fails", [False, True])
def test_a_network_too_large_to_be_copied_is_turned_layer_by_layer_and_back(monkeypatch, fails):
    module = torch.nn.Sequential(torch.nn.Flatten(), Cancels(1000.0), torch.nn.Linear(10, 10), torch.nn.BatchNorm1d(10))
    if fails:
        module.append(torch.nn.Hardtanh()).append(torch.nn.Linear(11, 1))
    before = {name: value.clone() for name, value in module.eval().state_dict().items()}
    expected = 0.0 if fails else measured(module)
    monkeypatch.setattr("edgesmith.exporter.run.own_error.COPIED_BYTES", 0)
    with torch.no_grad():
        float32 = (lambda images: np.zeros((2, 10), np.float32)) if fails else torch_runner(module)
        assert own_error(module, float32, IMAGES, 2, ("logits",)) == expected
    assert fails or expected > 1e-5
    for name, value in module.state_dict().items():
        assert value.dtype == before[name].dtype and torch.equal(value, before[name])
