"""A pass that is wrong on somebody's network is found, left out and named; nothing is left out where the passes are not to blame.

No pass of ours may be left out of an export of a family: tests/conftest.py forbids it everywhere but here.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgesmith import export
from edgesmith.exporter.patterns import ALL, order
from edgesmith.exporter.patterns.base import Pattern
from edgesmith.graph.read import is_op
from edgesmith.runtime.errors import EdgesmithError, ParityFailed

pytestmark = pytest.mark.may_leave_out


def weights(model):
    """The weights of the products and convolutions, large ones first."""
    found = [
        node.inputs[1]
        for node in model.graph
        if (is_op(node, "Conv") or is_op(node, "Gemm")) and node.inputs[1].const_value is not None
    ]
    return sorted(found, key=lambda value: -value.const_value.size)


class HalvesAWeight(Pattern):
    """Wrong on purpose."""

    def apply(self, model):
        value = weights(model)[0]
        value.const_value = ir.tensor(value.const_value.numpy() * np.float32(0.5), name=value.name)
        return 1


class DoublesAWeight(HalvesAWeight):
    """Wrong on purpose, elsewhere."""

    def apply(self, model):
        value = weights(model)[1]
        value.const_value = ir.tensor(value.const_value.numpy() * np.float32(2), name=value.name)
        return 1


class Raises(Pattern):
    def apply(self, model):
        raise IndexError("a form that nobody thought of")


class TakesAnInputAway(Pattern):
    """The graph it leaves is none."""

    def apply(self, model):
        node = next(node for node in model.graph if is_op(node, "Conv"))
        node.replace_input_with(0, ir.Value(name="nowhere"))
        return 1


@pytest.fixture
def with_passes(monkeypatch):
    def put(*patterns, first=False):
        ours = list(order.ORDER)
        turns = [(pattern, ALL) for pattern in patterns]
        monkeypatch.setattr(order, "ORDER", [*ours[:1], *turns, *ours[1:]] if first else [*ours, *turns])

    return put


def exported(tmp_path, **choices):
    return export("van_mnist", "random", out=tmp_path / "x.edge", **choices).bundle


def named(bundle):
    return [one["name"] for one in bundle.manifest["rewrite"]["left_out"]]


@pytest.mark.parametrize("first", [False, True])
def test_the_guilty_pass_is_left_out_and_named_with_the_node(with_passes, tmp_path, first):
    with_passes(HalvesAWeight, first=first)
    bundle = exported(tmp_path)
    assert named(bundle) == ["HalvesAWeight"] and bundle.manifest["rewrite"]["skipped"] == []
    (told,) = [note for note in bundle.manifest["notes"] if note.startswith("left out")]
    assert told.startswith("left out: HalvesAWeight, it changed the numbers, first at ") and "relative error" in told
    assert "Left out: HalvesAWeight, it changed the numbers" in (bundle.path / "report.html").read_text()
    others = [row for row in bundle.manifest["rewrite"]["passes"] if row["count"]]
    assert len(others) == 3 and all(row["passed"] for row in bundle.manifest["parity"])


def test_two_of_them_are_both_found(with_passes, tmp_path):
    with_passes(HalvesAWeight, DoublesAWeight)
    assert sorted(named(exported(tmp_path))) == ["DoublesAWeight", "HalvesAWeight"]


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (Raises, "it stops with IndexError: a form that nobody thought of"),
        (TakesAnInputAway, "its graph cannot be loaded: "),
    ],
)
def test_one_that_raises_or_breaks_the_graph_is_left_out(with_passes, tmp_path, pattern, why):
    with_passes(pattern)
    bundle = exported(tmp_path)
    (one,) = bundle.manifest["rewrite"]["left_out"]
    assert one["name"] == pattern.__name__ and one["why"].startswith(why)


def test_who_asks_to_verify_each_hears_of_it_instead(with_passes, tmp_path):
    with_passes(HalvesAWeight)
    with pytest.raises(ParityFailed, match="the pass HalvesAWeight changes the numbers"):
        exported(tmp_path, verify_each=True)


def test_nothing_is_left_out_where_the_traced_graph_is_off_itself(monkeypatch, tmp_path):
    from edgesmith.exporter.trace import trace as tracing

    right = tracing.trace

    def off(*given, **named):
        graph = right(*given, **named)
        HalvesAWeight().apply(graph.model)
        return graph

    monkeypatch.setattr(tracing, "trace", off)
    with pytest.raises(ParityFailed, match="the exported graph is off already"):
        exported(tmp_path)


def test_a_traced_graph_that_cannot_be_loaded_is_told_as_such(monkeypatch, tmp_path):
    from edgesmith.exporter.trace import trace as tracing

    right = tracing.trace

    def broken(*given, **named):
        graph = right(*given, **named)
        TakesAnInputAway().apply(graph.model)
        return graph

    monkeypatch.setattr(tracing, "trace", broken)
    with pytest.raises(EdgesmithError, match="The graph that torch's exporter wrote cannot be loaded"):
        exported(tmp_path)
    assert not (tmp_path / "x.edge").exists()


def test_what_is_right_leaves_nothing_out(tmp_path):
    assert named(exported(tmp_path)) == []
