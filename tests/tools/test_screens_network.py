"""The network that learns is transformers' Qwen2.5-VL and GUI-AIMA's weighting, in another order of the same arithmetic."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

SCREENS = Path(__file__).parents[2] / "tools" / "screens"


@pytest.fixture(scope="module")
def learn() -> Iterator[Any]:
    sys.path.insert(0, str(SCREENS))
    from learn import batches, clicks, network, prompt, shape, targets, tokens
    from screen import screen

    yield SimpleNamespace(
        batches=batches,
        clicks=clicks,
        network=network,
        prompt=prompt,
        shape=shape,
        targets=targets,
        tokens=tokens,
        screen=screen,
    )
    sys.path.remove(str(SCREENS))


@pytest.fixture(scope="module")
def small(learn: Any) -> Any:
    """Weights at random, biases and norms too, so that none can be left out unseen."""
    told = learn.tokens.tokenizer(learn.prompt.FIXED)
    words = learn.prompt.Words.of(told)
    torch.manual_seed(0)
    config = learn.shape.config(told)
    grounder = learn.network.Grounder(config, words.before)
    with torch.no_grad():
        for p in grounder.parameters():
            p.copy_(p * 2 if p.ndim > 1 else p + 0.1 * torch.randn_like(p))
    return SimpleNamespace(grounder=grounder, words=words, config=config)


def transformers_scores(small: Any, pictures: Any, tail: Any, rows: int, columns: int) -> torch.Tensor:
    """One forward of transformers' model with all maps and states, then the formulas of query_1 as they are written."""
    model, config, before = small.grounder.model.model, small.config, small.grounder.before
    patches = pictures.view(1, 3, rows, 2, 14, columns, 2, 14).permute(0, 2, 5, 3, 6, 1, 4, 7)
    patches = patches.reshape(-1, 3, 1, 14, 14).expand(-1, 3, 2, 14, 14).reshape(-1, 3 * 2 * 14 * 14)
    image = torch.full((rows * columns,), config["image_token_id"])
    ids = torch.cat([before, image, tail])[None]
    small.grounder.model.set_attn_implementation("eager")
    out = model(
        input_ids=ids,
        pixel_values=patches,
        image_grid_thw=torch.tensor([[1, 2 * rows, 2 * columns]]),
        mm_token_type_ids=(ids == config["image_token_id"]).int(),
        output_hidden_states=True,
        output_attentions=True,
        use_cache=False,
    )
    states = F.normalize(torch.stack(out.hidden_states[1:])[:, 0], dim=-1)  # (L, S, D)
    maps = torch.stack(out.attentions)[:, 0]  # (L, heads, S, S)
    first, last = len(before), len(before) + rows * columns
    queries = slice(last, ids.shape[1] - 2)
    affinity = torch.einsum("lqd,ld->q", states[:, queries], states[:, first:last].sum(dim=1))
    best = last + int(affinity.argmax())
    weights = maps[:, :, best, first:last].sum(dim=-1).flatten().softmax(dim=0)
    scores = (weights[:, None] * maps[:, :, -1, first:last].flatten(0, 1)).sum(dim=0)
    return scores / (scores.sum() + 1e-8)


@pytest.mark.parametrize("size", [(252, 336), (280, 392)])
def test_scores_are_those_of_transformers(learn: Any, small: Any, size: tuple[int, int]):
    rows, columns = size[0] // 28, size[1] // 28
    packed = learn.batches.pack([learn.screen(index, "held_out", size) for index in (3, 4)], small.words, 3)
    with torch.inference_mode():
        prefix = small.grounder.read(small.grounder.see(packed.pictures), rows, columns)
        found = small.grounder.point(prefix, packed.tokens, packed.lengths).scores
        assert len(packed.lengths.unique()) > 1  # padding is at work
        for b, i in packed.counts.nonzero().tolist():
            tail = packed.tokens[b, i, -packed.lengths[b, i] :]
            expected = transformers_scores(small, packed.pictures[b : b + 1], tail, rows, columns)
            # float32 sums in another order: 5e-7 of the maximum is seen here
            assert (found[b, i] - expected).abs().max() <= 1e-5 * expected.max()


def test_words_of_the_screens_are_one_token_and_the_template_twelve(small: Any):
    from words import vocabulary

    encode = small.words.tokenizer.encode
    assert all(len(encode(f" {word}").ids) == 1 for word in vocabulary())
    assert len(small.words.prompt.after) == 12
    assert small.words.tokenizer.decode(encode("klick Ünders 42!").ids) == "klick Ünders 42!"


def test_labels_are_where_the_box_is_and_heaviest_at_its_centre(learn: Any):
    labels = learn.targets.soft_labels(torch.tensor([[28.0, 28.0, 112.0, 56.0], [14.0, 0.0, 42.0, 28.0]]), 3, 5).view(
        2, 3, 5
    )
    assert torch.allclose(labels.sum(dim=(1, 2)), torch.ones(2))
    assert labels[0].nonzero().tolist() == [[1, 1], [1, 2], [1, 3]]
    assert labels[0, 1, 2] > labels[0, 1, 1] and torch.isclose(labels[0, 1, 1], labels[0, 1, 3])
    assert torch.allclose(labels[1, 0, :2], torch.tensor([0.5, 0.5]))


def test_the_loss_is_zero_where_scores_are_the_labels_and_counts_only_what_is_asked(learn: Any):
    labels = torch.tensor([[[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]])
    wrong = torch.tensor([[[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]])
    first, both = torch.tensor([[True, False]]), torch.tensor([[True, True]])
    assert learn.targets.pointing_loss(labels, labels, both).item() == pytest.approx(0, abs=1e-6)
    assert learn.targets.pointing_loss(wrong, labels, first).item() == pytest.approx(0, abs=1e-6)
    assert learn.targets.pointing_loss(wrong, labels, both).item() > 1
