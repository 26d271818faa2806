"""An instruction as the ids that follow the picture: the family's prompt, with our small tokenizer.

Words.of(tokenizer) -> words.before: ids up to the picture;  words.tail(instruction): ids from <|vision_end|> to the anchor
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from learn.shape import config

from edgesmith.models.families.gui_aima.prompt import AFTER, BEFORE, MESSAGE, Prompt, prompt_of
from edgesmith.models.families.gui_aima.shape import shape_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FIXED = BEFORE.format(MESSAGE) + AFTER  # what the tokenizer has to have words for, beside the screens' own


@dataclass(frozen=True)
class Words:
    tokenizer: Tokenizer
    prompt: Prompt

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Words:
        shape = shape_of(config(tokenizer), "the small model")
        return cls(tokenizer, prompt_of(tokenizer, shape, MESSAGE, "the small model"))

    @property
    def before(self) -> list[int]:
        return list(self.prompt.before)

    def tail(self, instruction: str) -> list[int]:
        return self.prompt.tail(self.prompt.instruction(instruction, self.tokenizer))
