"""A complete folder of a tiny GUI-AIMA: config.json, sharded safetensors and tokenizer.json, as the authors publish theirs.

    write_folder(tmp_path)                               # 4 layers, transformers 5.x names, two shards, query_1
    write_folder(tmp_path, layout="4.51", golden=True)   # the weights and settings of the golden values

The golden values in tests/data/gui_aima_tiny were written by the authors' code (commit and versions stand in facts.json) with
weights that depend on a tensor's name and shape alone (reference_weights.py; every q_proj times 3, so that attention is sharp).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import reference_weights

GOLDEN = Path(__file__).parents[1] / "data" / "gui_aima_tiny"
MODES = ("query_1", "query_kl_part", "query_3", "query_3_layer_wise", "query_kl", "query_2_part")
SPECIAL = (  # the ids of the golden values: 300 and on
    *("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>"),
    *("<|video_pad|>", "<|endoftext|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|recipient|>"),
    *("<|diff_marker|>", "<|pointer_start|>", "<|pointer_end|>", "<|pointer_pad|>"),
)
FIRST_SPECIAL = 300
MESSAGE = "You are a GUI agent."  # short: every letter may be a token here
# what the real tokenizer has as one token in the prompt, so that the answer's template has its 12 tokens here too
WORDS = ("assistant", "system", "user", "os", "py", "aut", "ogui", ".click")
PAIRS = (
    *("th", "he", "in", "er", "on", "re", "Ġt", "Ġa", "Ġb", "Ġc", "Ġo", "Ġs", "Ġth", "Ġthe"),
    *("tt", "en", "ing", "ed", "Ġin", "ic"),
)
SPLIT = (  # how the real tokenizer cuts a text before it merges
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def write_folder(
    path: Path,
    *,
    layout: str = "5.x",
    shards: int = 2,
    weighting: str = "query_1",
    golden: bool = False,
    seed: int = 0,
    hidden: int = 64,
    layers: int = 4,
    heads: int = 4,
    kv_heads: int = 2,
    mlp: int = 128,
    vision_hidden: int = 32,
    vision_layers: int = 4,
    vision_heads: int = 2,
    vision_mlp: int = 64,
    full_attention: tuple[int, ...] = (1, 3),
    vocabulary: int = 320,
    message: str | None = MESSAGE,
    dtype: str = "float32",
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Write the folder and return it. ``layout``: names of transformers "4.51" (as published) or "5.x".

    ``weighting``: one of the six modes of the golden values, written as flags into config.json. ``golden``: exactly the golden
    weights and sizes (``seed`` and the sizes are left alone then). ``shards`` 1 is one model.safetensors without an index.
    ``message``: the fixed text of the prompt, None for the authors' own. ``dtype``: float32, float16 or bfloat16.
    ``changes`` replace words at the top of config.json; None takes one away.
    """
    path.mkdir(parents=True, exist_ok=True)
    if golden:
        text = {name: value for name, value in golden_facts()["config"].items() if name != "vision_config"}
        vision = dict(golden_facts()["config"]["vision_config"])
    else:
        text = text_config(hidden, layers, heads, kv_heads, mlp, vocabulary)
        vision = vision_config(vision_hidden, vision_layers, vision_heads, vision_mlp, full_attention, hidden)
    config = config_words(text, vision, layout, weighting, dtype)
    if message is not None:
        config["grounding_message"] = message
    config |= changes or {}
    words = {name: value for name, value in config.items() if value is not None}
    (path / "config.json").write_text(json.dumps(words, indent=1))
    tokenizer().save(str(path / "tokenizer.json"))
    arrays = {
        name if layout == "4.51" else name_5x(name): value
        for name, value in state(text, vision, 0 if golden else seed).items()
    }
    write_shards(path, arrays, shards, dtype)
    return path


def text_config(hidden: int, layers: int, heads: int, kv_heads: int, mlp: int, vocabulary: int) -> dict[str, Any]:
    half = hidden // heads // 2
    side = half * 3 // 8  # the real model has 16, 24 and 24 of 64
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "tie_word_embeddings": True,
        "rope_scaling": {"type": "mrope", "mrope_section": [half - 2 * side, side, side]},
        "image_token_id": special_id("<|image_pad|>"),
        "video_token_id": special_id("<|video_pad|>"),
        "vision_start_token_id": special_id("<|vision_start|>"),
        "vision_end_token_id": special_id("<|vision_end|>"),
        "bos_token_id": 1,
        "eos_token_id": special_id("<|im_end|>"),
        "pad_token_id": 0,
    }


