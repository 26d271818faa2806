"""The tensors of a GUI-AIMA network: names in both layouts that transformers has written, and their shapes.

visual.*        model.visual.*             the vision tower
model.*         model.language_model.*     the decoder
lm_head.weight                             not needed: no logit is read
4.51            5.x, the names used here
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from ....runtime.errors import UserMistake
from .base import OTHERS
from .shape import FRAMES, MERGE, PATCH, Shape

EMBEDDINGS = "model.language_model.embed_tokens.weight"
OLDER = re.compile(r"(visual|model)\.(?!language_model\.|visual\.)")  # what stands before the dot in 4.51
LEFT_OUT = re.compile(r"lm_head\.weight|(.*\.)?rotary_(emb|pos_emb)\.inv_freq")
POINTER_HEAD = "multi_patch_pointer_head."  # of GUI-Actor, which GUI-AIMA does without


def name_of(stored: str) -> str:
    """A name of either layout in that of transformers 5.x."""
    found = OLDER.match(stored)
    if not found:
        return stored
    return {"visual": "model.visual.", "model": "model.language_model."}[found[1]] + stored[found.end() :]


def shapes_of(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Every tensor that the scores depend on, under the names of transformers 5.x."""
    return {name: tuple(sides) for name, sides in (*_vision(shape), *_decoder(shape))}


def _vision(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    width, inner, merged = shape.vision_hidden, shape.vision_mlp, shape.vision_hidden * MERGE**2
    at = "model.visual"
    yield f"{at}.patch_embed.proj.weight", (width, 3, FRAMES, PATCH, PATCH)
    for index in range(shape.vision_layers):
        block = f"{at}.blocks.{index}"
        yield f"{block}.norm1.weight", (width,)
        yield f"{block}.norm2.weight", (width,)
        yield from _linear(f"{block}.attn.qkv", 3 * width, width)
        yield from _linear(f"{block}.attn.proj", width, width)
        yield from _linear(f"{block}.mlp.gate_proj", inner, width)
        yield from _linear(f"{block}.mlp.up_proj", inner, width)
        yield from _linear(f"{block}.mlp.down_proj", width, inner)
    yield f"{at}.merger.ln_q.weight", (width,)
    yield from _linear(f"{at}.merger.mlp.0", merged, merged)
    yield from _linear(f"{at}.merger.mlp.2", shape.hidden, merged)


def _decoder(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, keys = shape.hidden, shape.kv_heads * shape.head_dim
    at = "model.language_model"
    yield EMBEDDINGS, (shape.vocabulary, hidden)
    for index in range(shape.layers):
        layer = f"{at}.layers.{index}"
        yield from _linear(f"{layer}.self_attn.q_proj", hidden, hidden)
        yield from _linear(f"{layer}.self_attn.k_proj", keys, hidden)
        yield from _linear(f"{layer}.self_attn.v_proj", keys, hidden)
        yield f"{layer}.self_attn.o_proj.weight", (hidden, hidden)
        yield f"{layer}.mlp.gate_proj.weight", (shape.mlp, hidden)
        yield f"{layer}.mlp.up_proj.weight", (shape.mlp, hidden)
        yield f"{layer}.mlp.down_proj.weight", (hidden, shape.mlp)
        yield f"{layer}.input_layernorm.weight", (hidden,)
        yield f"{layer}.post_attention_layernorm.weight", (hidden,)
    yield f"{at}.norm.weight", (hidden,)


def _linear(name: str, rows: int, columns: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (rows, columns)
    yield f"{name}.bias", (rows,)


def check_names(found: Mapping[str, tuple[int, ...]], shape: Shape, source: str) -> None:
    """UserMistake where the tensors (5.x names -> shapes) are not exactly those of ``shape``; lm_head may be there."""
    expected = shapes_of(shape)
    _check_base(found, source)
    missing = [name for name in expected if name not in found]
    more = [name for name in found if name not in expected and not LEFT_OUT.fullmatch(name)]
    other = [
        f"{name} {tuple(found[name])}, config.json says {sides}"
        for name, sides in expected.items()
        if name in found and tuple(found[name]) != sides
    ]
    if not (missing or more or other):
        return
    raise UserMistake(
        f"{source}: these tensors are not those of config.json",
        found="\n".join(
            f"{len(names)} {word}, first {names[0]}"
            for word, names in (("missing", missing), ("unknown", more), ("of another shape", other))
            if names
        ),
        expected=f"the {len(expected)} tensors of {shape}",
        attempt="copy or download the whole folder again: its files are of several checkpoints, or some are older"
        if not (more or other)
        else "the config.json that was saved with the weights",
    )


def _check_base(found: Iterable[str], source: str) -> None:
    """UserMistake for tensors that only another network has, whatever config.json says."""
    for mark, name, because in (
        (POINTER_HEAD, "GUI-Actor", "it has a trained pointer head; GUI-AIMA reads the attention of the base itself"),
        ("model.visual.blocks.0.mlp.fc1.", *OTHERS["qwen2_vl"]),
        ("model.visual.deepstack_merger_list.", *OTHERS["qwen3_vl"]),
    ):
        if held := next((one for one in found if one.startswith((mark, f"model.{mark}"))), None):
            raise UserMistake(
                f"{source}: these are the tensors of {name}",
                found=held,
                expected="the tensors of Qwen2.5-VL",
                because=because,
                attempt="the folder of a GUI-AIMA checkpoint, such as smz8599/GUI-AIMA-3B",
            )
