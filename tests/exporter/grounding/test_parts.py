"""The three parts in PyTorch against transformers' eager model over the whole sequence, and what padding and batches change."""

from __future__ import annotations

import numpy as np
import pytest
from grounding_eager import BEFORE, POINTER_PAD, POINTER_START, TEMPLATE, VISION_END, config, eager_scores, read
from grounding_folder import MODES
from grounding_graphs import Small, of_maximum, on_onnxruntime

from edgesmith.exporter.grounding.parts.sizes import Sizes
from edgesmith.exporter.grounding.parts.stored import Storage
from edgesmith.exporter.plugins.kv.rotate import sink_tokens
from edgesmith.runtime.tasks.grounding.screens.kv_bytes import KIVI, ROTATEKV, SCHEMES

GRIDS = ((5, 7), (8, 4), (3, 9))  # windows at the edges; none; one row of windows


def small() -> Small:
    return Small(Sizes.of(config()), read, BEFORE)


def pixels(grid: tuple[int, int], seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).standard_normal((3, *grid)).astype(np.float32)
    fine = np.random.default_rng(seed + 1).standard_normal((3, 28 * grid[0], 28 * grid[1])).astype(np.float32)
    return coarse.repeat(28, axis=1).repeat(28, axis=2) + fine / 2


def words(seed: int, count: int) -> list[int]:
    return [int(word) for word in np.random.default_rng(seed).integers(1, 270, count)]


def whole(instruction: list[int]) -> list[int]:
    return [VISION_END, *instruction, *TEMPLATE, POINTER_START, POINTER_PAD]


def opened(run, prefix, grid, *seeds):
    """What is stored of screens of one size, as a batch."""
    pictures = np.stack([pixels(grid, seed) for seed in seeds])
    return prefix(run({"pixels": pictures}))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("grid", GRIDS)
def test_the_prefix_path_is_the_full_path(grid, mode):
    vision, prefix, instruction = small().modules(grid, Storage(), mode)
    screen = opened(vision, prefix, grid, 3)
    for count in (1, 4, 9):
        asked = words(count, count)
        scores = instruction({**small().asked([whole(asked)], grid), **screen})["scores"][0]
        wanted = eager_scores(pixels(grid, 3), asked, mode)
        assert of_maximum(scores, wanted) < 1e-4
        assert scores.argmax() == wanted.argmax()


@pytest.mark.parametrize("mode", MODES)
def test_padding_and_batches_change_no_answer(mode):
    grid = GRIDS[0]
    vision, prefix, instruction = small().modules(grid, Storage(), mode)
    both = opened(vision, prefix, grid, 3, 5)
    asked = [whole(words(1, 3)), whole(words(2, 8))]
    together = instruction({**small().asked(asked, grid, columns=40), **both})["scores"]
    for row, one in enumerate(asked):
        alone = {name: array[row : row + 1] for name, array in both.items()}
        single = instruction({**small().asked([one], grid), **alone})["scores"][0]
        assert of_maximum(together[row], single) < 1e-5


@pytest.mark.parametrize("stored", [(32, KIVI), (8, KIVI), (8, ROTATEKV)], ids=str)
def test_a_key_bias_left_out_or_kept_gives_the_same(stored):
    grid, found = GRIDS[0], []
    bits, scheme = stored
    for left_out in (True, False):
        vision, prefix, instruction = small().modules(grid, Storage(bits, left_out, scheme), "query_1")
        screen = opened(vision, prefix, grid, 3)
        found.append(instruction({**small().asked([whole(words(1, 5))], grid), **screen})["scores"])
    # of codes up to their step, which is that of keys with a bias where it is kept
    assert of_maximum(found[0], found[1]) < (1e-5 if bits == 32 else 0.04)


@pytest.mark.parametrize("stored", [(16, KIVI), *((bits, scheme) for bits in (8, 4, 2) for scheme in SCHEMES)], ids=str)
def test_stored_keys_and_values_keep_their_layout_and_come_near(stored):
    grid, (bits, scheme) = GRIDS[0], stored
    storage = Storage(bits, scheme=scheme)
    vision, prefix, instruction = small().modules(grid, storage, "query_1")
    screen = opened(vision, prefix, grid, 3)
    tokens = len(BEFORE) + grid[0] * grid[1]
    specs = storage.specs(small().sizes.text, 1, tokens)
    assert {name: screen[name].shape for name in storage.names} == {name: shape for name, (shape, _) in specs.items()}
    scores = instruction({**small().asked([whole(words(1, 5))], grid), **screen})["scores"][0]
    wanted = eager_scores(pixels(grid, 3), words(1, 5), "query_1")
    error = of_maximum(scores, wanted)
    # a code's step is the range over 2^bits - 1; a wrong scale, plane or bias gives errors of 1 and more
    assert error < {16: 2e-3, 8: 0.02, 4: 0.3, 2: 0.6}[bits]
    assert scores.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_graphs_of_rotated_keys_give_what_the_modules_give():
    grid, storage = GRIDS[0], Storage(8, scheme=ROTATEKV)
    parts = small()
    vision, prefix, instruction = parts.modules(grid, storage, "query_1")
    embeds = vision({"pixels": np.stack([pixels(grid, 3), pixels(grid, 5)])})
    asked = parts.asked([whole(words(1, 3)), whole(words(2, 8))], grid)
    stored = on_onnxruntime(parts.prefix(grid, storage))(embeds)
    wanted = prefix(embeds)
    assert {name: (one.shape, one.dtype) for name, one in stored.items()} == {
        name: (one.shape, one.dtype) for name, one in wanted.items()
    }
    assert np.array_equal(stored["key_slot"], wanted["key_slot"])
    run = on_onnxruntime(parts.instruction(storage, "query_1"))
    for kept in (stored, wanted):
        found = run({**asked, **kept})["scores"]
        # engines sum in their own order, so a code between two values may be the other one: a 255th of a range
        assert of_maximum(found, instruction({**asked, **wanted})["scores"]) < (2e-3 if kept is stored else 1e-5)


def test_the_tokens_that_rotated_keys_keep_are_the_largest_of_what_goes_into_the_layer():
    grid, storage = GRIDS[0], Storage(2, scheme=ROTATEKV)
    vision, prefix, _ = small().modules(grid, storage, "query_1")
    embeds = vision({"pixels": pixels(grid, 3)[None]})
    text = read("model.language_model.embed_tokens.weight")[list(BEFORE)]
    first = np.concatenate([text, embeds["image_embeds"][0]])
    slot = prefix(embeds)["key_slot"][0]
    assert np.array_equal(slot[0], sink_tokens(first))
    assert not np.array_equal(slot[0], slot[-1])


@pytest.mark.parametrize("wrong", [(3, KIVI), (16, ROTATEKV), (4, "some")], ids=str)
def test_bits_and_schemes_that_there_are_not_are_refused(wrong):
    with pytest.raises(ValueError, match="bits"):
        Storage(wrong[0], scheme=wrong[1])
