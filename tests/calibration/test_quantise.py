"""The flow on the trained fixtures: what int8 keeps of the accuracy, that balancing is exact, and that nothing is random."""

import numpy as np
import onnx_ir as ir
import pytest
from trained import NAMES, trained

from edgesmith.calibration.balance.equalise import equalise
from edgesmith.calibration.balance.smooth import smooth
from edgesmith.calibration.nouns import Recipe
from edgesmith.calibration.quantise import quantise
from edgesmith.runtime.errors import EdgesmithError

SQNR = 33.0  # dB of the logits, the goal of docs/quantisation.md; 30 dB was enough on every network tried
LOST = 0.3  # points of top-1 on 1000 digits
EXACT = 120.0  # dB: float32 rounding alone


def all_share(fixture, kinds=("linear", "conv", "stem")):
    """Share of the MACs of layers with a weight that the sites of these kinds have."""
    return sum(site.share for site in fixture.sites if site.kind in kinds) / sum(site.share for site in fixture.sites)


def check(name):
    fixture = trained(name)
    statistics = fixture.statistics()
    found = quantise(fixture.model, statistics, Recipe(), fixture.sites)
    sqnr, lost, _ = fixture.judge(found)
    assert sqnr >= SQNR and lost <= LOST, (sqnr, lost)
    stems = tuple(site.node for site in fixture.sites if site.kind == "stem")
    sqnr, lost, _ = fixture.judge(quantise(fixture.model, statistics, Recipe(also=stems), fixture.sites))
    assert sqnr >= SQNR and lost <= LOST, ("with the stem", sqnr, lost)
    return found


def test_vit_in_int8_keeps_its_accuracy():
    found = check("vit_ggem_mnist")
    assert found.share > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES[1:])
def test_int8_keeps_the_accuracy(name):
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_ggem_mnist", "convit_mnist", "davit_mnist"])
def test_95_percent_of_the_weighted_macs_in_int8(name):
    """Attention products have no weight and stay; they are 4 to 16 % of the MACs of networks this narrow."""
    assert all_share(trained(name)) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("target", ["rtx", "cpu"])
@pytest.mark.parametrize("name", NAMES)
def test_balancing_does_not_change_the_float32_answer(name, target):
    fixture = trained(name, target)
    model, statistics, smoothed = smooth(fixture.model, fixture.sites, fixture.statistics(), 0.75)
    model, statistics, equalised = equalise(model, fixture.sites, statistics)
    assert any(group["ratio"] > 1.5 for group in smoothed + equalised), "nothing was balanced, so nothing is tested"
    assert fixture.judge(model)[0] >= EXACT
    fresh = fixture.statistics(model).tensors
    for key, found in statistics.tensors.items():
        scale = float(found.absmax.max())
        np.testing.assert_allclose(found.absmax, fresh[key].absmax, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["rtx", "cpu"])
@pytest.mark.parametrize("name", NAMES)
def test_every_normalisation_before_linear_layers_is_smoothed(name, target):
    """What is left alone is what another reader forbids: the norm after a norm of SMT, the GGeM pooling of ViT."""
    fixture = trained(name, target)
    _, _, groups = smooth(fixture.model, fixture.sites, fixture.statistics(), 0.75)
    norms = [node for node in fixture.model.graph if node.op_type == "LayerNormalization"]
    told = {group["source"]: group for group in groups}
    assert set(told) == {node.name for node in norms}
    left = [group for group in groups if not group["nodes"]]
    assert all(group["refused"] for group in left)
    assert len(left) == {"vit_ggem_mnist": 1, "smt_mnist": 4}.get(name, 0), left


def test_quantising_is_deterministic_and_leaves_the_graph_alone():
    fixture = trained("vit_ggem_mnist")
    before = ir.to_proto(fixture.model).SerializeToString()
    one, two = (quantise(fixture.model, fixture.statistics(), Recipe(), fixture.sites) for _ in range(2))
    assert one.scales.sha256() == two.scales.sha256()
    assert ir.to_proto(one.model).SerializeToString() == ir.to_proto(two.model).SerializeToString()
    assert ir.to_proto(fixture.model).SerializeToString() == before


def test_sites_are_found_where_none_are_given():
    fixture = trained("vit_ggem_mnist")
    found = quantise(fixture.model, fixture.statistics(), Recipe())
    assert (
        found.scales.sha256() == quantise(fixture.model, fixture.statistics(), Recipe(), fixture.sites).scales.sha256()
    )


def test_an_unknown_form_is_refused():
    fixture = trained("vit_ggem_mnist")
    with pytest.raises(EdgesmithError, match="no form"):
        quantise(fixture.model, None, Recipe(form="int9"), fixture.sites)