def vision_config(
    hidden: int, layers: int, heads: int, mlp: int, full_attention: tuple[int, ...], out: int
) -> dict[str, Any]:
    return {
        "in_channels": 3,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": out,
        "tokens_per_second": 2,
        "depth": layers,
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_heads": heads,
        "window_size": 112,
        "fullatt_block_indexes": [index for index in full_attention if index < layers],
    }


def config_words(
    text: Mapping[str, Any], vision: Mapping[str, Any], layout: str, weighting: str, dtype: str
) -> dict[str, Any]:
    """config.json: flat as transformers 4.51 writes it, or with a text_config as 5.x does."""
    outer = {"image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id", "tie_word_embeddings"}
    words: dict[str, Any] = {
        "architectures": ["Qwen2_5_VLForConditionalGenerationWithPointer"],
        "model_type": "qwen2_5_vl",
        **{f"{name}_token_id": special_id(f"<|{name}|>") for name in ("pointer_start", "pointer_end", "pointer_pad")},
        **flags(weighting),
    }
    if layout == "4.51":
        return {**words, **text, "torch_dtype": dtype, "vision_config": {**vision, "model_type": "qwen2_5_vl"}}
    inner = {name: value for name, value in text.items() if name not in outer | {"rope_scaling", "rope_theta"}}
    sections = text["rope_scaling"]["mrope_section"]
    inner["rope_parameters"] = {"rope_type": "default", "rope_theta": text["rope_theta"], "mrope_section": sections}
    return {
        **words,
        **{name: text[name] for name in sorted(outer)},
        "dtype": dtype,
        "text_config": {**inner, "model_type": "qwen2_5_vl_text"},
        "vision_config": {**vision, "model_type": "qwen2_5_vl_vision"},
    }


def flags(weighting: str) -> dict[str, Any]:
    """A mode of the golden values as the words of config.json that the authors' code reads."""
    return dict(golden_facts()["results"][weighting]["config_flags"])


