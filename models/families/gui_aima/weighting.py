"""How GUI-AIMA weighs its attention heads: the mode that a checkpoint was trained with.

    flags of config.json <-> Weighting <-> "query_1", "query_kl_part", "query_3_layer_wise"

GUI-AIMA, Zhou et al., 2025, arXiv:2511.00810; scoring.py has the formulas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ....runtime.errors import UserMistake

FLAGS = ("kl_query_weighting", "query_topk", "part_query_weighting", "layer_wise_query_weighting")
NAME = re.compile(r"query_(?P<how>kl|[1-9]\d*)(?P<part>_part)?(?P<layers>_layer_wise)?")
EXPECTED = "query_K or query_kl, then _part or nothing, then (not after kl) _layer_wise or nothing"


@dataclass(frozen=True)
class Weighting:
    """``top`` queries decide the weights of the heads, None where the divergence of all queries does ("kl")."""

    top: int | None = 1
    part: bool = False  # the template between instruction and anchor does not count
    layer_wise: bool = False  # every layer has top queries of its own

    @property
    def name(self) -> str:
        return (
            f"query_{self.top or 'kl'}"
            + "_part" * self.part
            + "_layer_wise" * (self.layer_wise and self.top is not None)
        )


def named(name: str) -> Weighting:
    """The mode of a name; UserMistake for a name that is none."""
    found = NAME.fullmatch(name)
    if not found or (found["how"] == "kl" and found["layers"]):
        raise UserMistake("There is no such weighting of heads", found=repr(name)[:80], expected=EXPECTED)
    top = None if found["how"] == "kl" else int(found["how"])
    return Weighting(top, bool(found["part"]), bool(found["layers"]))


def from_flags(words: Mapping[str, Any], source: str) -> Weighting:
    """The mode that config.json says; UserMistake where it says none, or more than one."""
    kl, top, part, layer_wise = (words.get(name) for name in FLAGS)
    whole = top is None or (type(top) is int and top > 0)
    flags = all(flag is None or isinstance(flag, bool) for flag in (kl, part, layer_wise))
    if not whole or not flags or (not kl and top is None):
        raise UserMistake(
            f"{source}: config.json does not say how the heads are weighted",
            found=", ".join(f"{name} {words[name]!r}"[:60] for name in FLAGS if name in words)
            or f"none of {', '.join(FLAGS)}",
            expected="kl_query_weighting true, or query_topk 1 or more",
            because="GUI-AIMA's checkpoints record the mode that they were trained with; GUI-Actor's have the same tokens "
            "and another way to a point",
            attempt='"query_topk": 1 in config.json, where the checkpoint was trained with query_1',
        )
    return Weighting(None if kl else top, bool(part), bool(layer_wise) and not kl)
