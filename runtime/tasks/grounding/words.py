"""An instruction in words -> the ids that follow the picture.

    <|vision_end|>  instruction  the fixed text after it  <|pointer_start|>  <|pointer_pad|>        one row
    rows of a batch are filled up on the LEFT, so that all end with the anchor

The library ``tokenizers`` reads ``tokenizer.json`` when the first instruction comes. It would take ``<|pointer_pad|>`` inside
an instruction for the anchor itself, so such words are refused: what a user types never becomes a special id.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import BackendUnavailable, BundleRefused, UserMistake, one_line
from .facts import Template

MOST_CHARACTERS = 4_000  # of one instruction
MOST_IDS = 1_024  # of one; the tables of positions in the graph end at 2,048
MOST_BYTES = 2**26  # of tokenizer.json; Qwen2.5's has 11 MB
Encode = Callable[[str], list[int]]


def encoder(data: bytes) -> tuple[Encode, tuple[str, ...]]:
    """tokenizer.json -> what turns words into ids, and the special words that it knows.

    Raises:
        BackendUnavailable: the library is not installed.
        BundleRefused: the file is none that it reads.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise BackendUnavailable(
            "instructions in words need the library tokenizers",
            found="it is not installed",
            expected="tokenizers, which reads the tokenizer.json of the bundle",
            attempt='pip install "edgesmith[grounding]"',
        ) from None
    try:
        added = json.loads(data)["added_tokens"]
        special = tuple(str(one["content"]) for one in added if one.get("special"))
        tokenizer = Tokenizer.from_str(data.decode())
        tokenizer.no_truncation()
        tokenizer.no_padding()
    except Exception as error:  # the library raises plain Exception for what it cannot read
        raise BundleRefused(
            "the tokenizer of the bundle cannot be read",
            found=f"{type(error).__name__}: {error}"[:300],
            expected="a tokenizer.json of Hugging Face's tokenizers",
            attempt="copy the bundle again, or export it again",
        ) from error

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    return encode, special


def checked(text: Any, stop_words: Sequence[str]) -> str:
    """An instruction as it was given.

    Raises:
        UserMistake: it is no text, empty, too long, or holds a word that steers the model.
    """
    if not isinstance(text, str):
        raise UserMistake(
            "this is no instruction", found=type(text).__name__, expected='a text, as "open the settings"'
        )
    if not text.strip():
        raise UserMistake(
            "the instruction is empty",
            found=repr(text[:40]),
            expected="what to click, in words",
            attempt='"open the settings"',
        )
    if len(text) > MOST_CHARACTERS:
        raise UserMistake(
            "the instruction is too long",
            found=f"{len(text):,} characters",
            expected=f"at most {MOST_CHARACTERS:,}",
            attempt="one thing to click, in a sentence",
        )
    for stop in stop_words:
        if stop and stop in text:
            raise UserMistake(
                "the instruction holds a word that steers the model",
                found=f"{one_line(stop)} in {one_line(text[:80])}",
                expected="plain words",
                because="the model would take it for a part of its own prompt",
                attempt="leave it out, or put spaces into it",
            )
    return text.encode(errors="replace").decode()  # half characters are none


def ids_of(text: str, encode: Encode, template: Template, vocabulary: int | None, most: int | None = None) -> list[int]:
    """A checked instruction -> the ids of its whole row; ``most``: how many the graph takes, where it says so.

    Raises:
        UserMistake: it has more tokens than that.
        BundleRefused: the tokenizer gives ids that the model has not.
    """
    ids = encode(text)
    most = min(most or MOST_IDS, MOST_IDS) + (0 if most else template.extra)
    row = [template.vision_end, *ids, *template.after, template.pointer_start, template.pointer_pad]
    if len(row) > most:
        raise UserMistake(
            "the instruction is too long",
            found=f"{len(ids)} tokens",
            expected=f"at most {max(most - template.extra, 0)}, which is what the graph takes",
            attempt="one thing to click, in a sentence",
        )
    special = {template.vision_end, template.pointer_start, template.pointer_pad, template.before[-1]}
    beyond = [one for one in ids if vocabulary is not None and one >= vocabulary]
    if not ids or beyond or special & set(ids):
        raise BundleRefused(
            "the tokenizer of the bundle is not that of its model",
            found=f"{one_line(text[:60])} becomes {ids[:8]}",
            expected="ids of plain words" + (f", below {vocabulary:,}" if vocabulary is not None else ""),
            attempt="export it again",
        )
    return row


def batch(rows: Sequence[Sequence[int]], least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ids -> tokens int64 (B, M), filled up on the left with the first id of a row, and lengths int64 (B,).

    ``least``: the smallest M that the graph takes.
    """
    most = max(least, *(len(row) for row in rows))
    tokens = np.array([[row[0]] * (most - len(row)) + list(row) for row in rows], np.int64)
    return tokens, np.array([len(row) for row in rows], np.int64)
