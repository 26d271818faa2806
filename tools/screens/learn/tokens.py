"""A small tokenizer of our own, in the format of the published one: bytes, merges, and the special tokens with their names.

    tokenizer() -> tokenizers.Tokenizer;   SPECIAL: the names, in the order of their ids, after the words

Byte pairs as in Qwen2.5: whatever somebody types has tokens. Every word of our screens is one token, and so is every word of the fixed
message; the text between instruction and anchor has twelve, as with the published tokenizer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from words import vocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<|recipient|>",
    "<|diff_marker|>",
    "<|pointer_start|>",
    "<|pointer_end|>",
    "<|pointer_pad|>",
)
# letters, digits one by one, signs, ends of lines; a word takes the blank or the sign before it, as Qwen2.5's rule has it
SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
PIECES = ("py", "aut", "ogui")  # the call's name is three tokens in the published vocabulary


def tokenizer(fixed: str) -> Tokenizer:
    """``fixed`` is the text around picture and instruction; its words are learned too."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    words = vocabulary()
    corpus = [*words, *(f" {word}" for word in words), *(fixed.replace("".join(PIECES), " "),) * 3]
    told = Tokenizer(models.BPE())
    told.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    told.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    told.train_from_iterator([*PIECES * 1000, *corpus], trainer)
    told.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    return told
