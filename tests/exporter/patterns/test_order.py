"""Every pass runs after what it names, also when passes are left out, and the patterns of others get a place of their own."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from digit_pictures import export

import edgesmith
from edgesmith.exporter.patterns import ALL, ORDER, order
from edgesmith.exporter.patterns.base import Pattern
from edgesmith.exporter.patterns.order import (
    misplaced,
    named,
    needs,
    passes_for,
    register_pattern,
    unmet,
)
from edgesmith.exporter.patterns.rewrite import rewrite
from edgesmith.exporter.run.nouns import ExportedGraph, Shapes
from edgesmith.graph.edit import replace_value
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.ground.registry import Registry

TWICE_NEGATED = """
<ir_version: 10, opset_import: ["" : 20]>
net (float[1, 4] images) => (float[1, 4] logits)
{
  a = Neg(images)
  b = Neg(a)
  logits = Relu(b)
}
"""


class DropDoubleNegation(Pattern):
    """Neg of Neg is nothing."""

    runs_after = ("FoldConstants",)

    def apply(self, model: ir.Model) -> int:
        count = 0
        for node in list(model.graph):
            first = node.inputs[0].producer() if node.op_type == "Neg" else None  # type: ignore[union-attr]
            if first is not None and first.op_type == "Neg":
                replace_value(node.outputs[0], first.inputs[0])  # type: ignore[arg-type]
                count += 1
        return count


@pytest.fixture(autouse=True)
def nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of patterns of its own for each test."""
    monkeypatch.setattr(order, "PATTERNS", Registry("pattern", order.OURS))


@pytest.fixture
def exported() -> ExportedGraph:
    return ExportedGraph(ir.from_onnx_text(TWICE_NEGATED), "net", Shapes.fixed(1, 4))


def names(word: str) -> list[str]:
    return [step.__name__ for step in passes_for(word)]


def pattern(name: str, runs_after: tuple = (), better_after: tuple = ()) -> type[Pattern]:
    return type(name, (Pattern,), {"runs_after": runs_after, "better_after": better_after, "apply": lambda self, m: 0})


# -- ours --------------------------------------------------------------------------------------------------------------


def test_every_pass_of_ours_runs_after_what_it_names():
    assert misplaced(ORDER) == []


def test_a_pass_names_only_passes_that_there_are():
    known = {step.__name__ for step, _ in ORDER}
    assert {name for step, _ in ORDER for name in named(step)} <= known


def test_a_pass_before_what_it_needs_is_found():
    turns = [(pattern("Late", ("Early",)), frozenset({"cpu"})), (pattern("Early"), ALL)]
    assert misplaced(turns) == ["Late needs Early before it, and in the order cpu it is not there"]


def test_a_pass_whose_need_runs_in_other_orders_only_is_found():
    turns = [(pattern("Early"), frozenset({"rtx"})), (pattern("Late", ("Early",)), frozenset({"cpu", "rtx"}))]
    assert misplaced(turns) == ["Late needs Early before it, and in the order cpu it is not there"]


def test_a_pass_before_what_it_is_better_after_is_found():
    turns = [(pattern("Late", (), ("Early",)), ALL), (pattern("Early"), frozenset({"cpu"}))]
    assert misplaced(turns) == ["Late is better after Early, and in the order cpu stands before it"]


def test_one_of_several_is_enough():
    either = pattern("Either", (("A", "B"),))
    assert needs(either) == [("A", "B")]
    assert unmet(either, {"B"}) == "" and unmet(either, {"C"}) == "A or B"


# -- left out ----------------------------------------------------------------------------------------------------------


def test_what_cannot_do_without_a_skipped_pass_is_left_out_and_told(exported):
    register_pattern(pattern("First"), orders=["cpu"])
    register_pattern(pattern("Second", ("First",)), orders=["cpu"])
    register_pattern(pattern("Third", ("Second",)), orders=["cpu"])
    found = rewrite(exported, "cpu", skip=["First"])
    assert not {"First", "Second", "Third"} & {record.name for record in found.passes}
    assert found.notes == (
        "Second is left out too: it needs First before it",
        "Third is left out too: it needs Second before it",
    )


def test_what_works_without_a_skipped_pass_runs(exported):
    register_pattern(pattern("First"), orders=["cpu"])
    register_pattern(pattern("Second", (), ("First",)), orders=["cpu"])
    found = rewrite(exported, "cpu", skip=["First"])
    assert "Second" in {record.name for record in found.passes} and found.notes == ()


@pytest.mark.parametrize(
    ("step", "need"), [(step.__name__, need[0]) for step, _ in ORDER for need in needs(step) if len(need) == 1]
)
def test_ours_that_cannot_do_without_a_skipped_pass_are_left_out(exported, step, need):
    found = rewrite(exported, "rtx", skip=[need])
    assert step not in {record.name for record in found.passes}
    assert f"{step} is left out too: it needs {need} before it" in found.notes


def test_the_bundle_tells_what_was_left_out_too(tmp_path):
    result = export("van_mnist", tmp_path / "van.edge", target="tensorrt", skip=["FoldNormalisedShortcut"])
    words = "RescaleTrunk is left out too: it needs FoldNormalisedShortcut before it"
    assert words in result.notes and words in (tmp_path / "van.edge/report.html").read_text()


