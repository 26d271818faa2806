"""The small model's configuration: config(tokenizer) -> dict, in the words of the published config.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

HIDDEN, HEADS, KV_HEADS, LAYERS, MLP = 256, 4, 2, 4, 384
VISION = {"depth": 4, "hidden_size": 128, "num_heads": 4, "intermediate_size": 384, "fullatt_block_indexes": [3]}
SECTIONS = (8, 12, 12)  # of 32 frequencies: time, rows, columns
THETA = (
    10_000.0  # a small screen has few rows and columns: with Qwen2.5's 1e6 the columns' frequencies would tell nothing
)


def config(tokenizer: Tokenizer) -> dict[str, Any]:
    """As config.json of a checkpoint of GUI-AIMA; the mode is that of GUI-AIMA-3B, ``query_1``."""
    ids = {
        name: tokenizer.token_to_id(f"<|{name}|>") for name in ("image_pad", "video_pad", "vision_start", "vision_end")
    }
    points = {name: tokenizer.token_to_id(f"<|{name}|>") for name in ("pointer_start", "pointer_end", "pointer_pad")}
    return {
        "architectures": ["Qwen2_5_VLForConditionalGenerationWithPointer"],
        "model_type": "qwen2_5_vl",
        "vocab_size": -(-tokenizer.get_vocab_size() // 32) * 32,
        "hidden_size": HIDDEN,
        "intermediate_size": MLP,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-6,
        "rope_theta": THETA,
        "rope_scaling": {"type": "mrope", "mrope_section": list(SECTIONS)},
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "attention_dropout": 0.0,
        "bos_token_id": tokenizer.token_to_id("<|endoftext|>"),
        "eos_token_id": tokenizer.token_to_id("<|im_end|>"),
        "pad_token_id": tokenizer.token_to_id("<|endoftext|>"),
        "image_token_id": ids["image_pad"],
        "video_token_id": ids["video_pad"],
        "vision_start_token_id": ids["vision_start"],
        "vision_end_token_id": ids["vision_end"],
        **{f"{name}_token_id": value for name, value in points.items()},
        "query_topk": 1,
        "kl_query_weighting": False,
        "part_query_weighting": False,
        "layer_wise_query_weighting": False,
        "torch_dtype": "float16",
        "vision_config": {
            "model_type": "qwen2_5_vl",
            "in_channels": 3,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "tokens_per_second": 2,
            "window_size": 112,
            "hidden_act": "silu",
            "out_hidden_size": HIDDEN,
            **VISION,
        },
    }
