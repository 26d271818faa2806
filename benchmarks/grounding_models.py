"""What the grounding benchmarks measure on: sizes of networks, folders of random weights, synthetic screens, instructions.

The middle network has the proportions of the real 3B: its table of words has the same share of the weights, one vision block
in eight sees the whole picture, a head of the decoder is rotated on three axes. The weights are random (random_weights.py
of the family), in bfloat16, as the published ones are stored. Its tokenizer spells texts in bytes, so message and instructions
are as short as give the counts of the real one: 99 tokens before the screen, about ten of an instruction.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from edgesmith.models.families.gui_aima.network import configuration
from edgesmith.models.families.gui_aima.shape import Shape, TokenIds
from edgesmith.models.folders.folder import MESSAGE_KEY, random_folder

MIDDLE, TINY, REAL = "middle", "tiny", "3B"
SHAPES = {
    MIDDLE: Shape(
        vocabulary=20_000,
        hidden=768,
        layers=12,
        heads=12,
        kv_heads=2,
        mlp=4_096,
        sections=(8, 12, 12),
        vision_layers=16,
        vision_hidden=512,
        vision_heads=8,
        vision_mlp=1_368,
        full_attention=(7, 15),
        tokens=TokenIds(19_985, 19_982, 19_983, 19_997, 19_999),
    ),
    TINY: Shape(
        vocabulary=400,
        hidden=128,
        layers=3,
        heads=2,
        kv_heads=1,
        mlp=256,
        sections=(8, 12, 12),
        vision_layers=3,
        vision_hidden=64,
        vision_heads=2,
        vision_mlp=128,
        full_attention=(1,),
        tokens=TokenIds(385, 382, 383, 397, 399),
    ),
    REAL: Shape(),
}
SCREENS = {MIDDLE: (1280, 800), TINY: (336, 224), REAL: (1280, 800)}  # width, height
MORE_SCREENS = {
    MIDDLE: {"720p": (1280, 720), "1080p": (1920, 1080), "1440p": (2560, 1440)},
    TINY: {"small": (252, 168), "larger": (448, 336)},
}
INSTRUCTIONS = ("settings", "save button", "close it", "search files", "next page", "address bar")
MESSAGE = ("You are a GUI agent. Find what the instruction means on the screenshot and click its middle." + " " * 90)[
    :90
]


def screenshot(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """RGB uint8 (height, width, 3): windows, buttons and lines of text-like strokes, by a seed."""
    import cv2

    width, height = size
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), rng.integers(40, 120, 3), np.uint8)
    for _ in range(6):
        _window(picture, rng)
    cv2.rectangle(picture, (0, height - height // 20), (width, height), (30, 30, 34), -1)
    return picture


def _window(picture: np.ndarray, rng: np.random.Generator) -> None:
    import cv2

    height, width = picture.shape[:2]
    left, top = int(rng.integers(0, width * 2 // 3)), int(rng.integers(0, height * 2 // 3))
    across, down = int(rng.integers(width // 5, width // 2)), int(rng.integers(height // 5, height // 2))
    cv2.rectangle(picture, (left, top), (left + across, top + down), (246, 246, 248), -1)
    cv2.rectangle(picture, (left, top), (left + across, top + 24), rng.integers(60, 220, 3).tolist(), -1)
    for line in range(top + 40, top + down - 30, 18):
        end = left + int(rng.integers(across // 4, across))
        cv2.putText(picture, "words of a window" * 4, (left + 8, line), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (60, 60, 60))
        cv2.rectangle(picture, (end, line - 12), (left + across, line + 4), (246, 246, 248), -1)
    for button in range(2):
        at = left + 10 + 110 * button
        cv2.rectangle(picture, (at, top + down - 28), (at + 90, top + down - 6), rng.integers(40, 230, 3).tolist(), -1)


def write_folder(shape: Shape, path: Path, seed: int = 0, shards: int = 1) -> Path:
    """A checkpoint folder of random weights as transformers writes one; nothing is done where it is there already."""
    from safetensors.torch import save_file

    done = path / "config.json"
    if done.exists():
        return path
    path.mkdir(parents=True, exist_ok=True)
    made = random_folder(shape, seed, message=MESSAGE)
    (path / "tokenizer.json").write_bytes(made.tokenizer_json)
    names = list(made.tensors)
    each = -(-len(names) // shards)
    index: dict[str, Any] = {"metadata": {}, "weight_map": {}}
    for number in range(shards):
        part = names[number * each : (number + 1) * each]
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors" if shards > 1 else "model.safetensors"
        save_file({name: made.tensors[name].read() for name in part}, path / file, metadata={"format": "pt"})
        index["weight_map"] |= dict.fromkeys(part, file)
    if shards > 1:
        (path / "model.safetensors.index.json").write_text(json.dumps(index))
    done.write_text(json.dumps(config_words(shape), indent=1))  # last: whoever finds it finds all
    return path


def config_words(shape: Shape) -> dict[str, Any]:
    """config.json: that of transformers, and what GUI-AIMA's checkpoints say beside it."""
    ids = shape.tokens
    words: dict[str, Any] = configuration(shape).to_dict()
    return words | {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "dtype": "bfloat16",
        "pointer_start_token_id": ids.pointer_start,
        "pointer_end_token_id": ids.pointer_start + 1,
        "pointer_pad_token_id": ids.pointer_pad,
        "query_topk": 1,
        MESSAGE_KEY: MESSAGE,
        "kl_query_weighting": False,
    }
