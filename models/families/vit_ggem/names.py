"""Names that others give the tensors of a ViT -> timm's, which are ours; three projections in one where they stand apart.

    transformers    embeddings.cls_token, encoder.layer.0.attention.attention.query.weight, ... (with or without ``vit.``)
    OpenMMLab       layers.0.ln1.weight, layers.0.ffn.layers.0.0.weight, ...
    torchvision     class_token, encoder.layers.encoder_layer_0.self_attention.in_proj_weight, ...

What the network has no place for keeps its name, so that the comparison of names tells it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

PARTS = ("query", "key", "value")
# of a name as a whole; only the first rule that matches is taken
TRANSFORMERS: tuple[tuple[str, str], ...] = (
    (r"embeddings\.cls_token", "cls_token"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.(\w+)", r"patch_embed.proj.\1"),
    (r"(?:encoder\.layer|layers)\.(\d+)\.layernorm_before\.(\w+)", r"blocks.\1.norm1.\2"),
    (r"(?:encoder\.layer|layers)\.(\d+)\.layernorm_after\.(\w+)", r"blocks.\1.norm2.\2"),
    (r"(?:encoder\.layer|layers)\.(\d+)\.attention\.(?:output\.dense|o_proj)\.(\w+)", r"blocks.\1.attn.proj.\2"),
    (r"(?:encoder\.layer|layers)\.(\d+)\.(?:intermediate\.dense|mlp\.fc1)\.(\w+)", r"blocks.\1.mlp.fc1.\2"),
    (r"(?:encoder\.layer|layers)\.(\d+)\.(?:output\.dense|mlp\.fc2)\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
    (r"layernorm\.(\w+)", r"norm.\1"),
    (r"classifier\.(\w+)", r"head.\1"),
)
APART = re.compile(
    r"(?:encoder\.layer|layers)\.(\d+)\.attention\.(?:attention\.(query|key|value)|([qkv])_proj)\.(weight|bias)"
)
UNUSED = re.compile(r"pooler\.dense\.\w+|embeddings\.mask_token")  # of transformers; a classifier does not read them
OPENMMLAB: tuple[tuple[str, str], ...] = (
    (r"patch_embed\.projection\.(\w+)", r"patch_embed.proj.\1"),
    (r"layers\.(\d+)\.ln([12])\.(\w+)", r"blocks.\1.norm\2.\3"),
    (r"layers\.(\d+)\.ffn\.layers\.0\.0\.(\w+)", r"blocks.\1.mlp.fc1.\2"),
    (r"layers\.(\d+)\.ffn\.layers\.1\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
    (r"layers\.(\d+)\.attn\.(qkv|proj)\.(\w+)", r"blocks.\1.attn.\2.\3"),
    (r"ln1\.(\w+)", r"norm.\1"),
)
TORCHVISION: tuple[tuple[str, str], ...] = (
    (r"class_token", "cls_token"),
    (r"encoder\.pos_embedding", "pos_embed"),
    (r"conv_proj\.(\w+)", r"patch_embed.proj.\1"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.ln_([12])\.(\w+)", r"blocks.\1.norm\2.\3"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.in_proj_(\w+)", r"blocks.\1.attn.qkv.\2"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.out_proj\.(\w+)", r"blocks.\1.attn.proj.\2"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:0|linear_1)\.(\w+)", r"blocks.\1.mlp.fc1.\2"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:3|linear_2)\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
    (r"encoder\.ln\.(\w+)", r"norm.\1"),
    (r"heads\.head\.(\w+)", r"head.\1"),
)


def timm_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` in timm's names where it is in one of the three layouts, else as it is."""
    if "embeddings.cls_token" in state or "vit.embeddings.cls_token" in state:
        plain = {name.removeprefix("vit."): value for name, value in state.items()}
        return _joined({_by(TRANSFORMERS, n): v for n, v in plain.items() if not UNUSED.fullmatch(n)})
    if "patch_embed.projection.weight" in state and "layers.0.ln1.weight" in state:
        return {_by(OPENMMLAB, name): value for name, value in state.items()}
    if "class_token" in state and "conv_proj.weight" in state:
        return {_by(TORCHVISION, name): value for name, value in state.items()}
    return dict(state)


def _by(rules: tuple[tuple[str, str], ...], name: str) -> str:
    return next((match.expand(new) for old, new in rules if (match := re.fullmatch(old, name))), name)


def _joined(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values, (C, C) or (C,) each, one below the other as timm's ``qkv``; left apart where one is missing."""
    apart: dict[tuple[str, str], dict[str, str]] = {}
    for name in state:
        if match := APART.fullmatch(name):
            part = match[2] or {"q": "query", "k": "key", "v": "value"}[match[3]]
            apart.setdefault((match[1], match[4]), {})[part] = name
    joined = dict(state)
    for (block, leaf), names in apart.items():
        values = [state[names[part]] for part in PARTS if part in names]
        if len(values) == 3 and len({value.shape for value in values}) == 1 and values[0].ndim > 0:
            joined[f"blocks.{block}.attn.qkv.{leaf}"] = torch.cat(values)
            for name in names.values():
                del joined[name]
    return joined
