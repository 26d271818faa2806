"""Accuracy on real pictures survives every rewrite and precision: the fixtures, 1000 held-out digits."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
RECORDED = {
    name: record
    for name, record in json.loads((ROOT / "models" / "fixtures" / "trained" / "accuracy.json").read_text()).items()
    if "accuracy" in record  # the detector has a precision: tests/models/test_trained_detector.py
}


@pytest.fixture(scope="module")
def accuracy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmarks_accuracy", ROOT / "benchmarks" / "accuracy.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_family_has_a_fixture_that_learned_something():
    families = {name.removesuffix("_mnist") for name in RECORDED}
    assert families == {"convit", "smt", "davit", "van", "vit_ggem"}
    assert min(record["accuracy"] for record in RECORDED.values()) >= 0.93


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_accuracy_after_the_rewrites_and_in_fp16(accuracy: ModuleType, name: str):
    exported = accuracy.traced(name)
    # an exact rewrite can flip a digit only where two classes tie within rounding; fp16 may flip one more
    assert abs(accuracy.correct(exported, "cpu", "fp32") - RECORDED[name]["correct"]) <= 1
    assert abs(accuracy.correct(exported, "rtx", "fp16") - RECORDED[name]["correct"]) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(RECORDED))
def test_bf16_keeps_the_accuracy_that_was_recorded(accuracy: ModuleType, name: str):
    exported = accuracy.traced(name)
    # 8 bits of mantissa: up to half a point on a thousand digits
    assert abs(accuracy.correct(exported, "rtx", "bf16") - RECORDED[name]["correct"]) <= 5
