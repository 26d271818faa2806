"""The judge of GUI-AIMA keeps nothing between screens, and answers alike whatever runs the attention and holds the weights."""

import gc
from dataclasses import replace

import grounding_folder
import numpy as np
import pytest
import torch

from edgesmith.models.families.gui_aima import judge, picture
from edgesmith.models.families.gui_aima.weighting import named
from edgesmith.models.folders import streamed
from edgesmith.models.folders.folder import load_eager, open_folder, random_folder

FORM = 1e-5  # of the largest: the same sums in float32, in another order


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    return open_folder(grounding_folder.write_folder(tmp_path_factory.mktemp("judge") / "tiny", seed=1))


@pytest.fixture(scope="module")
def module(opened):
    return load_eager(opened)


def screen(height: int, width: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 14, width // 14, 3), dtype=np.uint8)
    return picture.prepared(noise.repeat(14, axis=0).repeat(14, axis=1))


def words(opened, text: str) -> list[int]:
    return opened.prompt.instruction(text, opened.tokenizer)


def test_two_screens_in_one_process_do_not_disturb_each_other(opened, module):
    """transformers keeps the distance of the last picture's positions in the model (rope_deltas), whoever's it was."""
    wide, high = screen(112, 280, 0), screen(336, 84, 1)
    first = judge.scores(module, opened.prompt, wide, words(opened, "open it"), named("query_1"))
    other = judge.scores(module, opened.prompt, high, words(opened, "close the other one"), named("query_1"))
    module.model.rope_deltas = torch.tensor([[777]])
    again = judge.scores(module, opened.prompt, wide, words(opened, "open it"), named("query_1"))
    assert np.array_equal(first, again)
    assert (len(first), len(other)) == (4 * 10, 12 * 3)


def test_a_transposed_grid_is_another_answer(opened, module):
    """The same tokens in another grid: positions and windows change, so the grid must be told rightly."""
    pixels, ids = screen(112, 280, 0), words(opened, "open it")
    layout = judge.layout_of(opened.prompt, pixels, ids)
    decoder = module.model.language_model
    with torch.inference_mode():
        embedded = judge.embeddings(
            module, opened.prompt.ids(ids, layout.grid), judge.image_embeddings(module, pixels), layout
        )
        right, wrong = (
            judge.run(decoder.layers, decoder.norm, decoder.rotary_emb, embedded, one).attention.anchor
            for one in (layout, judge.Layout(layout.before, layout.grid[::-1], layout.queries, layout.template))
        )
    assert np.abs(right - wrong).max() > 100 * FORM * right.max()


@pytest.mark.parametrize("mode", grounding_folder.MODES)
def test_scores_sum_to_one_and_differ_by_instruction(opened, module, mode):
    pixels = screen(112, 280, 0)
    first, second = (
        judge.scores(module, opened.prompt, pixels, words(opened, text), named(mode))
        for text in ("open it", "close it")
    )
    assert first.sum() == pytest.approx(1, abs=1e-6)
    assert (first >= 0).all()
    assert np.abs(first - second).max() > 100 * FORM * first.max()


def test_eager_and_fused_attention_give_the_same(opened, module):
    """Under scaled dot-product attention transformers returns no maps, without an error: the judge makes its rows itself."""
    pixels, ids = screen(112, 280, 0), words(opened, "open it")
    fused = judge.see(module, opened.prompt, pixels, ids, all_of_it=True)
    module.set_attn_implementation("eager")
    try:
        eager = judge.see(module, opened.prompt, pixels, ids, all_of_it=True)
        maps = module(
            input_ids=torch.tensor([opened.prompt.ids(ids, (4, 10))]),
            mm_token_type_ids=torch.tensor(
                [[int(i == opened.prompt.image_pad) for i in opened.prompt.ids(ids, (4, 10))]]
            ),
            pixel_values=torch.from_numpy(picture.patch_rows(pixels)),
            image_grid_thw=torch.tensor([[1, 8, 20]]),
            output_attentions=True,
            use_cache=False,
        ).attentions
    finally:
        module.set_attn_implementation("sdpa")
    for ours, theirs in zip(fused.hidden, eager.hidden, strict=True):
        assert np.abs(ours - theirs).max() <= FORM * np.abs(theirs).max()
    visual = judge.layout_of(opened.prompt, pixels, ids).visual
    rows = np.stack([layer[0, :, -1, visual].numpy() for layer in maps])
    assert np.abs(fused.attention.anchor - rows).max() <= FORM * rows.max()


def test_layer_by_layer_gives_what_all_at_once_does(opened, module):
    pixels, ids = screen(112, 280, 0), words(opened, "open it")
    whole = judge.see(module, opened.prompt, pixels, ids, all_of_it=True)
    parts = streamed.see(opened, pixels, ids, all_of_it=True)
    assert np.array_equal(whole.attention.anchor, parts.attention.anchor)
    assert np.array_equal(whole.visual_sums, parts.visual_sums)
    assert np.array_equal(whole.keys, parts.keys)
    assert all(np.array_equal(*pair) for pair in zip(whole.hidden, parts.hidden, strict=True))


def parameter_bytes() -> int:
    held = [one for one in gc.get_objects() if type(one) is torch.nn.Parameter and one.device.type == "cpu"]
    return sum(one.nbytes for one in held)


def test_layer_by_layer_holds_one_layer(opened):
    """What was read of a layer is gone when the next one is read."""
    before, names, held = parameter_bytes(), [], []

    def watched(one):
        def read():
            names.append(one.name)
            if one.name.endswith("input_layernorm.weight"):
                held.append(parameter_bytes() - before)
            return one.read()

        return read

    lazy = {name: replace(one, read=watched(one)) for name, one in opened.tensors.items()}
    streamed.see(replace(opened, tensors=lazy), screen(112, 280, 0), words(opened, "open it"))
    assert sorted(names) == sorted(opened.tensors)
    norm = opened.tensors["model.language_model.norm.weight"].nbytes
    assert max(held) == norm  # the tensors of a layer are put in at once


def test_a_prefix_does_not_know_its_instruction(opened, module):
    """Keys, values and sums of the tokens up to the screen's end are the same for any instruction: they can be kept."""
    pixels = screen(112, 280, 0)
    first, second = (
        judge.see(module, opened.prompt, pixels, words(opened, text), all_of_it=True)
        for text in ("open it", "zoom out a bit")
    )
    end = judge.layout_of(opened.prompt, pixels, []).visual.stop
    assert np.abs(first.keys[:, :, :end] - second.keys[:, :, :end]).max() <= FORM * np.abs(first.keys).max()
    assert np.abs(first.visual_sums - second.visual_sums).max() <= FORM * np.abs(first.visual_sums).max()


def test_random_weights_are_the_same_for_the_same_seed(opened):
    from edgesmith.models.families.gui_aima.shape import Shape, TokenIds

    shape = Shape(
        vocabulary=330, hidden=32, layers=2, heads=2, kv_heads=1, mlp=48, sections=(2, 3, 3), vision_layers=2,
        vision_hidden=16, vision_heads=2, vision_mlp=24, full_attention=(1,), tokens=TokenIds(312, 309, 310, 317, 319),
    )  # fmt: skip
    one, same, other = (random_folder(shape, seed) for seed in (0, 0, 1))
    assert one.dtype == "bfloat16"
    for name, lazy in one.tensors.items():
        assert torch.equal(lazy.read(), same.tensors[name].read())
        assert not torch.equal(lazy.read(), other.tensors[name].read())
        assert lazy.read().shape == lazy.shape and lazy.read().dtype == torch.bfloat16
    assert len(one.prompt.after) == 12
    found = streamed.see(one, screen(56, 84, 0), words(one, "open it"))
    assert found.attention.anchor.shape == (2, 2, 6)
