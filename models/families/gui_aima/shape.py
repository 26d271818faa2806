"""The sizes of a GUI-AIMA network, read from config.json; another base than Qwen2.5-VL is refused, with the difference.

config.json of transformers 4.51 (flat, as published) or 5.x (with a text_config) -> Shape
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ....runtime.errors import UserMistake
from .base import check_base

PATCH, MERGE, FRAMES = 14, 2, 2  # pixels of a patch's side, patches of a token's side, frames that a patch holds
MULTIPLE = PATCH * MERGE
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's, RGB
LARGEST, MOST_LAYERS = 1 << 24, 1_000  # of a size in config.json: names are made of them before tensors are looked at


@dataclass(frozen=True)
class TokenIds:
    """The tokens that the network itself knows of; GUI-AIMA's own are the last of the vocabulary."""

    image_pad: int = 151_655
    vision_start: int = 151_652
    vision_end: int = 151_653
    pointer_start: int = 151_667
    pointer_pad: int = 151_669


@dataclass(frozen=True)
class Shape:
    """The sizes of Qwen2.5-VL; the defaults are those of 3B with GUI-AIMA's tokens."""

    vocabulary: int = 151_670
    hidden: int = 2_048
    layers: int = 36
    heads: int = 16
    kv_heads: int = 2
    mlp: int = 11_008
    epsilon: float = 1e-6
    theta: float = 1e6
    sections: tuple[int, ...] = (16, 24, 24)  # of a head's half, rotated by time, height and width
    vision_layers: int = 32
    vision_hidden: int = 1_280
    vision_heads: int = 16
    vision_mlp: int = 3_420
    full_attention: tuple[int, ...] = (7, 15, 23, 31)  # blocks that see the whole picture, the others windows
    window: int = 112  # pixels
    tokens: TokenIds = TokenIds()

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads

    def __str__(self) -> str:
        return (
            f"{self.layers} layers of {self.hidden}, {self.heads} heads ({self.kv_heads} of keys), vision tower "
            f"{self.vision_layers} blocks of {self.vision_hidden}, {self.vocabulary} tokens"
        )


def shape_of(words: Mapping[str, Any], source: str) -> Shape:
    """The sizes that config.json says; UserMistake for another base and for sizes that cannot be."""
    check_base(words, source)
    read = _Words(words, source)
    text = read.inner("text_config") if "text_config" in words else read
    vision = read.inner("vision_config")
    for name, value in (("patch_size", PATCH), ("spatial_merge_size", MERGE), ("temporal_patch_size", FRAMES)):
        vision.same(name, value)
    for part in (text, vision):
        part.same("hidden_act", "silu")
    text.same("use_sliding_window", False)
    rope = text.words.get("rope_parameters") or text.words.get("rope_scaling") or {}
    rope = _Words(rope if isinstance(rope, Mapping) else {}, source)
    for name in ("rope_type", "type"):
        if rope.words.get(name, "mrope") not in ("mrope", "default"):
            raise _unusable(source, f"{name} {rope.words[name]!r}"[:80], "positions as Qwen2.5-VL has them, mrope")
    theta = rope.words.get("rope_theta", text.words.get("rope_theta", Shape.theta))
    found = Shape(
        vocabulary=text.whole("vocab_size"),
        hidden=text.whole("hidden_size"),
        layers=text.whole("num_hidden_layers", most=MOST_LAYERS),
        heads=text.whole("num_attention_heads"),
        kv_heads=text.whole("num_key_value_heads"),
        mlp=text.whole("intermediate_size"),
        epsilon=text.number("rms_norm_eps"),
        theta=_Words({"rope_theta": theta}, source).number("rope_theta"),
        sections=rope.wholes("mrope_section"),
        vision_layers=vision.whole("depth", most=MOST_LAYERS),
        vision_hidden=vision.whole("hidden_size"),
        vision_heads=vision.whole("num_heads"),
        vision_mlp=vision.whole("intermediate_size"),
        full_attention=vision.wholes("fullatt_block_indexes", least=0),
        window=vision.whole("window_size"),
        tokens=TokenIds(
            *(read.token(f"{name}_id") for name in ("image_token", "vision_start_token", "vision_end_token")),
            *(read.anchor(f"{name}_token_id") for name in ("pointer_start", "pointer_pad")),
        ),
    )
    vision.same("out_hidden_size", found.hidden)
    _check(found, source)
    return found


