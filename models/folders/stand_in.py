"""A tokenizer for random weights: the bytes of a text, the words of the prompt, and the special tokens at Qwen's places.

The real one comes with a checkpoint. This one cuts texts by the same rule and has the prompt's own words whole, so that the
template between instruction and anchor has its 12 tokens; all else is spelt in bytes. Ids between are taken by nothing.
"""

from __future__ import annotations

import json
from typing import Any

from ...runtime.errors import UserMistake
from ..families.gui_aima.shape import Shape

WORDS = ("assistant", "system", "user", "os", "py", "aut", "ogui", ".click")
RULE = (  # of Qwen2.5's tokenizer.json: contractions, words, single digits, signs, ends of lines, spaces
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def stand_in(shape: Shape) -> bytes:
    """tokenizer.json; UserMistake where the vocabulary of ``shape`` is too small for it."""
    from tokenizers import Tokenizer

    special = _special(shape)
    vocabulary, merges = _words()
    if len(vocabulary) > min(special.values()) or max(special.values()) >= shape.vocabulary:
        raise UserMistake(
            "This vocabulary is too small for a tokenizer",
            found=f"{shape.vocabulary} tokens, special ones from {min(special.values())} on",
            expected=f"{len(vocabulary)} tokens below the special ones",
        )
    words: dict[str, Any] = {
        "version": "1.0",
        "added_tokens": [
            {"id": number, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}
            for text, number in sorted(special.items(), key=lambda pair: pair[1])
        ],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": RULE}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
            ],
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        "model": {"type": "BPE", "vocab": {**vocabulary, **special}, "merges": merges},
    }  # fmt: skip
    return Tokenizer.from_str(json.dumps(words)).to_str().encode()


def _words() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The 256 bytes as signs, then what grows into the prompt's words, sign by sign."""
    vocabulary = {sign: number for number, sign in enumerate(_signs())}
    merges = []
    for word in WORDS:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocabulary:
                vocabulary[word[:end]] = len(vocabulary)
                merges.append((word[: end - 1], word[end - 1]))
    return vocabulary, merges


def _signs() -> list[str]:
    """The sign that stands for each byte in a byte-level vocabulary: itself where it can be seen, else one from 256 on."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    unseen = iter(range(256, 512))
    return [chr(byte if byte in seen else next(unseen)) for byte in range(256)]


def _special(shape: Shape) -> dict[str, int]:
    """The prompt's tokens at the places that ``shape`` names, the others where Qwen2.5-VL and GUI-AIMA have them beside."""
    ids = shape.tokens
    return {
        "<|im_start|>": ids.vision_start - 8,
        "<|im_end|>": ids.vision_start - 7,
        "<|vision_start|>": ids.vision_start,
        "<|vision_end|>": ids.vision_end,
        "<|image_pad|>": ids.image_pad,
        "<|recipient|>": ids.pointer_start - 2,
        "<|diff_marker|>": ids.pointer_start - 1,
        "<|pointer_start|>": ids.pointer_start,
        "<|pointer_end|>": ids.pointer_start + 1,
        "<|pointer_pad|>": ids.pointer_pad,
    }