@pytest.mark.parametrize("word", sorted(ALL))
def test_without_a_skip_every_pass_runs(exported, word):
    assert rewrite(exported, word).notes == ()


# -- of others ---------------------------------------------------------------------------------------------------------


def test_a_registered_pattern_runs_in_its_orders(exported):
    assert register_pattern(DropDoubleNegation, orders=["cpu"]) is DropDoubleNegation
    found, other = rewrite(exported, "cpu"), rewrite(exported, "rtx")
    assert [record.count for record in found.passes if record.name == "DropDoubleNegation"] == [1]
    assert [node.op_type for node in found.model.graph] == ["Relu"]
    assert [node.op_type for node in other.model.graph] == ["Neg", "Neg", "Relu"]


def test_it_can_be_skipped_by_its_name(exported):
    edgesmith.register_pattern(DropDoubleNegation)
    assert len(rewrite(exported, "cpu", skip=["DropDoubleNegation"]).model.graph) == 3


def test_it_stands_behind_what_it_runs_after():
    register_pattern(pattern("Mine", ("FoldConstants", "DropZeroPads")))
    found = names("cpu")
    assert found[found.index("Mine") - 1] == "DropZeroPads"


def test_it_stands_behind_the_pass_that_is_told():
    register_pattern(pattern("Mine", ("FoldConstants",)), after="FoldBatchNorm")
    for word in ALL:
        found = names(word)
        assert found[found.index("Mine") - 1] == "FoldBatchNorm"


def test_one_that_names_nothing_runs_before_the_closing_clean_up():
    register_pattern(pattern("Mine"))
    register_pattern(pattern("Yours"))
    assert names("cpu")[-3:] == ["Mine", "Yours", "CleanUp"]


def test_several_behind_one_pass_keep_the_order_in_which_they_came():
    register_pattern(pattern("Mine"), after="FoldBatchNorm")
    register_pattern(pattern("Yours"), after="FoldBatchNorm")
    found = names("cpu")
    assert found[found.index("FoldBatchNorm") :][:3] == ["FoldBatchNorm", "Mine", "Yours"]


def test_one_may_stand_behind_another_of_others():
    register_pattern(pattern("Mine"), after="FoldBatchNorm")
    register_pattern(pattern("Yours", ("Mine",)))
    found = names("cpu")
    assert found[found.index("Mine") + 1] == "Yours"


def test_the_same_pattern_twice_is_once():
    for _ in range(2):
        register_pattern(DropDoubleNegation, orders="cpu")
    assert names("cpu").count("DropDoubleNegation") == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: register_pattern(int), ("no pattern", "int", "patterns.base.Pattern")),  # type: ignore[type-var]
        (lambda: register_pattern(pattern("Mine"), orders=["cpus"]), ("no order 'cpus'", "Mine", "did you mean cpu")),
        (lambda: register_pattern(pattern("Mine"), after="FoldBatchnorm"), ("no pass", "did you mean FoldBatchNorm")),
        (lambda: register_pattern(pattern("Mine", ("FoldShape",))), ("no pass", "did you mean FoldShapes")),
        (lambda: register_pattern(pattern("Mine", ("FoldBatchNorm",)), after="FoldShapes"),
         ("before what it needs", "FoldBatchNorm", 'after="...')),
        (lambda: register_pattern(pattern("Mine", ("MergeLevels",))), ("before what it needs", "in the order cpu it is not")),
        (lambda: register_pattern(pattern("CleanUp")), ("There is a pattern CleanUp already",)),
    ],
)  # fmt: skip
def test_what_cannot_be_registered_is_refused_in_words(call, words):
    with pytest.raises(UserMistake) as failure:
        call()
    assert all(word in str(failure.value) for word in words), str(failure.value)


def test_a_refused_pattern_leaves_nothing_behind():
    with pytest.raises(UserMistake):
        register_pattern(pattern("Mine", ("FoldBatchNorm",)), after="FoldShapes")
    assert "Mine" not in names("cpu")


def test_the_passes_that_put_fused_ops_in_are_told_in_their_order():
    class PutMine(order.Fuse):
        ops = ("Mine",)

        def apply(self, model: ir.Model) -> int:
            return 0

    ours = [step.__name__ for step in order.fuses()]
    assert ours == [step.__name__ for step, _ in ORDER if step.__name__.startswith("Fuse")]
    assert "FuseGatedPositionalAttention" in ours
    register_pattern(PutMine)
    assert [step.__name__ for step in order.fuses()] == [*ours, "PutMine"]


def test_a_pass_that_runs_several_times_is_one_row_with_the_sum(exported):
    class CountThree(Pattern):
        def apply(self, model: ir.Model) -> int:
            self.decline(model.graph.node(0), "never here")
            return 3

    turns = [(CountThree, ALL), (DropDoubleNegation, ALL), (CountThree, ALL)]
    register_pattern(CountThree)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "_turns", lambda: turns)
        patch.setattr(DropDoubleNegation, "runs_after", ())
        found = rewrite(exported, "cpu")
    assert [(record.name, record.count) for record in found.passes] == [("CountThree", 6), ("DropDoubleNegation", 1)]
    assert [len(record.refused) for record in found.passes][1] == 0
