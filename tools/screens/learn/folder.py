"""A checkpoint of GUI-AIMA as it is published: configuration, weights with the published names, tokenizer, processor.

    write_folder(folder, model, tokenizer, config): config.json, model.safetensors (float16), tokenizer.json, ...

The names are those of the published files (transformers 4.51): ``visual.*``, ``model.*``; the tied ``lm_head`` is not stored.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learn.tokens import SPECIAL

from edgesmith.models.families.gui_aima.picture import MEAN, STD

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

NAMES = (("model.visual.", "visual."), ("model.language_model.", "model."))


def published(name: str) -> str:
    """A parameter's name in transformers 5 -> its name in the published files."""
    return next(new + name[len(old) :] for old, new in NAMES if name.startswith(old))


def write_folder(folder: Path, model: torch.nn.Module, tokenizer: Tokenizer, config: dict[str, Any]) -> None:
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {
        published(name): value.detach().to(torch.float16).contiguous()
        for name, value in model.state_dict().items()
        if name != "lm_head.weight"
    }
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    texts = {
        "config.json": config,
        "tokenizer_config.json": {
            "tokenizer_class": "Qwen2Tokenizer",
            "model_max_length": config["max_position_embeddings"],
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "additional_special_tokens": list(SPECIAL[1:]),
        },
        "preprocessor_config.json": {
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2_5_VLProcessor",
            "min_pixels": 3136,
            "max_pixels": 12845056,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": list(MEAN),
            "image_std": list(STD),
        },
    }
    for name, value in texts.items():
        (folder / name).write_text(json.dumps(value, indent=1) + "\n")
