"""The three parts in PyTorch against transformers' eager model over the whole sequence, and what padding and batches change."""

from __future__ import annotations

import numpy as np
import pytest
from grounding_eager import BEFORE, POINTER_PAD, POINTER_START, TEMPLATE, VISION_END, config, eager_scores, read
from grounding_folder import MODES
from grounding_parts import Small, of_maximum

from edgesmith.exporter.grounding.parts.sizes import Sizes
from edgesmith.exporter.grounding.parts.stored import Storage

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


def test_a_key_bias_left_out_or_kept_gives_the_same():
    grid, found = GRIDS[0], []
    for left_out in (True, False):
        vision, prefix, instruction = small().modules(grid, Storage(bias_left_out=left_out), "query_1")
        screen = opened(vision, prefix, grid, 3)
        found.append(instruction({**small().asked([whole(words(1, 5))], grid), **screen})["scores"])
    assert of_maximum(found[0], found[1]) < 1e-5


@pytest.mark.parametrize("bits", (16, 8, 4, 2))
def test_stored_keys_and_values_keep_their_layout_and_come_near(bits):
    grid, storage = GRIDS[0], Storage(bits)
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
