"""Channels of the tower evened out: the network answers as before, and what the pictures showed to be large is small."""

from __future__ import annotations

import numpy as np
import pytest
from grounding_folder import write_folder

from edgesmith.exporter.grounding.few_bits.smooth import groups, smoothed
from edgesmith.models.folders.folder import ModelFolder, open_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    return open_folder(write_folder(tmp_path_factory.mktemp("weights") / "tiny"))


def large(folder: ModelFolder) -> dict[str, np.ndarray]:
    """Inputs of all products with a few channels a hundred times larger than the rest."""
    found = {}
    for number, group in enumerate(groups(folder)):
        for name in group.sinks:
            act = np.random.default_rng(number).uniform(0.5, 2, folder.tensors[name].shape[1])
            act[:: len(act) // 4] *= 100
            found[name] = act.astype(np.float32)
    return found


def tower(folder: ModelFolder, pixels: np.ndarray) -> np.ndarray:
    from edgesmith.models.families.gui_aima.judge import image_embeddings
    from edgesmith.models.families.gui_aima.network import fill, skeleton

    module, prefix = skeleton(folder.shape), "model.visual."
    values = {name: one.read().float() for name, one in folder.tensors.items() if name.startswith(prefix)}
    fill(module.model.visual, values, prefix)
    return image_embeddings(module, pixels).detach().numpy()


def test_the_tower_answers_as_before(folder: ModelFolder):
    found = smoothed(folder, large(folder), 0.75)
    pixels = np.random.default_rng(0).standard_normal((3, 168, 224), dtype=np.float32)
    plain, even = tower(folder, pixels), tower(found.of(folder), pixels)
    # float32 sums in other sizes
    assert np.abs(plain - even).max() < 1e-5 * np.abs(plain).max()
    assert found.ratio > 10


def test_queries_and_keys_keep_their_rows_and_words_keep_everything(folder: ModelFolder):
    even = smoothed(folder, large(folder), 0.75).of(folder)
    name = "model.visual.blocks.0.attn.qkv.bias"
    plain, changed = (one.tensors[name].read().float().numpy() for one in (folder, even))
    queries_and_keys = len(plain) // 3 * 2
    assert np.array_equal(plain[:queries_and_keys], changed[:queries_and_keys])
    assert not np.array_equal(plain[queries_and_keys:], changed[queries_and_keys:])
    words = "model.language_model.layers.0.mlp.up_proj.weight"
    assert even.tensors[words] is folder.tensors[words]


def test_a_channel_that_is_large_is_divided_where_it_is_made_and_multiplied_where_it_is_read(folder: ModelFolder):
    even = smoothed(folder, large(folder), 0.75).of(folder)
    norm, qkv = "model.visual.blocks.0.norm1.weight", "model.visual.blocks.0.attn.qkv.weight"
    share = [
        even.tensors[name].read().float().numpy() / folder.tensors[name].read().float().numpy() for name in (norm, qkv)
    ]
    queries = share[1][:8]
    assert np.allclose(share[0] * queries, 1, rtol=1e-5)
    assert share[0][0] < 0.2 * np.median(share[0])


def test_every_product_of_the_tower_but_the_last_is_met(folder: ModelFolder):
    met = {name for group in groups(folder) for name in group.sinks}
    every = {name for name, one in folder.tensors.items() if name.startswith("model.visual.") and len(one.shape) == 2}
    assert every - met == {"model.visual.merger.mlp.2.weight"}  # behind a GELU
