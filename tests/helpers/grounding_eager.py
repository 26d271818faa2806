"""GUI-AIMA the long way: transformers' Qwen2.5-VL over the whole sequence with eager attention, the scoring in numpy float64.

Nothing of it is shared with the graphs in exporter/grounding/parts, which are judged by it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch

HEAD_DIM = 16
IMAGE, VISION_START, VISION_END, POINTER_START, POINTER_PAD = 305, 302, 303, 312, 314
TEMPLATE = tuple(range(280, 292))
BEFORE = (300, 5, 9, 17, 33, 65, 301, 10, 300, 21, 10, 90, VISION_START)


def config(
    hidden: int = 64, layers: int = 4, heads: int = 4, kv_heads: int = 2, mlp: int = 96, full: tuple[int, ...] = (1, 3)
) -> Any:
    """A tiny ``Qwen2_5_VLConfig`` whose sizes are no number of tokens in these tests."""
    from transformers import Qwen2_5_VLConfig

    half = hidden // heads // 2
    side = half * 3 // 8
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 320, "hidden_size": hidden, "intermediate_size": mlp, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": kv_heads, "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-6, "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 301, "pad_token_id": 0,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 1e6, "mrope_section": [half - 2 * side, side, side],
            },
        },
        vision_config={
            "depth": 4, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": hidden,
            "fullatt_block_indexes": list(full), "window_size": 112, "patch_size": 14, "spatial_merge_size": 2,
            "temporal_patch_size": 2, "in_channels": 3, "tokens_per_second": 2,
        },
        image_token_id=IMAGE, video_token_id=306, vision_start_token_id=VISION_START, vision_end_token_id=VISION_END,
        tie_word_embeddings=True,
    )  # fmt: skip


@cache
def model(seed: int = 0) -> Any:
    """Random weights; sharp attention, and a key bias of several times a key's size, as Qwen2.5 has."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    torch.manual_seed(seed)
    made = Qwen2_5_VLForConditionalGeneration(config()).eval()
    made.set_attn_implementation("eager")
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5 if "embed_tokens" not in name else 1.0)
            elif name.endswith("bias"):
                parameter.normal_(std=0.1)
            else:
                parameter.uniform_(0.7, 1.3)
            if name.endswith("q_proj.weight"):
                parameter *= 3
            if name.endswith("k_proj.bias"):
                parameter[:: HEAD_DIM // 2] += 4
    return made


def read(name: str, seed: int = 0) -> np.ndarray:
    """A weight by its state name."""
    found: np.ndarray = model(seed).get_parameter(name).detach().numpy()
    return found


def patches(pixels: np.ndarray) -> torch.Tensor:
    """(3, H, W) -> (patches, 3 * 2 * 14 * 14) in transformers' order: cells in raster order, four patches each."""
    rows, columns = pixels.shape[1] // 28, pixels.shape[2] // 28
    cut = pixels.reshape(3, rows, 2, 14, columns, 2, 14).transpose(1, 4, 2, 5, 0, 3, 6)  # (r, c, 2, 2, 3, 14, 14)
    frames = np.repeat(cut[:, :, :, :, :, None], 2, axis=5)  # a still: two equal frames
    return torch.from_numpy(np.ascontiguousarray(frames.reshape(rows * columns * 4, -1)))


def eager_scores(pixels: np.ndarray, instruction: list[int], mode: str, seed: int = 0) -> np.ndarray:
    """(3, H, W) normalised pixels and the instruction's tokens -> (V,) scores of one weighting mode."""
    grid = pixels.shape[1] // 28, pixels.shape[2] // 28
    visual = grid[0] * grid[1]
    tail = [VISION_END, *instruction, *TEMPLATE, POINTER_START, POINTER_PAD]
    ids = torch.tensor([[*BEFORE, *[IMAGE] * visual, *tail]])
    first, end = len(BEFORE), len(BEFORE) + visual
    with torch.no_grad():
        found = model(seed)(
            input_ids=ids, pixel_values=patches(pixels), mm_token_type_ids=(ids == IMAGE).int(),
            image_grid_thw=torch.tensor([[1, 2 * grid[0], 2 * grid[1]]]), attention_mask=torch.ones_like(ids),
            output_attentions=True, output_hidden_states=True, use_cache=False,
        )  # fmt: skip
    hidden = np.stack([h[0].double().numpy() for h in found.hidden_states[1:]])  # (L, S, D)
    attention = np.stack([a[0].double().numpy() for a in found.attentions])  # (L, Hq, S, S)
    words = mode.split("_")
    queries = slice(end, ids.shape[1] - 2 - (12 if "part" in words else 0))
    unit = hidden / np.linalg.norm(hidden, axis=-1, keepdims=True)
    affinity = (unit[:, queries] @ unit[:, first:end].swapaxes(1, 2)).sum(-1)  # (L, Q)
    mass = attention[:, :, queries, first:end].sum(-1)  # (L, Hq, Q)
    if words[1] == "kl":
        whole, heads = _softmax(affinity.sum(0)).clip(1e-12), _softmax(mass).clip(1e-12)
        by_head = -(whole * np.log(whole / heads)).sum(-1)
    else:
        close = affinity if "layer" in words else np.broadcast_to(affinity.sum(0), affinity.shape)
        chosen = np.argsort(-close, axis=-1, kind="stable")[:, None, : int(words[1])]  # (L, 1, k)
        by_head = np.take_along_axis(mass, np.broadcast_to(chosen, (*mass.shape[:2], chosen.shape[2])), axis=-1).sum(-1)
    weights = _softmax(by_head.ravel())
    scores: np.ndarray = weights @ attention[:, :, -1, first:end].reshape(len(weights), -1)
    return scores / (scores.sum() + 1e-8)


def _softmax(x: np.ndarray) -> np.ndarray:
    raised: np.ndarray = np.exp(x - x.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)
