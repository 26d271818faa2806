"""What a plan decides about quantisation before anything is traced: form, recipe, opset, pictures, budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from digit_pictures import arrays

from edgesmith.calibration.budget.hold import Calibration
from edgesmith.exporter.plan.plan import Plan, make_plan
from edgesmith.exporter.plan.quantised import AUTO_MAX_DROP, for_precision
from edgesmith.exporter.plan.targets import TARGETS
from edgesmith.runtime.errors import UserMistake

PICTURES = arrays(20, 20)


def plan(model: str = "vit_ggem_mnist", **choices: Any) -> Plan:
    return make_plan(model, **{"precision": "int8", "data": PICTURES, **choices})


def calibration(*model: str, **choices: Any) -> Calibration:
    found = plan(*model, **choices).calibration
    assert found is not None
    return found


@pytest.mark.parametrize(
    "model, choices, form",
    [
        ("vit_ggem_mnist", {}, "dynamic"),
        ("convit_mnist", {}, "dynamic"),
        ("van_mnist", {}, "u8"),
        ("van_mnist", {"int8_form": "static"}, "qdq"),
        ("vit_ggem_mnist", {"int8_form": "static"}, "qdq"),
        ("vit_ggem_mnist", {"int8_form": "u8"}, "u8"),
        ("vit_ggem_mnist", {"target": "openvino"}, "qdq"),
        ("van_mnist", {"target": "rtx"}, "qdq"),
        ("vit_ggem_mnist", {"target": "rtx", "int8_form": "static"}, "qdq"),
        ("vit_ggem_mnist", {"target": "jetpack6"}, "qdq"),
        ("vit_ggem_mnist", {"target": "rtx", "precision": "fp8"}, "qdq"),
        ("vit_ggem_mnist", {"precision": "int4"}, "nbits"),
        ("vit_ggem_mnist", {"precision": "int4", "target": "jetpack6"}, "weights"),
        ("vit_ggem_mnist", {"precision": "nvfp4", "target": "rtx"}, "weights"),
    ],
)
def test_the_engine_and_the_network_decide_the_form(model: str, choices: dict[str, Any], form: str):
    assert calibration(model, **choices).recipe.form == form


@pytest.mark.parametrize(
    "model, choices",
    [("vit_ggem_mnist", {}), ("vit_ggem_mnist", {"precision": "int4"}), ("smt_mnist", {"precision": "nvfp4", "target": "rtx"})],
)  # fmt: skip
def test_some_forms_need_no_pictures(model: str, choices: dict[str, Any]):
    assert calibration(model, data=None, **choices).data is None


@pytest.mark.parametrize(
    "target", [name for name, target in TARGETS.items() if "int8" in target.precisions and name != "cpu"]
)
def test_every_other_target_needs_pictures_for_int8(target: str):
    with pytest.raises(UserMistake, match="needs pictures"):
        plan(data=None, target=target)


def test_what_is_around_the_quantised_nodes_is_the_precision_of_the_target():
    assert plan().rest == "fp32" and plan(target="rtx").rest == "fp16" and plan(target="openvino").rest == "fp32"
    assert plan(precision="fp16", data=None).rest == "fp16"


def test_a_graph_to_be_quantised_is_rewritten_in_its_own_order():
    assert plan().order == "cpu-quantised" and plan(target="rtx").order == "rtx-quantised"
    assert plan(precision="fp32", data=None).order == "cpu"
    assert plan(precision="int4", target="rtx").order == "rtx"


def test_strength_rule_and_block_reach_the_recipe():
    recipe = calibration(ranges="percentile", smooth=0.5, calib_cache="somewhere").recipe
    assert (recipe.rules, recipe.smooth) == ("percentile", 0.5)
    assert calibration(smooth=0).recipe.smooth == 0
    assert calibration(precision="int4", block=32).recipe.block == 32
    assert calibration(precision="nvfp4", target="rtx", block=64).recipe.block == 16, "nvfp4 has blocks of 16 only"
    assert calibration(calib_cache="somewhere").cache == Path("somewhere") and calibration().cache is None


def test_the_pictures_are_drawn_once_and_shown_by_a_dry_run():
    found = calibration(calib_images=10, eval_images=7, max_drop=0.3)
    assert found.data is not None and (len(found.data.calibration), len(found.data.held_out)) == (10, 7)
    told = found.to_json()
    assert told["calibration"]["images"] == 10 and told["calibration"]["held_out"] == 7 and told["max_drop"] == 0.3
    assert told["calibration"]["sha256"] == found.data.calibration.digest
    assert calibration(calib_images=10, seed=1).data.calibration.digest != found.data.calibration.digest
    assert plan().pictures == (), "the held-out pictures judge, not the photographs of installed packages"


def test_floating_point_has_no_calibration_and_takes_no_flags_of_it():
    assert plan(precision="fp16", data=None).calibration is None
    for flag in ({"max_drop": 0.5}, {"calib_cache": "here"}):
        with pytest.raises(UserMistake, match="belongs to a quantised precision"):
            plan(precision="fp16", data=None, **flag)


def test_auto_has_a_budget_of_its_own_and_needs_pictures():
    assert calibration(precision="auto").max_drop == AUTO_MAX_DROP
    assert calibration(precision="auto", max_drop=0.1).max_drop == 0.1
    for data in (None, "random"):
        with pytest.raises(UserMistake, match="pictures"):
            plan(precision="auto", data=data)


def test_the_same_pictures_serve_another_precision():
    given = plan(precision="auto", target="rtx", gpu_arch="sm120", ranges="mse")
    assert given.calibration is not None
    found = for_precision(given.calibration, "fp8", given.target, given.spec)
    assert found.recipe.precision == "fp8" and found.recipe.form == "qdq" and found.recipe.rules == "mse"
    assert found.data is given.calibration.data and found.max_drop == given.calibration.max_drop


def test_the_form_asked_for_survives_auto():
    given = plan(precision="auto", int8_form="static")
    assert given.calibration is not None
    assert for_precision(given.calibration, "int8", given.target, given.spec).recipe.form == "qdq"


@pytest.mark.parametrize("opset, good", [(18, False), (19, True), (20, True)])
def test_quantised_graphs_need_opset_19(opset: int, good: bool):
    if good:
        assert plan(opset=opset).opset == opset
        return
    with pytest.raises(UserMistake, match="16-bit scales"):
        plan(opset=opset)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.001, 100.5])
def test_a_budget_is_a_number_of_points(value: float):
    with pytest.raises(UserMistake, match="max-drop"):
        plan(max_drop=value)


def test_pictures_as_one_array_have_no_labels():
    found = calibration(data=np.asarray(PICTURES["images"]), calib_images=4, eval_images=16).data
    assert found is not None and found.calibration.labels is None and len(found.held_out) == 16
