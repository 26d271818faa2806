"""What cannot be registered is refused in words, at once and whole: nothing of it is there afterwards."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from extend.model_toy import TOY_SMALL

import edgesmith
from edgesmith.calibration.judge.known import JUDGES
from edgesmith.calibration.precisions import PRECISIONS
from edgesmith.exporter.patterns.base import Pattern
from edgesmith.exporter.plan.targets import TARGETS
from edgesmith.exporter.run import arguments
from edgesmith.exporter.tasks.known import EXPORTS
from edgesmith.exporter.tasks.task import ExportTask
from edgesmith.models.registry import MODELS, find
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.tasks.known import TASKS
from edgesmith.runtime.tasks.task import Task

INT8 = PRECISIONS["int8"]
CPU = TARGETS["cpu"]


class Depth(Task):
    name = "depth"
    outputs = ("depth", "confidence")

    def answers(self, *given: Any) -> list[Any]:
        return []


class DepthExport(ExportTask):
    name = "depth"


class Other(ExportTask):
    name = "other"


class Nameless(Depth):
    name = ""


class NoTuple(Depth):
    outputs = "depth"  # type: ignore[assignment]


@pytest.fixture(autouse=True)
def empty_again(own_tables: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for table in (TASKS, EXPORTS, JUDGES, PRECISIONS, TARGETS):
        monkeypatch.setattr(table, "_things", dict(table._things))


@pytest.mark.parametrize("kind", ["model", "pattern", "precision", "target", "task"])
@pytest.mark.parametrize("thing", ["smt", 3, None, object])
def test_something_else_is_refused(kind: str, thing: Any):
    with pytest.raises(UserMistake, match="That is no "):
        getattr(edgesmith, f"register_{kind}")(thing)


@pytest.mark.parametrize(
    ("task", "parts", "words"),
    [
        (Depth, {}, "the class Depth(.|\n)*not the class itself"),
        (Nameless(), {}, "No Task can be called ''"),
        (NoTuple(), {}, "does not say what its outputs are(.|\n)*with the comma"),
        (Depth(), {"export": DepthExport}, "That is no ExportTask"),
        (Depth(), {"export": Other()}, "is for another task(.|\n)*name = 'depth'"),
        (Depth(), {"export": DepthExport(), "judge": "mine"}, "That is no TaskJudge"),
    ],
)
def test_a_task_with_a_wrong_part_leaves_nothing_behind(task: Any, parts: Any, words: str):
    with pytest.raises(UserMistake, match=words):
        edgesmith.register_task(task, **parts)
    assert "depth" not in TASKS and "depth" not in EXPORTS


def test_a_task_has_no_state_so_another_object_of_its_class_is_the_same():
    edgesmith.register_task(Depth(), DepthExport())
    assert edgesmith.register_task(Depth(), DepthExport()).name == "depth"


def test_several_outputs_need_words_on_how_they_are_joined():
    with pytest.raises(UserMistake, match="does not say how its outputs are joined(.|\n)*Depth.joined and .separated"):
        Depth().joined({"depth": np.zeros((1, 2)), "confidence": np.zeros((1, 2))})
    with pytest.raises(UserMistake, match="separated"):
        Depth().separated(np.zeros((1, 4)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"like": ""}, "No engine knows the precision mine(.|\n)*like = one of int8"),
        ({"like": "fp16"}, "No engine knows"),
        ({"codes": None}, "No engine knows"),
        ({"spellings": ("8",)}, "8 means another precision already"),
        ({"name": "auto"}, "auto means another precision"),
        ({"name": "half"}, "half means another precision"),
        ({"name": "My Own"}, "No Precision can be called 'My Own'"),
    ],
)
def test_a_precision_that_no_engine_or_command_line_could_tell(changes: dict[str, Any], words: str):
    with pytest.raises(UserMistake, match=words):
        edgesmith.register_precision(replace(INT8, **{"name": "mine", "spellings": (), "like": "int8", **changes}))
    assert "mine" not in PRECISIONS


def test_a_precision_is_always_found_by_its_name():
    edgesmith.register_precision(replace(INT8, name="mine", spellings=(), like="int8"))
    assert arguments.precision("Mine") == "mine"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "ort"}, "ort, which means cpu"),
        ({"name": "Box"}, "No Target can be called 'Box'"),
        ({"engine": "onnxruntime"}, "engine = 'onnxruntime'"),
        ({"precisions": ("fp32", "fp5")}, "the precision 'fp5'"),
        ({"default_precision": "bf16"}, "default_precision = 'bf16'"),
        ({"opset": 3}, "opset = 3(.|\n)*from 16 to 23"),
        ({"archs": ("orin",)}, "archs = 'orin'(.|\n)*such as sm87"),
    ],
)
def test_a_target_that_contradicts_itself(changes: dict[str, Any], words: str):
    with pytest.raises(UserMistake, match=words):
        edgesmith.register_target(replace(CPU, **{"name": "mine", **changes}))
    assert "mine" not in TARGETS


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ({"orders": 3}, "orders: 3"),
        ({"orders": [3]}, "orders: "),
        ({"orders": []}, "orders: "),
        ({"after": None}, "after: None"),
        ({"after": Pattern}, "after: "),
    ],
)
def test_a_pattern_with_a_place_that_is_no_name(place: Any, words: str):
    with pytest.raises(UserMistake, match=f"The place of Mine cannot be read(.|\n)*{words}"):
        edgesmith.register_pattern(type("Mine", (Pattern,), {}), **place)


@pytest.mark.parametrize("need", ["FoldConstants", (Pattern,), (("FoldConstants", 3),)])
def test_a_pattern_whose_needs_are_no_names(need: Any):
    with pytest.raises(UserMistake, match="The place of Mine cannot be read(.|\n)*runs_after: "):
        edgesmith.register_pattern(type("Mine", (Pattern,), {"runs_after": need}))


def test_a_family_does_not_take_the_name_of_a_model():
    with pytest.raises(UserMistake, match="smt_tiny is the name of a model"):
        edgesmith.register_model(replace(TOY_SMALL, family="smt_tiny"))
    assert find("smt_tiny").family == "smt" and TOY_SMALL.name not in MODELS


def test_a_family_of_one_may_have_one_name_for_both():
    spec = replace(TOY_SMALL, name="toy", family="toy")
    assert edgesmith.register_model(spec) is edgesmith.register_model(spec) is find("toy")


@pytest.mark.parametrize(
    ("module", "words"), [("no_such_module", "no Python module no_such_module"), ("json", "no function build in it")]
)
def test_a_network_that_is_not_where_its_spec_says(module: str, words: str):
    with pytest.raises(UserMistake, match=words):
        replace(TOY_SMALL, module=module).build()
