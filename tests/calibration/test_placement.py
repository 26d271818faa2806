"""Every site gets a decision, and the reason says which rule it was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgesmith.calibration.nouns import Recipe, Site
from edgesmith.calibration.sites.placement import float_convolutions, in_chains, narrow_points, place

LINEAR = Site("mlp", "MatMul", "x", "w", (192, 768), -1, 0, 1)
CONV = Site("conv", "Conv", "x", "w", (64, 64, 3, 3), 1, 1, 0, kind="conv")
POINT = replace(CONV, node="point", weight_shape=(64, 64, 1, 1), kind="linear")
STEM = replace(CONV, node="stem", kind="stem")
HEAD = Site("head", "Gemm", "x", "w", (1000, 192), -1, 1, 0, kind="head")
DEPTHWISE = replace(CONV, node="local", weight_shape=(64, 1, 7, 7), groups=64, kind="depthwise")
ALL = (LINEAR, CONV, POINT, STEM, HEAD, DEPTHWISE)


def quantised(recipe: Recipe, sites: tuple[Site, ...] = ALL) -> set[str]:
    return {node for node, decision in place(sites, recipe).items() if decision.quantise}


def test_linears_and_convolutions_are_quantised_and_the_sensitive_kinds_are_not():
    assert list(place(ALL, Recipe())) == [site.node for site in ALL]
    assert quantised(Recipe()) == {"mlp", "conv", "point"}
    assert quantised(Recipe(form="u8")) == {"mlp", "conv", "point"}
    assert quantised(Recipe(precision="fp8")) == {"mlp", "conv", "point"}


def test_dynamic_takes_products_of_matrices_only():
    recipe = Recipe(form="dynamic", also=("conv", "stem", "head"))
    assert quantised(recipe) == {"mlp", "head"}
    assert "MatMul only" in place(ALL, recipe)["conv"].why


@pytest.mark.parametrize(("shape", "pays"), [((32, 32), False), ((16, 64), False), ((48, 48), True), ((32, 128), True)])
def test_dynamic_leaves_small_products(shape, pays):
    site = replace(LINEAR, weight_shape=shape)
    decision = place([site], Recipe(form="dynamic"))["mlp"]
    assert decision.quantise is pays
    assert pays or f"{shape[0]} x {shape[1]} is too small" in decision.why
    assert place([site], Recipe())["mlp"].quantise, "the static form is judged on accuracy and on other machines"


def test_static_leaves_products_thinner_than_an_instruction():
    for site, quantise in (
        (replace(CONV, weight_shape=(8, 64, 1, 1)), False),  # eight outputs
        (replace(CONV, weight_shape=(64, 8, 1, 1)), False),  # eight inputs
        (replace(CONV, weight_shape=(64, 8, 3, 3)), True),  # the kernel counts
        (replace(CONV, weight_shape=(64, 16, 3, 3), groups=8), False),  # eight outputs in each group
    ):
        assert place([site], Recipe())["conv"].quantise is quantise


def test_also_brings_a_kind_back_and_keep_wins_over_everything():
    recipe = Recipe(also=("stem", "head"), keep={"head": "measured: 3 dB", "mlp": "asked for"})
    assert quantised(recipe) == {"conv", "point", "stem"}
    assert place(ALL, recipe)["head"].why == "measured: 3 dB"
    assert "asked for" in place(ALL, recipe)["stem"].why


def test_every_reason_is_said():
    for form in ("qdq", "dynamic", "u8", "weights"):
        assert all(decision.why for decision in place(ALL, Recipe(form=form)).values())


def test_the_portable_file_of_a_cpu_keeps_its_convolutions():
    assert quantised(Recipe(keep=float_convolutions(ALL))) == {"mlp"}


def test_narrow_points_are_1x1_convolutions_only():
    thin = replace(POINT, node="thin", weight_shape=(256, 32, 1, 1))
    spatial = replace(CONV, weight_shape=(64, 32, 3, 3))
    assert set(narrow_points((*ALL, thin, spatial))) == {"thin"}
    assert set(narrow_points((*ALL, thin), least=128)) == {"thin", "point"}
    assert "narrower than 64" in place([thin], Recipe(form="u8", keep=narrow_points([thin])))["thin"].why


def test_depthwise_layers_between_codes_are_codes_too():
    depthwise = in_chains(ALL)
    assert depthwise and set(depthwise) == {site.node for site in ALL if site.kind == "depthwise"}
    assert not place(ALL, Recipe(form="u8"))[depthwise[0]].quantise
    asked = place(ALL, Recipe(form="u8", also=depthwise))[depthwise[0]]
    assert asked.quantise and "conversion on either side" in asked.why
