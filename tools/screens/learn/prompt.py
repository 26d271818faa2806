"""The text around picture and instruction, as token ids of our small tokenizer.

Prompt.of(tokenizer) -> before, after, ids;   prompt.tail(instruction) -> ids from <|vision_end|> to the anchor
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MESSAGE = (
    "You are a GUI agent. Given a screenshot of the current GUI and a human instruction, your task is to locate the screen element "
    "that corresponds to the instruction. You should output a PyAutoGUI action that performs a click on the correct position. To "
    "indicate the click location, we will use some special tokens, which is used to refer to a visual patch later. For example, you "
    "can output: pyautogui.click(<your_special_token_here>)."
)
BEFORE = f"<|im_start|>system\n{MESSAGE}<|im_end|>\n<|im_start|>user\n<|vision_start|>"
AFTER = "<|im_end|>\n<|im_start|>assistant<|recipient|>os\npyautogui.click("
ANCHOR = "<|pointer_start|><|pointer_pad|>"


@dataclass(frozen=True)
class Prompt:
    tokenizer: Tokenizer
    before: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Prompt:
        return cls(tokenizer, *(tuple(tokenizer.encode(text).ids) for text in (BEFORE, AFTER + ANCHOR)))

    def tail(self, instruction: str) -> list[int]:
        end = self.tokenizer.token_to_id("<|vision_end|>")
        return [end, *self.tokenizer.encode(instruction).ids, *self.after]
