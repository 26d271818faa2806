"""The table of scales: one range and one set of codes a quantised site, the same every time, and no range without data."""

import numpy as np
import pytest
from graph_asserts import parse, weights

from edgesmith.calibration.codes.scales import build_table, weight_energy
from edgesmith.calibration.nouns import Decision, Recipe, Site
from edgesmith.calibration.sites.sites import find_sites
from edgesmith.calibration.statistics.observers import Observer, Statistics
from edgesmith.runtime.errors import EdgesmithError

NET = f"""<ir_version: 10, opset_import: ["" : 20]>
net (float[2, 16, 6, 6] x) => (float[2, 36, 24] y)
<{weights(a=(32, 8, 3, 3), b=(32, 24))}, int64[3] to = {{2, 32, 36}}>
{{
  h = Conv <group = 2, pads = [1, 1, 1, 1]> (x, a)
  r = Reshape(h, to)
  t = Transpose <perm = [0, 2, 1]> (r)
  y = MatMul(t, b)
}}
"""


DEFAULT = Recipe()


def table(recipe=DEFAULT, statistics=True, quantised=("n0", "n3")):
    model = parse(NET)
    for index, node in enumerate(model.graph):
        node.name = f"n{index}"
    x = np.random.default_rng(0).standard_normal((2, 16, 6, 6)).astype(np.float32)
    sites = find_sites(model, {"x": x})
    tensors = {}
    for site, channels in zip(sites, (16, 32), strict=True):
        values = np.random.default_rng(channels).standard_normal((2, 9, channels)).astype(np.float32)
        observer = Observer(site.input, -1)
        observer.add(values, 2)
        tensors[site.input] = observer.stats()
    decisions = {site.node: Decision(site.node in quantised, "") for site in sites}
    return build_table(model, sites, decisions, Statistics(tensors, 2, "") if statistics else None, recipe)


def test_every_quantised_site_has_a_range_and_codes():
    found = table()
    assert list(found.activations) == list(found.weights) == ["n0", "n3"]
    assert found.weights["n0"].axis == 0 and found.weights["n0"].scale.shape == (32,)
    assert found.weights["n3"].axis == 1 and found.weights["n3"].scale.shape == (24,)
    assert all(
        one.zero_point == 0 and one.tried.keys() == {"minmax", "mse", "percentile"}
        for one in found.activations.values()
    )
    assert list(table(quantised=("n3",)).weights) == ["n3"]


def test_same_statistics_same_table_and_another_recipe_another():
    assert table().sha256() == table().sha256()
    assert table(Recipe(rules="minmax")).sha256() != table().sha256()


def test_forms_that_measure_while_they_run_need_no_statistics():
    found = table(Recipe(form="dynamic"), statistics=False)
    assert not found.activations and len(found.weights) == 2


def test_a_static_form_without_statistics_says_what_is_missing():
    with pytest.raises(EdgesmithError, match="n0 has no range") as raised:
        table(statistics=False)
    assert "--data" in str(raised.value)


def test_energy_of_a_grouped_weight_is_per_channel_of_its_group():
    weight = np.random.default_rng(0).standard_normal((6, 2, 3, 3)).astype(np.float32)
    site = Site("n", "Conv", "x", "w", weight.shape, 1, 1, 0, groups=3)
    expected = [
        np.square(weight[group * 2 : group * 2 + 2, channel]).sum() for group in range(3) for channel in range(2)
    ]
    np.testing.assert_allclose(weight_energy(weight, site), expected, rtol=1e-6)
    dense = Site("n", "MatMul", "x", "w", (4, 5), -1, 0, 1)
    np.testing.assert_allclose(weight_energy(np.ones((4, 5), np.float32), dense), [5] * 4)
