"""The network that GUI-AIMA is made of, told from its relatives: each is named with what would be wrong.

config.json -> model_type -> UserMistake for all but Qwen2.5-VL in floating point
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....runtime.errors import UserMistake

BASE = "qwen2_5_vl"
OTHERS = {  # model_type -> its name, and what would be wrong
    "qwen2_vl": (
        "Qwen2-VL",
        "its vision tower looks at the whole picture in every block, with LayerNorm and no gated MLP",
    ),
    "qwen3_vl": (
        "Qwen3-VL",
        "it has patches of 16 pixels, feeds several vision blocks into the decoder and interleaves the axes of positions",
    ),
    "qwen3_vl_moe": ("Qwen3-VL with experts", "its MLPs are chosen token by token, and it is a Qwen3-VL otherwise"),
    "qwen2_5_omni": ("Qwen2.5-Omni", "it hears and speaks, and its positions count time in another way"),
    "qwen2": (
        "Qwen2 or Qwen2.5, text only",
        "it has no vision tower, and its positions have one axis instead of three",
    ),
    "qwen3": ("Qwen3, text only", "it has no vision tower, and its positions have one axis instead of three"),
    "qwen2_5_vl_text": ("the language model of Qwen2.5-VL alone", "its vision tower is missing"),
}


def _unknown(words: Mapping[str, Any]) -> tuple[str, str]:
    """What config.json is of that names none of the relatives, and what is wrong with it."""
    kind = words.get("model_type")
    if kind is not None:
        return f"model_type {kind!r}"[:80], "it is another network"
    if isinstance(told := words.get("architecture"), str):
        return (
            f"architecture {told[:40]!r}, as timm writes it",
            "it is a network that sees pictures, and reads no words",
        )
    return "no model_type", "it does not say what network it is of"


def check_base(words: Mapping[str, Any], source: str) -> None:
    """UserMistake where config.json is that of another base, or of weights that are not plain numbers."""
    kind = words.get("model_type")
    if kind != BASE:
        name, difference = OTHERS.get(str(kind), _unknown(words))
        raise UserMistake(
            f"{source}: GUI-AIMA is made of Qwen2.5-VL, and this is not one",
            found=name,
            expected=f"model_type {BASE} in config.json",
            because=difference,
            attempt="the folder of a GUI-AIMA checkpoint, such as smz8599/GUI-AIMA-3B",
        )
    if words.get("quantization_config"):
        how = words["quantization_config"]
        told = how.get("quant_method", "") if isinstance(how, Mapping) else ""
        raise UserMistake(
            f"{source}: these weights are quantised already",
            found=f"quantization_config {told}"[:80],
            expected="weights in bfloat16, float16 or float32",
            attempt="the checkpoint that they were made from; --precision int4 quantises it here",
        )
