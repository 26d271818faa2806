"""The network in PyTorch: transformers' Qwen2.5-VL of given sizes.

    Shape -> build -> Qwen2_5_VLForConditionalGeneration, eval mode; its lm_head is the table of embeddings and is never run

Qwen2.5-VL, Bai et al., 2025, arXiv:2502.13923. GUI-AIMA adds no parameter to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ....runtime.errors import UserMistake
from .shape import Shape

if TYPE_CHECKING:
    from torch import Tensor, nn

FLOOR = (5, 20)  # of transformers, the first that was tried: older ones name the parts in another way


def build(num_classes: int | None = None, image_size: tuple[int, int] | None = None, **sizes: Any) -> nn.Module:
    """A network with fresh random weights; ``sizes`` are fields of Shape in place of those of 3B.

    It has no classes, and takes pictures of every size.
    """
    return empty(replace(Shape(), **sizes))


def empty(shape: Shape) -> Any:
    """The module on the current device, as transformers initialises it; float32, scaled dot-product attention."""
    check_version()
    from transformers import Qwen2_5_VLForConditionalGeneration

    module = Qwen2_5_VLForConditionalGeneration(configuration(shape))
    return module.eval()


def configuration(shape: Shape) -> Any:
    """``Qwen2_5_VLConfig`` of these sizes; whatever layout config.json had, this is the same."""
    from transformers import Qwen2_5_VLConfig

    ids = shape.tokens
    text = {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.mlp,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": shape.epsilon,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.theta, "mrope_section": list(shape.sections)},
        "max_position_embeddings": 128_000,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    vision = {
        "depth": shape.vision_layers,
        "hidden_size": shape.vision_hidden,
        "num_heads": shape.vision_heads,
        "intermediate_size": shape.vision_mlp,
        "out_hidden_size": shape.hidden,
        "window_size": shape.window,
        "fullatt_block_indexes": list(shape.full_attention),
        "tokens_per_second": 2,
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids.image_pad,
        vision_start_token_id=ids.vision_start,
        vision_end_token_id=ids.vision_end,
        video_token_id=-1,  # no token is one of a film
        tie_word_embeddings=True,
    )
    config._attn_implementation = "sdpa"  # no map of all tokens against all is kept
    return config


def filled(shape: Shape, tensors: Mapping[str, Tensor]) -> Any:
    """The module with these tensors (5.x names, one dtype); none of them is copied.

    Raises RuntimeError where one is missing or unknown, which names.py has refused before.
    """
    module = skeleton(shape)
    fill(module.model, tensors, "model.")
    module.lm_head.weight = module.model.language_model.embed_tokens.weight
    return module.requires_grad_(False).eval()


def skeleton(shape: Shape) -> Any:
    """The module without values, but for its rotary frequencies; ``fill`` brings them, for all of it or for a part."""
    import torch

    with torch.device("meta"):
        module = empty(shape)
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(
                getattr(child, "inv_freq", None), torch.Tensor
            ):  # no weights: made of the configuration again
                setattr(parent, name, type(child)(config=child.config))
    return module


def fill(part: nn.Module, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """Give a part of the module its tensors: those whose names begin with ``prefix``, which must be all that it has."""
    held = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    part.load_state_dict(held, strict=True, assign=True)
    part.requires_grad_(False)


def check_version() -> None:
    """UserMistake where transformers is missing or older than 5.20."""
    found = installed()
    numbers = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
    if numbers < FLOOR:
        raise UserMistake(
            "GUI-AIMA needs a newer transformers" if found else "GUI-AIMA needs transformers",
            found=f"transformers {found}" if found else "no transformers",
            expected=f"transformers {FLOOR[0]}.{FLOOR[1]} or newer",
            because="older ones name the parts of Qwen2.5-VL in another way, and count positions in another",
            attempt=f'pip install "transformers>={FLOOR[0]}.{FLOOR[1]}", which edgesmith[export] brings',
        )


def installed() -> str:
    """The version of transformers, "" where there is none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("transformers")
    except PackageNotFoundError:
        return ""
