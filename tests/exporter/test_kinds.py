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


@pytest.mark.parametrize(
    ("call", "places", "choice"),
    [
        (edgesmith.bench, ("x.edge",), {"rounds": 1.5}),
        (edgesmith.bench, ("x.edge",), {"rounds": True}),
        (edgesmith.bench, ("x.edge",), {"rounds": "30"}),
        (edgesmith.bench, ("x.edge",), {"threads": None}),
        (edgesmith.bench, ("x.edge",), {"memory": 1}),
        (edgesmith.bench, ("x.edge",), {"clock": 3}),
        (edgesmith.bench, ("x.edge",), {"weights": 3}),
        (edgesmith.bench, (3,), {}),
        (edgesmith.evaluate, ("x.edge", "data"), {"limit": "3"}),
        (edgesmith.evaluate, ("x.edge", "data"), {"score": True}),
        (edgesmith.evaluate, ("x.edge", "data"), {"iou": "0.5"}),
        (edgesmith.evaluate, ("x.edge", 3), {}),
        (edgesmith.evaluate, (["x.edge", 3], "data"), {}),
        (edgesmith.evaluate, ([], "data"), {}),
        (edgesmith.evaluate, (None, "data"), {}),
        (edgesmith.evaluate, ("x.edge", "data"), {"save": 3}),
        (edgesmith.compare, ("x", None), {}),
        (edgesmith.compare, (b"x", "y"), {}),
        (edgesmith.compare, ("x", "y"), {"num_classes": 2.0}),
        (edgesmith.compare, ("x", "y"), {"precision": 16}),
        (edgesmith.compare, ("x", "y"), {"data": 3}),
        (edgesmith.inspect, (3,), {}),
        (edgesmith.inspect, ("x",), {"gpu_arch": 89}),
    ],
)
def test_the_other_calls_of_the_face_look_at_their_kinds_too(call: Any, places: Any, choice: dict[str, Any]):
    with pytest.raises(UserMistake, match=rf"edgesmith.{call.__name__}: \w+ is of another kind") as caught:
        call(*places, **choice)
    assert caught.value.expected and all(name in str(caught.value) for name in choice)


def test_more_rounds_than_memory_holds_are_refused():
    from edgesmith.runtime.session.benchmark import measure

    with pytest.raises(UserMistake, match="cannot be measured"):
        measure({"x": lambda: None}, rounds=10**12)


@pytest.mark.parametrize("path", ["a\0b", "a" * 5000, "b/" * 3000])
def test_a_path_that_no_system_has_is_no_bundle(path: str):
    with pytest.raises(UserMistake) as caught:
        edgesmith.load(path)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("count", ["3", 1.5, True, 0, None])
def test_the_number_of_classes_that_are_asked_for_is_a_whole_number(count: Any):
    from edgesmith.runtime.tasks.classification import top_k

    with pytest.raises(UserMistake, match="at least one class"):
        top_k(np.zeros((1, 2)), ["a", "b"], count)


@pytest.mark.parametrize(
    ("path", "why"), [("a\0b", "a byte of it is zero"), ("a" * 300, "it is too long"), ("b/" * 3000, "it is too long")]
)
def test_a_path_that_no_system_has(path: str, why: str):
    with pytest.raises(UserMistake, match=f"bundle is no path(.|\n)*{why}"):
        edgesmith.bench(path)
