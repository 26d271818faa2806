"""The words around screen and instruction, as token ids, and the positions of all tokens.

    <|im_start|>system\\n MESSAGE <|im_end|>\\n<|im_start|>user\\n<|vision_start|>        before, T tokens (99 with Qwen's)
    <|image_pad|> * V                                                                    the screen
    <|vision_end|> INSTRUCTION                                                           1 + n
    <|im_end|>\\n<|im_start|>assistant<|recipient|>os\\npyautogui.click(                   after, 12
    <|pointer_start|><|pointer_pad|>                                                     the anchor is the second

The answer stands there already: nothing is generated. What the authors' prompt has behind the anchor (<|pointer_end|> and a
bracket) changes nothing before it, since attention is causal, and is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ....runtime.errors import UserMistake

if TYPE_CHECKING:
    from .shape import Shape

# the words that the published checkpoints were trained with: their attention is only right after exactly these 90 tokens
MESSAGE = (
    "You are a GUI agent. Given a screenshot of the current GUI and a human instruction, your task is to locate the screen "
    "element that corresponds to the instruction. You should output a PyAutoGUI action that performs a click on the correct "
    "position. To indicate the click location, we will use some special tokens, which is used to refer to a visual patch "
    "later. For example, you can output: pyautogui.click(<your_special_token_here>)."
)
BEFORE = "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n<|vision_start|>"
AFTER = "<|im_end|>\n<|im_start|>assistant<|recipient|>os\npyautogui.click("
ANCHORS = ("<|pointer_start|>", "<|pointer_pad|>", "<|pointer_end|>")
LONGEST_INSTRUCTION, LONGEST_FRONT = 1_024, 4_096  # tokens; the front is what stands before the screen


@dataclass(frozen=True)
class Prompt:
    """Everything of the prompt but screen and instruction; ``stop_words`` must not stand in an instruction."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    vision_end: int
    image_pad: int
    pointer_start: int
    pointer_pad: int
    stop_words: tuple[str, ...]

    def tail(self, instruction: Sequence[int]) -> list[int]:
        """The ids behind the screen, up to the anchor."""
        return [self.vision_end, *instruction, *self.after, self.pointer_start, self.pointer_pad]

    def ids(self, instruction: Sequence[int], grid: tuple[int, int]) -> list[int]:
        """All ids, up to the anchor; ``grid`` is (rows, columns) of visual tokens."""
        return [*self.before, *[self.image_pad] * (grid[0] * grid[1]), *self.tail(instruction)]

    def start(self, grid: tuple[int, int]) -> int:
        """The position of <|vision_end|>; those behind it count up from there, alike on the three axes."""
        return len(self.before) + max(grid)

    def positions(self, grid: tuple[int, int], behind: int) -> np.ndarray:
        """(3, N) int64, axes time, height, width; ``behind`` is the number of tokens behind the screen."""
        return positions(len(self.before), grid, behind)

    def instruction(self, text: str, tokenizer: Any) -> list[int]:
        """The ids of an instruction; UserMistake for one that is empty, too long, or holds a token of the prompt."""
        if held := [word for word in self.stop_words if word in text]:
            raise UserMistake(
                "An instruction cannot hold a special token",
                found=held[0],
                expected="words of people",
                because="the model would read the end of the instruction in it",
                attempt="leave it out",
            )
        ids = list(tokenizer.encode(text, add_special_tokens=False).ids)
        if not text.strip() or not ids:
            raise UserMistake("The instruction is empty", found=repr(text)[:80], expected="what to click, in words")
        if len(ids) > LONGEST_INSTRUCTION:
            raise UserMistake(
                "The instruction is too long",
                found=f"{len(ids)} tokens",
                expected=f"{LONGEST_INSTRUCTION} at most",
                attempt="what to click, in a sentence",
            )
        return ids


def positions(before: int, grid: tuple[int, int], behind: int) -> np.ndarray:
    """(3, before + rows columns + behind) int64: multimodal rotary positions of a text with one still picture in it.

    The picture's tokens share one time, and have their row and column beside it; the text goes on behind the larger side.
    Qwen2-VL, Wang et al., 2024, arXiv:2409.12191, section 2.1.
    """
    rows, columns = grid
    front = np.broadcast_to(np.arange(before), (3, before))
    row, column = np.divmod(np.arange(rows * columns), columns)
    screen = before + np.stack([np.zeros_like(row), row, column])
    back = np.broadcast_to(before + max(grid) + np.arange(behind), (3, behind))
    return np.concatenate([front, screen, back], axis=1).astype(np.int64)


def prompt_of(tokenizer: Any, shape: Shape, message: str, source: str) -> Prompt:
    """The ids of a tokenizer (``tokenizers.Tokenizer``); UserMistake where they are not those of config.json."""
    ids = shape.tokens
    expected = {
        "<|image_pad|>": ids.image_pad,
        "<|vision_start|>": ids.vision_start,
        "<|vision_end|>": ids.vision_end,
        "<|pointer_start|>": ids.pointer_start,
        "<|pointer_pad|>": ids.pointer_pad,
    }
    for text in ("<|im_start|>", "<|im_end|>", "<|recipient|>", *expected):
        _check(tokenizer, text, expected.get(text), shape.vocabulary, source)
    before, after = (
        tuple(tokenizer.encode(text, add_special_tokens=False).ids) for text in (BEFORE.format(message), AFTER)
    )
    special = tuple(str(token.content) for token in tokenizer.get_added_tokens_decoder().values())
    held = next((word for word in special if word in message), None)
    if held or len(before) > LONGEST_FRONT:
        raise UserMistake(
            f"{source}: the message before the screen cannot be used",
            found=f"{held} in it" if held else f"{len(before):,} tokens",
            expected=f"words of people, in {LONGEST_FRONT:,} tokens at most",
            because="the model would read a part of its own prompt in it" if held else "",
            attempt="the config.json that was saved with the weights",
        )
    return Prompt(before, after, ids.vision_end, ids.image_pad, ids.pointer_start, ids.pointer_pad, special)


def _check(tokenizer: Any, text: str, expected: int | None, vocabulary: int, source: str) -> None:
    found = tokenizer.token_to_id(text)
    if found is None or list(tokenizer.encode(text, add_special_tokens=False).ids) != [found]:
        base = text in ANCHORS or text == "<|recipient|>"
        raise UserMistake(
            f"{source}: the tokenizer has no token {text}",
            found=f"{tokenizer.get_vocab_size()} tokens without it",
            expected=f"{text} as one token",
            because="GUI-AIMA reads the attention of its anchor, which the base model does not have"
            if base
            else "the prompt is made of it",
            attempt="the folder of a GUI-AIMA checkpoint, such as smz8599/GUI-AIMA-3B"
            if base
            else "its own tokenizer.json",
        )
    if expected is not None and found != expected:
        raise UserMistake(
            f"{source}: tokenizer.json and config.json do not belong together",
            found=f"{text} is {found} in tokenizer.json, {expected} in config.json",
            expected="the same number in both",
            attempt="copy or download the folder again",
        )
    if found >= vocabulary:
        raise UserMistake(
            f"{source}: {text} has no row in the table of embeddings",
            found=f"token {found}, {vocabulary} rows",
            expected=f"a table with more than {found} rows",
            attempt="the folder of a GUI-AIMA checkpoint: the base model's table ends before its anchor",
        )
