"""What a checkpoint that does not fit is, where its names say it: adapters, pruned or sharded weights, backbones without a head.

names of the file, names that are missing -> (because, try) of the error
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .heads import LAYERS
from .shapes import HEAD, HEAD_BIAS

MERGE = "model = model.merge_and_unload(), then torch.save(model.state_dict(), FILE)"
KINDS: tuple[tuple[str, str, str], ...] = (
    (r"lora_[AB]\b|lora_embedding|\.ia3_l\b", "these are the tensors of an adapter (LoRA): the difference to a network", MERGE),
    (
        r"weight_orig$|weight_mask$",
        "these weights are being pruned: each is the product of weight_orig and weight_mask",
        "torch.nn.utils.prune.remove(module, 'weight') for each, then save again",
    ),
    (
        r"\bparametrizations\.|\.weight_[gv]$",
        "some weights are stored as the parts of a parametrization",
        "torch.nn.utils.parametrize.remove_parametrizations for each, then save again",
    ),
    (
        r"_flat_param\b|\bflat_param",
        "these are flat pieces of FSDP, without the shapes of the weights",
        "save with FSDP.state_dict_type(model, StateDictType.FULL_STATE_DICT)",
    ),
    (
        r"(^|\.)embed_tokens\.weight$",
        "these are the tensors of a language model",
        "--model gui_aima, where it is a Qwen2.5-VL with the anchor of GUI-AIMA",
    ),
    (
        r"\.(scales|qzeros|g_idx|absmax|quant_state\b.*|_packed_params.*|zero_point)$",
        "some weights are quantised, stored as codes and scales",
        "the checkpoint in floating point that it was made from",
    ),
)  # fmt: skip


def because_of(names: Iterable[str], missing: Iterable[str]) -> str:
    return _hint(tuple(names), tuple(missing))[0]


def attempt_for(names: Iterable[str], missing: Iterable[str]) -> str:
    return _hint(tuple(names), tuple(missing))[1]


def _hint(names: tuple[str, ...], missing: tuple[str, ...]) -> tuple[str, str]:
    if missing and all(HEAD.fullmatch(name) or HEAD_BIAS.fullmatch(name) for name in missing):
        if several := [name for name in names if name.endswith(".weight") and (f".{name}").split(".")[-2] in LAYERS]:
            return (
                f"its classifier may be {', '.join(several[:3])}: of none or of several nothing says that it is the one",
                f"save the trunk with that classifier alone, as {', '.join(missing[:2])}",
            )
        return (
            "this is a backbone without a classifier, as self-supervised trainings (DINO, MAE) save it"
            if any("teacher" in name or "student" in name or "last_layer" in name for name in names)
            else "this is a backbone without a classifier",
            "train a classifier on it (timm: --finetune, or a linear probe), then save the whole model",
        )
    for pattern, because, attempt in KINDS:
        if any(re.search(pattern, name) for name in names):
            return because, attempt
    return "", ""