def state(text: Mapping[str, Any], vision: Mapping[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Names of transformers 4.51 -> float32 weights; ``seed`` 0 are those of the golden values. No lm_head: it is tied."""
    return {name: _value(name, shape, seed) for name, shape in shapes(text, vision)}


def _value(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    value = reference_weights.reference_array(name, shape)
    if seed:  # the same rule with other numbers
        value = _spread(value, name, seed)
    return value * np.float32(3) if name.startswith("model.layers.") and name.endswith("q_proj.weight") else value


def _spread(value: np.ndarray, name: str, seed: int) -> np.ndarray:
    order = np.random.Generator(np.random.PCG64(zlib.crc32(f"{seed}:{name}".encode()))).permutation(value.size)
    return value.ravel()[order].reshape(value.shape)


def shapes(text: Mapping[str, Any], vision: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor of the checkpoint but the tied lm_head, under the names of transformers 4.51."""
    width, inner = vision["hidden_size"], vision["intermediate_size"]
    merged = width * vision["spatial_merge_size"] ** 2
    side = vision["patch_size"]
    yield "visual.patch_embed.proj.weight", (width, vision["in_channels"], vision["temporal_patch_size"], side, side)
    for index in range(vision["depth"]):
        block = f"visual.blocks.{index}"
        yield f"{block}.norm1.weight", (width,)
        yield f"{block}.norm2.weight", (width,)
        for name, (rows, columns) in {
            "attn.qkv": (3 * width, width),
            "attn.proj": (width, width),
            "mlp.gate_proj": (inner, width),
            "mlp.up_proj": (inner, width),
            "mlp.down_proj": (width, inner),
        }.items():
            yield f"{block}.{name}.weight", (rows, columns)
            yield f"{block}.{name}.bias", (rows,)
    yield "visual.merger.ln_q.weight", (width,)
    yield "visual.merger.mlp.0.weight", (merged, merged)
    yield "visual.merger.mlp.0.bias", (merged,)
    yield "visual.merger.mlp.2.weight", (vision["out_hidden_size"], merged)
    yield "visual.merger.mlp.2.bias", (vision["out_hidden_size"],)
    hidden, mlp = text["hidden_size"], text["intermediate_size"]
    keys = text["num_key_value_heads"] * (hidden // text["num_attention_heads"])
    yield "model.embed_tokens.weight", (text["vocab_size"], hidden)
    for index in range(text["num_hidden_layers"]):
        layer = f"model.layers.{index}"
        for name, rows in {"q_proj": hidden, "k_proj": keys, "v_proj": keys}.items():
            yield f"{layer}.self_attn.{name}.weight", (rows, hidden)
            yield f"{layer}.self_attn.{name}.bias", (rows,)
        yield f"{layer}.self_attn.o_proj.weight", (hidden, hidden)
        yield f"{layer}.mlp.gate_proj.weight", (mlp, hidden)
        yield f"{layer}.mlp.up_proj.weight", (mlp, hidden)
        yield f"{layer}.mlp.down_proj.weight", (hidden, mlp)
        yield f"{layer}.input_layernorm.weight", (hidden,)
        yield f"{layer}.post_attention_layernorm.weight", (hidden,)
    yield "model.norm.weight", (hidden,)


def name_5x(name: str) -> str:
    """A name of transformers 4.51 in the layout of 5.x."""
    first, _, rest = name.partition(".")
    return {"visual": "model.visual", "model": "model.language_model"}.get(first, first) + f".{rest}"


def write_shards(path: Path, arrays: Mapping[str, np.ndarray], shards: int, dtype: str = "float32") -> None:
    """The tensors in ``shards`` files of about equal counts and their index, or in one file without an index."""
    names = list(arrays)
    per_file = -(-len(names) // shards)
    parts = [names[start : start + per_file] for start in range(0, len(names), per_file)]
    weight_map = {}
    for number, part in enumerate(parts, 1):
        file = "model.safetensors" if shards == 1 else f"model-{number:05}-of-{len(parts):05}.safetensors"
        save_tensors(path / file, {name: arrays[name] for name in part}, dtype)
        weight_map |= dict.fromkeys(part, file)
    if shards > 1:
        size = sum(array.nbytes for array in arrays.values())
        index = {"metadata": {"total_size": size}, "weight_map": weight_map}
        (path / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))


def save_tensors(file: Path, arrays: Mapping[str, np.ndarray], dtype: str = "float32") -> None:
    import torch
    from safetensors.torch import save_file

    as_type = getattr(torch, dtype)
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)).to(as_type) for name, array in arrays.items()}
    save_file(tensors, file, metadata={"format": "pt"})


def tokenizer() -> Any:
    """A byte-level BPE (``tokenizers.Tokenizer``) of 300 tokens and the special ones, which cuts texts as the real one does."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    vocabulary = {letter: index for index, letter in enumerate(_letters())}
    merges: list[tuple[str, str]] = []
    for word in (*WORDS, *PAIRS):
        left = word[0]
        for letter in word[1:]:
            if len(vocabulary) < FIRST_SPECIAL and left + letter not in vocabulary:
                vocabulary[left + letter] = len(vocabulary)
                merges.append((left, letter))
            left += letter
    assert len(vocabulary) == FIRST_SPECIAL
    found = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    found.normalizer = normalizers.NFC()
    found.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    found.decoder = decoders.ByteLevel()
    found.add_special_tokens(list(SPECIAL))
    return found


def _letters() -> list[str]:
    """The 256 signs that stand for bytes in a byte-level vocabulary, in the order of the bytes."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(byte if byte in shown else 256 + hidden.index(byte)) for byte in range(256)]


def special_id(text: str) -> int:
    return FIRST_SPECIAL + SPECIAL.index(text)


def golden_facts() -> dict[str, Any]:
    """Configuration, prompt layout, results by mode, crops and resize cases, and where all of it comes from."""
    return json.loads((GOLDEN / "facts.json").read_text())


def golden_arrays() -> Mapping[str, np.ndarray]:
    """Pictures, ids, positions, hidden_states/i, anchor_attention (layers, heads, visual), <mode>/patch_scores, regions/i."""
    with np.load(GOLDEN / "arrays.npz") as stored:
        return dict(stored)
