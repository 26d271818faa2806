"""The prompt is the authors' token by token; an instruction is words; names of weightings and sizes of pictures are told apart."""

import hashlib

import grounding_folder
import numpy as np
import pytest

from edgesmith.models.families.gui_aima import picture, weighting
from edgesmith.models.families.gui_aima.prompt import MESSAGE, positions
from edgesmith.models.families.gui_aima.scoring import Attention, head_weights, patch_scores
from edgesmith.models.folders.folder import open_folder
from edgesmith.runtime.errors import UserMistake

# what the authors' code builds from their chat template and the answer that it puts behind it
WHOLE = (
    "<|im_start|>system\n{message}<|im_end|>\n<|im_start|>user\n<|vision_start|>{screen}<|vision_end|>{instruction}<|im_end|>\n"
    "<|im_start|>assistant<|recipient|>os\npyautogui.click(<|pointer_start|><|pointer_pad|><|pointer_end|>)"
)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    return open_folder(grounding_folder.write_folder(tmp_path_factory.mktemp("prompt") / "x", message=None))


@pytest.mark.parametrize("text", ["open the settings", "click: 'Save as…' (top right)", " ", "日本語\n\nand more  "])
def test_the_ids_are_those_of_the_whole_text(opened, text):
    grid = (2, 3)
    whole = WHOLE.format(message=MESSAGE, screen="<|image_pad|>" * 6, instruction=text)
    expected = opened.tokenizer.encode(whole, add_special_tokens=False).ids
    instruction = opened.tokenizer.encode(text, add_special_tokens=False).ids
    found = opened.prompt.ids(instruction, grid)
    assert found == expected[:-2]  # behind the anchor stand <|pointer_end|> and a bracket
    assert opened.tokenizer.decode(expected[-2:], skip_special_tokens=False) == "<|pointer_end|>)"


def test_the_template_has_twelve_tokens_and_the_parts_add_up(opened):
    prompt, grid = opened.prompt, (6, 8)
    instruction = prompt.instruction("open the settings", opened.tokenizer)
    assert len(prompt.after) == 12
    length = len(prompt.ids(instruction, grid))
    assert length == len(prompt.before) + 48 + 1 + len(instruction) + 12 + 2
    assert prompt.positions(grid, len(prompt.tail(instruction))).shape == (3, length)
    assert prompt.start(grid) == len(prompt.before) + 8


def test_the_message_is_the_one_that_was_counted():
    """With Qwen2.5's merges it is 90 tokens, what stands before the screen 99, the template 12, as the authors' code makes them."""
    digest = hashlib.sha256(MESSAGE.encode()).hexdigest()
    assert digest == "37185d851e8e012e25eda88fe903e4aca7eb1935f31b2451bea8952a5754992c"


def test_positions_of_a_small_screen():
    assert positions(2, (2, 3), 2).tolist() == [
        [0, 1, 2, 2, 2, 2, 2, 2, 5, 6],
        [0, 1, 2, 2, 2, 3, 3, 3, 5, 6],
        [0, 1, 2, 3, 4, 2, 3, 4, 5, 6],
    ]


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_instruction_is_refused(opened, text):
    with pytest.raises(UserMistake, match="empty"):
        opened.prompt.instruction(text, opened.tokenizer)


@pytest.mark.parametrize("word", ["<|im_end|>", "<|pointer_pad|>", "<|image_pad|>", "<|object_ref_start|>"])
def test_an_instruction_with_a_special_token_is_refused(opened, word):
    with pytest.raises(UserMistake, match="special token"):
        opened.prompt.instruction(f"open {word} it", opened.tokenizer)


def test_an_instruction_that_never_ends_is_refused(opened):
    with pytest.raises(UserMistake, match="too long"):
        opened.prompt.instruction("a b " * 3000, opened.tokenizer)


@pytest.mark.parametrize(
    "name", ["query_0", "query_-1", "kl", "query_kl_layer_wise", "query_1_", "query", "query_1_layer_wise_part"]
)
def test_a_weighting_that_is_none_is_refused(name):
    with pytest.raises(UserMistake, match="no such weighting"):
        weighting.named(name)


@pytest.mark.parametrize("name", [*grounding_folder.MODES, "query_2_part_layer_wise"])
def test_a_weighting_keeps_its_name(name):
    assert weighting.named(name).name == name


def test_fewer_queries_than_asked_for_all_count():
    numbers = np.random.default_rng(0)
    found = Attention(numbers.random((2, 3, 5)), numbers.random((2, 3, 14)), numbers.random((2, 14)), template=12)
    both, more = (head_weights(found, weighting.named(name)) for name in ("query_2_part", "query_9_part"))
    assert np.array_equal(both, more)
    assert patch_scores(found, weighting.named("query_9_part")).sum() == pytest.approx(1)


def test_a_large_screen_is_resized_twice():
    assert picture.sizes(2160, 3840) == [picture.resized(2160, 3840, picture.MAX_PIXELS), (1792, 3192)]
    assert picture.sizes(1080, 1920) == [(1092, 1932)]
    assert picture.grid_of((1092, 1932)) == (39, 69)


@pytest.mark.parametrize(("height", "width"), [(1, 201), (8000, 39)])
def test_a_strip_is_refused(height, width):
    with pytest.raises(UserMistake, match="too long"):
        picture.resized(height, width)


@pytest.mark.parametrize("size", [(1, 1), (20, 2000), (844, 390), (4320, 7680), (100, 60)])
def test_every_size_is_within_the_bounds(size):
    height, width = picture.sizes(*size)[-1]
    assert height % 28 == width % 28 == 0
    assert picture.MIN_PIXELS <= height * width <= picture.SECOND_MAX_PIXELS


def test_rows_of_patches_are_blocks_of_four():
    """Each row holds the pixels of one patch: channel, then two equal frames, then its rows; four rows are one token."""
    pixels = np.arange(3 * 56 * 84, dtype=np.float32).reshape(3, 56, 84)
    rows = picture.patch_rows(pixels).reshape(2, 3, 2, 2, 3, 2, 14, 14)
    assert np.array_equal(rows[1, 2, 0, 1, :, 0], pixels[:, 28:42, 70:84])
    assert np.array_equal(rows[..., 0, :, :], rows[..., 1, :, :])
