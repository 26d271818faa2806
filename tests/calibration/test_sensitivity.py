"""The scan against closed forms: the noise of a node is what its weight error does to the output."""

import math

import numpy as np
import onnx_ir as ir
import pytest
from graph_asserts import parse, weights

from edgesmith.calibration.judge.sensitivity import Sensitivity, order, pictures_for, scan
from edgesmith.calibration.sites.sites import find_sites

CHAIN = f"""
<ir_version: 10, opset_import: ["" : 20]>
chain (float[B, 3, 4, 4] images) => (float[B, 8] logits)
<int64[2] flat = {{0, -1}}, {weights(w_first=(48, 16), w_second=(16, 16), w_third=(16, 8))}>
{{
  x = Reshape(images, flat)
  a = MatMul(x, w_first)
  b = Relu(a)
  c = MatMul(b, w_second)
  d = Relu(c)
  logits = MatMul(d, w_third)
}}
"""


@pytest.fixture
def model() -> ir.Model:
    model = parse(CHAIN)
    for node in model.graph:
        node.name = f"node_{node.outputs[0].name}"
    return model


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((200, 3, 4, 4)).astype(np.float32)


def with_error(model: ir.Model, sites, size: float) -> ir.Model:
    """A copy in which the weights of ``sites`` carry a seeded error of relative ``size``."""
    copy = model.clone()
    for site in sites:
        value = copy.graph.initializers[site.weight]
        array = value.const_value.numpy()
        noise = np.random.default_rng(sum(site.weight.encode())).standard_normal(array.shape) * size * array.std()
        value.const_value = ir.tensor((array + noise).astype(np.float32), name=site.weight)
    return copy


def run(model: ir.Model, images: np.ndarray) -> np.ndarray:
    """numpy, so that the scan is judged by another implementation."""
    w = [model.graph.initializers[name].const_value.numpy() for name in ("w_first", "w_second", "w_third")]
    x = np.maximum(images.reshape(len(images), -1) @ w[0], 0)
    return np.maximum(x @ w[1], 0) @ w[2]


def test_the_scan_measures_each_node_alone(model, images):
    sites = find_sites(model, {"images": images[:1]})
    sizes = dict(zip((site.node for site in sites), (0.02, 0.2, 0.005), strict=True))
    reference, seen = run(model, images), []
    rows = scan(
        sites,
        lambda site: with_error(model, [site], sizes[site.node]),
        images,
        reference,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [row.node for row in rows] == ["node_c", "node_a", "node_logits"], "worst first"
    assert seen == [(1, 3), (2, 3), (3, 3)]
    for row in rows:
        site = next(site for site in sites if site.node == row.node)
        error = run(with_error(model, [site], sizes[row.node]), images) - reference
        assert row.sqnr_db == pytest.approx(10 * math.log10((reference**2).sum() / (error**2).sum()), abs=0.01)
        assert (row.share, row.op, row.kind) == (site.share, "MatMul", site.kind)


def test_noises_of_nodes_add_up(model, images):
    sites = find_sites(model, {"images": images[:1]})
    reference = run(model, images)
    rows = scan(sites, lambda site: with_error(model, [site], 0.02), images, reference)
    error = run(with_error(model, sites, 0.02), images) - reference
    together = 10 * math.log10((reference**2).sum() / (error**2).sum())
    added = -10 * math.log10(sum(row.noise for row in rows))  # nearly independent, so they add up
    assert added == pytest.approx(together, abs=1.0)


def test_a_node_that_breaks_the_output_comes_first(model, images):
    sites = find_sites(model, {"images": images[:1]})

    def broken(site):
        return with_error(model, [site], math.inf if site.node == "node_c" else 0.02)

    rows = scan(sites, broken, images, run(model, images))
    assert rows[0].node == "node_c" and rows[0].sqnr_db == -math.inf
    assert order(rows)[0].node == "node_c" and math.isinf(rows[0].noise)


def row(node: str, sqnr_db: float, share: float) -> Sensitivity:
    return Sensitivity(node, "MatMul", "linear", sqnr_db, share)


def test_order_weighs_noise_against_macs():
    cheap, dear, tiny, clean = (
        row("cheap", 31, 0.02),
        row("dear", 30, 0.3),
        row("tiny", 60, 0.0),
        row("0", math.inf, 0.1),
    )
    assert [found.node for found in order((dear, cheap, tiny, clean))] == ["cheap", "dear", "tiny", "0"]
    # without an overhead for each node, a node without MACs would go back first however little it disturbs


def test_ties_keep_the_order_of_the_graph():
    same = [row(name, 40.0, 0.1) for name in "cab"]
    assert [found.node for found in order(same)] == list("cab")


def test_big_graphs_are_scanned_on_fewer_pictures(model, images):
    sites = find_sites(model, {"images": images[:1]})
    assert pictures_for(sites) == 64
    big = [type(sites[0])(**{**vars(site), "macs": site.macs * 10**9}) for site in sites]
    assert pictures_for(big) == 16
    assert pictures_for(()) == 64
