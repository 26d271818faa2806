"""What a graph of this folder has to know of a Qwen2.5-VL: sizes only, taken from transformers' configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PATCH_PX = 14
MERGE = 2  # patches a side that become one visual token
CELL_PX = PATCH_PX * MERGE
WINDOW = 4  # visual tokens a side that look at each other in a block of windows


@dataclass(frozen=True)
class VisionSizes:
    """The tower of the picture; ``full_blocks`` are those whose patches look at the whole picture."""

    hidden: int
    mlp: int
    heads: int
    depth: int
    out: int
    full_blocks: tuple[int, ...]
    theta: float

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads


@dataclass(frozen=True)
class TextSizes:
    """The language model: ``heads`` query heads over ``kv_heads``; ``sections`` frequencies for time, height and width."""

    hidden: int
    mlp: int
    heads: int
    kv_heads: int
    layers: int
    words: int
    eps: float
    theta: float
    sections: tuple[int, int, int]

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads


@dataclass(frozen=True)
class Sizes:
    vision: VisionSizes
    text: TextSizes

    @classmethod
    def of(cls, config: Any) -> Sizes:
        """The sizes of a ``Qwen2_5_VLConfig`` of transformers 5.x.

        Raises:
            ValueError: patches, merging or windows of other sizes than every Qwen2.5-VL has.
        """
        vision, text = config.vision_config, config.text_config
        found = (vision.patch_size, vision.spatial_merge_size, vision.window_size)
        if found != (PATCH_PX, MERGE, CELL_PX * WINDOW):
            raise ValueError(f"patch, merge and window {found}, expected {(PATCH_PX, MERGE, CELL_PX * WINDOW)}")
        time, height, width = text.rope_parameters["mrope_section"]
        return cls(
            VisionSizes(
                vision.hidden_size,
                vision.intermediate_size,
                vision.num_heads,
                vision.depth,
                vision.out_hidden_size,
                tuple(vision.fullatt_block_indexes),
                float(vision.rope_parameters["rope_theta"]),
            ),
            TextSizes(
                text.hidden_size,
                text.intermediate_size,
                text.num_attention_heads,
                text.num_key_value_heads,
                text.num_hidden_layers,
                text.vocab_size,
                float(text.rms_norm_eps),
                float(text.rope_parameters["rope_theta"]),
                (time, height, width),
            ),
        )
