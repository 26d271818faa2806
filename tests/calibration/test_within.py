"""A real graph, really quantised: the scan finds the node that was made bad, and the budget gives back that one alone."""

import hashlib
import math
from functools import cache
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from graph_asserts import parse

from edgesmith.calibration.budget.promote import promote
from edgesmith.calibration.budget.within import keep_within, scanned, without
from edgesmith.calibration.judge.accuracy import sqnr_db
from edgesmith.calibration.judge.classification import judge_logits
from edgesmith.calibration.judge.evaluation import Evaluation, any_batch
from edgesmith.calibration.nouns import QuantisedGraph, Recipe
from edgesmith.calibration.quantise import blank, quantise
from edgesmith.calibration.sites.sites import find_sites
from edgesmith.calibration.statistics.collect import collect

WIDE, CLASSES = 32, 10
SITES = ("first", "bad", "third", "last")


class Pictures:
    """Seeded noise, as an ImageSet has it."""

    contract = None

    def __init__(self, count: int, seed: int) -> None:
        self.array = np.random.default_rng(seed).standard_normal((count, 3, 4, 4)).astype(np.float32)
        self.digest = hashlib.sha256(self.array.tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.array)

    def batches(self, size: int, start: int = 0):
        for first in range(start, len(self.array), size):
            yield self.array[first : first + size]


def net(batch: str = "B", site: str = "bad", size: float = 300.0) -> ir.Model:
    """Four linears; ``site`` reads channels of which one is ``size`` times the others, and its weights shrink that again."""
    rng = np.random.default_rng(3)
    shapes = {"first": (48, WIDE), "bad": (WIDE, WIDE), "third": (WIDE, WIDE), "last": (WIDE, CLASSES)}
    gain = np.ones(WIDE, np.float32)
    gain[5] = size
    arrays = {
        name: (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32) for name, shape in shapes.items()
    }
    arrays[site] /= gain[:, None]
    read = {"bad": "b", "third": "d", "last": "f"}[site]  # what the outlier grows in
    inputs = {"b": "b", "d": "d", "f": "f", read: "outlier"}
    declared = "".join(f", float[{k}, {n}] w_{name}" for name, (k, n) in shapes.items())
    model = parse(f"""
        <ir_version: 10, opset_import: ["" : 20]>
        net (float[{batch}, 3, 4, 4] images{declared}, float[{WIDE}] gain) => (float[{batch}, {CLASSES}] logits)
        <int64[2] flat = {{-1, 48}}>
        {{
          x = Reshape(images, flat)
          a = MatMul(x, w_first)
          b = Tanh(a)
          {"outlier = Mul(b, gain)" if read == "b" else ""}
          c = MatMul({inputs["b"]}, w_bad)
          d = Tanh(c)
          {"outlier = Mul(d, gain)" if read == "d" else ""}
          e = MatMul({inputs["d"]}, w_third)
          f = Tanh(e)
          {"outlier = Mul(f, gain)" if read == "f" else ""}
          logits = MatMul({inputs["f"]}, w_last)
        }}""")
    del model.graph.inputs[1:]
    for name, array in {**{f"w_{name}": array for name, array in arrays.items()}, "gain": gain}.items():
        value = ir.Value(
            name=name,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.FLOAT),
            const_value=ir.tensor(array, name=name),
        )
        model.graph.register_initializer(value)
        for node in model.graph:
            for index, old in enumerate(node.inputs):
                if old is not None and old.name == name:
                    node.replace_input_with(index, value)
    for node in model.graph:
        weight = node.inputs[1].name if len(node.inputs) > 1 else ""
        node.name = weight[2:] if node.op_type == "MatMul" else f"node_{node.outputs[0].name}"
    return model


