"""A value of another kind is the caller's mistake, in words, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgesmith
from edgesmith.exporter.plan.settings import settings_of
from edgesmith.runtime.errors import UserMistake


@pytest.mark.parametrize(
    "choice",
    [{"seed": "x"}, {"seed": True}, {"seed": 1.5}, {"seed": None}, {"precision": []}, {"precision": 8}, {"num_classes": "x"},
     {"labels": 3}, {"opset": "x"}, {"max_drop": "0.5"}, {"calib_images": "x"}, {"eval_images": 1.5}, {"check": "no"},
     {"keep": 1}, {"target": 3}, {"weights": 3}, {"out": 3}, {"smooth": True}, {"ranges": None}, {"int8_form": 8}],
)  # fmt: skip
def test_another_kind_is_a_mistake_that_names_the_setting(choice: dict[str, Any]):
    (name,) = choice
    with pytest.raises(UserMistake, match=f"{name} is of another kind(.|\n)*{name}=") as caught:
        edgesmith.export("vit_ggem_mnist", dry_run=True, **choice)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("model", [None, 3, b"smt", Path("smt")])
def test_a_model_is_a_word(model: Any):
    with pytest.raises(UserMistake, match="model is of another kind"):
        edgesmith.export(model, dry_run=True)


def test_numbers_of_numpy_and_paths_are_as_good():
    found = settings_of(
        "smt", Path("a.pth"), {"seed": np.int64(3), "max_drop": np.float32(0.5), "smooth": 1, "precision": None}
    )
    assert (found.seed, found.max_drop, found.smooth, found.precision) == (3, 0.5, 1, None)


@pytest.mark.parametrize("bundle", [None, 3, ["a.edge"]])
def test_a_session_is_loaded_from_a_path(bundle: Any):
    with pytest.raises(UserMistake, match="this is no bundle"):
        edgesmith.load(bundle)