def _check(shape: Shape, source: str) -> None:
    head, vision_head = shape.hidden / shape.heads, shape.vision_hidden / shape.vision_heads
    for holds, found, expected in (
        (head % 2 == 0, f"hidden {shape.hidden}, {shape.heads} heads", "an even whole number of values a head"),
        (shape.heads % shape.kv_heads == 0, f"{shape.heads} heads, {shape.kv_heads} of keys", "a whole ratio"),
        (
            len(shape.sections) == 3 and 2 * sum(shape.sections) == head,
            f"mrope_section {list(shape.sections)}, {head:g} values a head",
            "three numbers, together half of a head",
        ),
        (
            vision_head % 4 == 0,
            f"vision hidden {shape.vision_hidden}, {shape.vision_heads} heads",
            "values a head in the vision tower that are a multiple of 4",
        ),
        (
            all(index < shape.vision_layers for index in shape.full_attention),
            f"fullatt_block_indexes {list(shape.full_attention)}"[:80],
            f"numbers below {shape.vision_layers}",
        ),
        (shape.window % (PATCH * MERGE) == 0, f"window_size {shape.window}", f"a multiple of {PATCH * MERGE}"),
    ):
        if not holds:
            raise _unusable(source, found, expected)


def _unusable(source: str, found: str, expected: str) -> UserMistake:
    return UserMistake(
        f"{source}: config.json is not usable",
        found=found,
        expected=expected,
        attempt="the config.json that was saved with the weights",
    )


@dataclass(frozen=True)
class _Words:
    """Values of config.json, each of the kind that is asked for or a UserMistake."""

    words: Mapping[str, Any]
    source: str

    def inner(self, name: str) -> _Words:
        found = self.words.get(name)
        if not isinstance(found, Mapping):
            raise self._wrong(name, "an object of sizes")
        return _Words(found, self.source)

    def whole(self, name: str, least: int = 1, most: int = LARGEST) -> int:
        found = self.words.get(name)
        if type(found) is not int or not least <= found <= most:
            raise self._wrong(name, f"a whole number from {least} to {most}")
        return found

    def wholes(self, name: str, least: int = 1) -> tuple[int, ...]:
        found = self.words.get(name)
        if not isinstance(found, (list, tuple)) or not all(type(n) is int and least <= n <= LARGEST for n in found):
            raise self._wrong(name, "a list of whole numbers")
        return tuple(found)

    def number(self, name: str) -> float:
        found = self.words.get(name)
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0 < found < 1e12:
            raise self._wrong(name, "a number above 0")
        return float(found)

    def same(self, name: str, value: Any) -> None:
        """What may be left out, and can have one value only."""
        found = self.words.get(name, value)
        if found != value:
            raise self._wrong(name, f"{value!r}")

    def token(self, name: str) -> int:
        return self.whole(name, least=0)

    def anchor(self, name: str) -> int:
        """A token of GUI-AIMA's; where several points are asked for at once, it is a list."""
        found = self.words.get(name)
        if isinstance(found, list) and len(found) == 1:
            found = found[0]
        if type(found) is not int or not 0 <= found <= LARGEST:
            raise UserMistake(
                f"{self.source}: config.json has no anchor of GUI-AIMA"
                if found is None
                else f"{self.source}: the anchor in config.json is not usable",
                found=f"{name} missing" if found is None else f"{name} {found!r}"[:80],
                expected="the number of one token",
                because="the point is read from the attention of the token <|pointer_pad|>, which the base model does not have",
                attempt="the folder of a GUI-AIMA checkpoint, such as smz8599/GUI-AIMA-3B",
            )
        return found

    def _wrong(self, name: str, expected: str) -> UserMistake:
        found = f"{name} {self.words[name]!r}"[:80] if name in self.words else f"no {name}"
        return _unusable(self.source, found, expected)
