"""GUI-AIMA against the authors' code: its hidden states, attention and scores of six weighting modes (tests/data/gui_aima_tiny)."""

import grounding_folder
import numpy as np
import pytest
import torch

from edgesmith.models.families.gui_aima import judge, picture, prompt, scoring, weighting
from edgesmith.models.folders.folder import load_eager

FACTS, ARRAYS = grounding_folder.golden_facts(), grounding_folder.golden_arrays()
NEAR = 1e-5  # of the largest: another order of float32 sums; the authors' own two ways differ by 2e-7
GRID = tuple(FACTS["image"]["merged_grid_hw"])
BEFORE = FACTS["sequence"]["visual_first"]
TEMPLATE = 12


def near(found, expected):
    assert found.shape == expected.shape
    assert np.abs(found.astype(np.float64) - expected).max() <= NEAR * np.abs(expected).max()


@pytest.fixture(scope="module", params=["4.51", "5.x"])
def module(request, tmp_path_factory):
    folder = grounding_folder.write_folder(tmp_path_factory.mktemp("golden") / "x", layout=request.param, golden=True)
    return load_eager(folder)


@pytest.fixture(scope="module")
def seen(module):
    ids = ARRAYS["input_ids"][0].tolist()
    ids = ids[: FACTS["sequence"]["anchor"] + 1]
    queries = FACTS["sequence"]["pointer_start"] - FACTS["sequence"]["visual_last"] - 1
    layout = judge.Layout(BEFORE, GRID, queries, TEMPLATE)
    pixels = picture.prepared(ARRAYS["raw_image"])
    with torch.inference_mode():
        embedded = judge.embeddings(module, ids, judge.image_embeddings(module, pixels), layout)
        decoder = module.model.language_model
        return judge.run(decoder.layers, decoder.norm, decoder.rotary_emb, embedded, layout, all_of_it=True)


def test_the_picture_is_prepared_as_the_authors_do():
    raw, expected = ARRAYS["raw_image"], ARRAYS["resized_image"]
    assert picture.sizes(*raw.shape[:2]) == [tuple(FACTS["image"]["resized_hw"])]
    pixels = picture.prepared(raw)
    assert np.array_equal(pixels, picture.normalised(expected))
    rows = picture.patch_rows(pixels)
    assert rows.shape == (FACTS["image"]["patch_rows"], FACTS["image"]["patch_cols"])
    near(rows[::16], ARRAYS["pixel_values_every_16th"])
    assert rows.sum(dtype=np.float64) == pytest.approx(FACTS["image"]["pixel_values_sum"], rel=1e-6)


def test_the_size_rule_is_the_authors():
    for case in FACTS["smart_resize_cases"]:
        found = picture.resized(*case["hw"], case["max_pixels"], case["min_pixels"])
        assert found == tuple(case["resized_hw"]), case


def test_positions_are_the_authors():
    length = FACTS["sequence"]["length"]
    found = prompt.positions(BEFORE, GRID, length - BEFORE - GRID[0] * GRID[1])
    assert np.array_equal(found, ARRAYS["position_ids"][:, 0])


def test_the_vision_tower_gives_the_authors_tokens(module):
    with torch.inference_mode():
        found = judge.image_embeddings(module, picture.prepared(ARRAYS["raw_image"]))
    near(found.numpy(), ARRAYS["image_embeds"])


def test_hidden_states_are_the_authors(seen):
    assert len(seen.hidden) == 5
    for index, hidden in enumerate(seen.hidden):
        near(hidden, ARRAYS[f"hidden_states/{index}"][: len(hidden)])


def test_attention_and_sums_are_the_authors(seen):
    near(seen.attention.anchor, ARRAYS["anchor_attention"])
    near(seen.visual_sums, ARRAYS["visual_unit_sum"])


@pytest.mark.parametrize("mode", grounding_folder.MODES)
def test_scores_of_every_mode_are_the_authors(seen, mode):
    chosen = weighting.from_flags(grounding_folder.flags(mode), "x")
    assert chosen.name == mode
    count = seen.attention.queries(chosen)
    near(seen.attention.affinities[:, :count], ARRAYS[f"{mode}/query_affinity"])
    near(scoring.head_weights(seen.attention, chosen), ARRAYS[f"{mode}/head_weights"])
    near(scoring.patch_scores(seen.attention, chosen), ARRAYS[f"{mode}/patch_scores"])


def test_the_modes_are_told_apart(seen):
    """Otherwise one formula for all of them would pass."""
    all_scores = [scoring.patch_scores(seen.attention, weighting.named(mode)) for mode in grounding_folder.MODES]
    for index, one in enumerate(all_scores):
        for other in all_scores[:index]:
            assert np.abs(one - other).max() > 100 * NEAR * one.max()
