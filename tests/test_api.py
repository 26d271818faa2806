"""The face for Python programs: free to import, the same settings as the command, a misspelt one answered with its neighbour."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import edgesmith
from edgesmith.exporter.commands.measure import bench, evaluate
from edgesmith.exporter.commands.measure.sweep import flow
from edgesmith.exporter.plan.plan import make_plan
from edgesmith.exporter.plan.settings import SETTINGS
from edgesmith.runtime.errors import UserMistake

CALLS = {
    "export": ("smt",),
    "load": ("smt.edge",),
    "evaluate": ("smt.edge", "photos"),
    "bench": ("smt.edge",),
    "compare": ("a.edge", "b.edge"),
    "inspect": ("smt.edge",),
    "sweep": ("smt",),
}


def _keywords(call) -> dict:
    """Name -> default of what may be left out."""
    found = inspect.signature(call).parameters.values()
    return {one.name: one.default for one in found if one.default is not one.empty}


def test_importing_it_is_free():
    code = "import sys, edgesmith; print(sorted({'numpy', 'cv2', 'torch', 'onnx', 'typer', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_everything_that_is_promised_is_there():
    assert {*CALLS, "register_model"} <= set(edgesmith.__all__)
    assert all(callable(getattr(edgesmith, name)) for name in edgesmith.__all__ if name != "__version__")


def test_export_takes_what_a_plan_takes_with_the_same_defaults():
    expected = {name: one.default for name, one in SETTINGS.items() if one.default is not ...}
    expected |= {"dry_run": False, "progress": None}
    assert _keywords(make_plan) == {"weights": expected["weights"]}
    assert _keywords(edgesmith.export) == expected


@pytest.mark.parametrize(
    ("ours", "inner"), [("bench", bench.bench), ("evaluate", evaluate.Asked), ("sweep", flow.Asked)]
)
def test_defaults_are_those_of_the_call_behind_it(ours, inner):
    here, there = _keywords(getattr(edgesmith, ours)), _keywords(inner)
    assert {name: here[name] for name in there if name in here} == {n: v for n, v in there.items() if n in here}


@pytest.mark.parametrize("name", CALLS)
def test_an_unknown_option_is_a_mistake_before_anything_is_opened(name):
    with pytest.raises(UserMistake, match=f"edgesmith.{name} has no option 'qwertz'") as caught:
        getattr(edgesmith, name)(*CALLS[name], qwertz=1)
    assert f"help(edgesmith.{name})" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "wrong", "near"),
    [
        ("export", "precison", "precision"),
        ("export", "calibration_images", "calib_images"),
        ("export", "imgsize", "image_size"),
        ("load", "thread", "threads"),
        ("evaluate", "weight", "weights"),
    ],
)
def test_a_misspelt_option_is_answered_with_the_nearest(name, wrong, near):
    with pytest.raises(UserMistake, match="did you mean") as caught:
        getattr(edgesmith, name)(*CALLS[name], **{wrong: 1})
    assert near in caught.value.attempt


def test_a_dry_run_passes_every_setting_on(tmp_path):
    plan = edgesmith.export(
        "smt", "random", precision="int8", batch="1..4", num_classes=3, out=tmp_path / "a.edge", seed=5, skip=("CleanUp",),
        calib_images=16, eval_images=0, data="random", ranges="minmax", smooth=0.5, int8_form="static", dry_run=True,
    ).plan  # fmt: skip
    assert (plan.precision, plan.num_classes, plan.seed, plan.skip) == ("int8", 3, 5, ("CleanUp",))
    assert plan.shapes.max[0] == 4 and plan.out == tmp_path / "a.edge"
    recipe = plan.calibration.recipe
    assert (recipe.rules, recipe.smooth, recipe.form) == ("minmax", 0.5, "qdq")
    assert len(plan.calibration.data.calibration) == 16