@cache
def quantised(tmp: str, form: str = "qdq", batch: str = "B") -> tuple[QuantisedGraph, Evaluation]:
    model = net(batch)
    sites = find_sites(model, blank(model))
    assert [site.node for site in sites] == list(SITES)
    statistics = collect(
        model, {site.input: site.in_axis for site in sites}, Pictures(64, 1), cache=Path(tmp), threads=1
    )
    recipe = Recipe(form=form, also=SITES, smooth=0, equalise=False)
    graph = quantise(model, statistics, recipe, sites)
    return graph, judge_logits(Pictures(503, 2), any_batch(model, threads=1))


@pytest.fixture(scope="module")
def tmp(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("form", ["qdq", "dynamic"])
def test_the_scan_finds_the_node_with_the_outlier(tmp, form):
    graph, _ = quantised(tmp, form)
    rows = scanned(graph, Pictures(64, 1))
    assert len(rows) == sum(decision.quantise for decision in graph.decisions.values()) >= 3
    assert rows[0].node == "bad" and rows[0].sqnr_db < rows[1].sqnr_db - 6
    assert all(math.isfinite(row.sqnr_db) for row in rows), "every node was really quantised"


def test_one_node_goes_back_and_the_budget_holds(tmp):
    graph, evaluation = quantised(tmp)
    lines = []
    found = keep_within(graph, evaluation, 3.0, Pictures(64, 1), on_row=lines.append)
    before, after = found.rows[0].figures, found.row.figures
    assert before.drop.points > 3.0 >= after.drop.points and found.met
    assert list(found.keep) == ["bad"] and after.sqnr_db > before.sqnr_db + 6
    assert [row.high for row in lines] == [0, 1]
    site = next(site for site in graph.sites if site.node == "bad")
    assert found.graph.share == pytest.approx(graph.share - site.share)
    assert (
        not found.graph.decisions["bad"].quantise and found.graph.decisions["bad"].why == found.graph.recipe.keep["bad"]
    )
    assert "one-node SQNR" in found.keep["bad"] and "points" in found.keep["bad"]


def test_a_node_that_goes_back_reads_its_float_input_and_weight(tmp):
    graph, evaluation = quantised(tmp)
    some = without(graph, {"bad": "a reason", "third": "another"})
    high = {str(node.name): {value.name for value in node.inputs} for node in some.model.graph}["bad"]
    assert high == {"outlier", "w_bad"} and set(some.scales.weights) == {"first", "last"}
    nothing = without(graph, dict.fromkeys(SITES, "none left"))
    assert nothing.share == 0 and evaluation.evaluate(any_batch(nothing.model)).sqnr_db > 100
    assert without(graph, {}) is graph


def test_a_graph_of_fixed_batch_takes_any_number_of_pictures(tmp):
    images = Pictures(11, 4).array
    free, fixed = any_batch(net(), threads=1)(images), any_batch(net("4"), threads=1)(images)
    assert free.shape == (11, CLASSES)
    np.testing.assert_allclose(fixed, free, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("size", "taken"), [(1.0, True), (300.0, False)])
def test_the_last_layer_is_quantised_where_measured_better(tmp, size, taken):
    """The head of this net has 8 % of the MACs; an outlier in what it reads decides."""
    model = net(site="last", size=size)
    sites = find_sites(model, blank(model))
    assert [site.kind for site in sites] == ["stem", "linear", "linear", "head"]
    statistics = collect(
        model, {site.input: site.in_axis for site in sites}, Pictures(64, 1), cache=Path(tmp), threads=1
    )

    def make(recipe: Recipe) -> QuantisedGraph:
        return quantise(model, statistics, recipe, sites)

    plain = make(Recipe(smooth=0, equalise=False, keep={"first": "kept on purpose"}))
    found = promote(plain, make, Pictures(64, 1))
    assert (
        found.decisions["last"].quantise is taken
        and ("brings" if taken else "would bring") in found.decisions["last"].why
    )
    assert found.decisions["first"].why == "kept on purpose", "what the user keeps is not tried"
    assert (found.share > plain.share) is taken
    measured = [
        sqnr_db(any_batch(found.base)(Pictures(64, 5).array), any_batch(graph.model)(Pictures(64, 5).array))
        for graph in (plain, found)
    ]
    assert measured[1] > measured[0] - 3.5
