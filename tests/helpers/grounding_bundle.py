"""A bundle of the task grounding in a few kilobytes: "red" points to the reddest patch. Three real graphs a size, no training.

vision       mean colour of each 28 x 28 pixels
prefix       those colours as keys, behind ``FIXED`` rows of zeros
instruction  softmax of 10 x the colour that the words ask for, times the keys of the picture
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgesmith.runtime.pictures.contract import ImageContract
from edgesmith.runtime.tasks.grounding.words import batch

FIXED = 3  # tokens of the fixed text before the picture
VISION_START, VISION_END, POINTER_START, POINTER_PAD, IMAGE_PAD = 1, 2, 3, 4, 5
AFTER = (6, 7)
WORDS = {"red": 10, "green": 11, "blue": 12, "click": 13, "the": 14, "button": 15, "[UNK]": 16}
COLOURS = {"red": (1, -1, -1, 0), "green": (-1, 1, -1, 0), "blue": (-1, -1, 1, 0)}
VOCABULARY = 20
MOST_TOKENS = 24  # of a row
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
WIDE, TALL, SQUARE = (224, 140), (84, 168), (112, 112)  # width, height
SIZES = (WIDE, TALL, SQUARE)
ANY_SIZE = '<ir_version: 9, opset_import: ["" : 18]>'


def vision_text(rows: int, columns: int) -> str:
    return f"""{ANY_SIZE}
    vision (float[batch, 3, {28 * rows}, {28 * columns}] pixels) => (float[batch, {rows * columns}, 3] image_embeds)
    <int64[3] flat = {{0, 3, {rows * columns}}}>
    {{ mean = AveragePool<kernel_shape = [28, 28], strides = [28, 28]>(pixels)  lines = Reshape(mean, flat)
      image_embeds = Transpose<perm = [0, 2, 1]>(lines) }}"""


def prefix_text(tokens: int) -> str:
    stored = f"float16[batch, 1, 1, {FIXED + tokens}, 4]"
    return f"""{ANY_SIZE}
    prefix (float[batch, {tokens}, 3] image_embeds) => ({stored} keys, {stored} values, float[batch, 1, 4] visual_sums)
    <int64[6] pads = {{0, {FIXED}, 0, 0, 0, 1}}, int64[2] axes = {{1, 2}}, int64[1] rows = {{1}}>
    {{ padded = Pad(image_embeds, pads)  lifted = Unsqueeze(padded, axes)  keys = Cast<to = 10>(lifted)
      values = Identity(keys)  visual_sums = ReduceSum<keepdims = 1>(padded, rows) }}"""


def instruction_text() -> str:
    table = np.zeros((VOCABULARY, 4), int)
    for word, colour in COLOURS.items():
        table[WORDS[word]] = colour
    values = ", ".join(f"{value}.0" for value in table.ravel())
    return f"""{ANY_SIZE}
    instruction (int64[batch, M] tokens, int64[batch] lengths, int64[batch] start, float16[batch, 1, 1, P, 4] keys,
        float16[batch, 1, 1, P, 4] values, float[batch, 1, 4] visual_sums) => (float[batch, V] scores)
    <float[{VOCABULARY}, 4] table = {{{values}}}, int64[1] one = {{1}}, int64[1] two = {{2}}, int64[2] axes = {{1, 2}},
     int64[1] first = {{{FIXED}}}, int64[1] last = {{9223372036854775807}}, float ten = {{10.0}}, float none = {{0.0}},
     float[1] unused = {{0.0}}>
    {{ rows = Gather(table, tokens)  want = ReduceSum<keepdims = 1>(rows, one)
      stored = Squeeze(keys, axes)  wide = Cast<to = 1>(stored)  visual = Slice(wide, first, last, one)
      product = Mul(visual, want)  dots = ReduceSum<keepdims = 0>(product, two)  sharp = Mul(dots, ten)
      places = Add(lengths, start)  real = Cast<to = 1>(places)  sums = ReduceSum<keepdims = 0>(visual_sums, axes)
      both = Add(real, sums)  narrow = ReduceMax<keepdims = 0>(values)  much = Cast<to = 1>(narrow)
      all = Add(both, much)  nothing = Mul(all, none)  column = Unsqueeze(nothing, one)  moved = Add(sharp, column)
      scores = Softmax<axis = 1>(moved) }}"""


def scores_of(pixels: np.ndarray, colour: str) -> np.ndarray:
    """What the graphs make of (3, H, W) normalised pixels and a colour, in float64: (V,)."""
    means = pixels.astype(np.float64).reshape(3, pixels.shape[1] // 28, 28, pixels.shape[2] // 28, 28).mean((2, 4))
    logits = 10 * (means.astype(np.float16).astype(np.float64).reshape(3, -1).T @ COLOURS[colour][:3])
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def spec(name: str, dtype: str, *shape: int | str, most: Sequence[int] | None = None) -> dict[str, Any]:
    bounds = {"min": [1] * len(shape), "opt": [1] * len(shape), "max": list(most)} if most else {}
    return {"name": name, "dtype": dtype, "shape": list(shape), **bounds}


def ids(*words: str) -> list[int]:
    """The row of an instruction of known words."""
    return [VISION_END, *(WORDS[word] for word in words), *AFTER, POINTER_START, POINTER_PAD]


def encode(text: str) -> list[int]:
    """Stands in for the library where there is none."""
    return [WORDS.get(word, WORDS["[UNK]"]) for word in text.lower().split()]


def tokenizer_json() -> bytes:
    """The same words for the library ``tokenizers``."""
    names = {
        "<|vision_start|>": 1,
        "<|vision_end|>": 2,
        "<|pointer_start|>": 3,
        "<|pointer_pad|>": 4,
        "<|image_pad|>": 5,
    }
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [{"id": at, "content": name, **flags} for name, at in names.items()],
            "normalizer": {"type": "Lowercase"},
            "pre_tokenizer": {"type": "Whitespace"},
            "model": {"type": "WordLevel", "vocab": {**names, **WORDS}, "unk_token": "[UNK]"},
        }
    ).encode()


def contract(size: tuple[int, int]) -> ImageContract:
    """``size``: (width, height)."""
    return ImageContract(size=size[::-1], crop_fraction=1.0, fit="stretch", mean=MEAN, std=STD)


def screenshot(size: tuple[int, int] = WIDE, **places: tuple[int, int]) -> np.ndarray:
    """A grey picture of (width, height) with squares of 28 pixels; ``red=(2, 1)``: in column 2 and row 1."""
    picture = np.full((size[1], size[0], 3), 90, np.uint8)
    for name, (column, row) in places.items():
        colour = [255 if value > 0 else 0 for value in COLOURS[name][:3]]
        picture[28 * row : 28 * row + 28, 28 * column : 28 * column + 28] = colour
    return picture


def write_grounding_bundle(
    out: Path, sizes: Sequence[tuple[int, int]] = SIZES, change: Callable[[dict[str, Any]], object] | None = None
) -> Path:
    """Write it to ``out``; ``change`` gets the manifest to alter in place."""
    import onnx

    from edgesmith.runtime.bundle.bundle import write_bundle
    from edgesmith.runtime.bundle.golden import golden_bytes
    from edgesmith.runtime.pictures.preprocess import preprocess
    from edgesmith.runtime.session.pixels import prepared

    texts: dict[str, str] = {}
    graphs: dict[str, Any] = {}
    buckets = []
    for width, height in sizes:
        rows, columns = height // 28, width // 28
        tokens, name = rows * columns, f"{width}x{height}"
        stored = ("batch", 1, 1, FIXED + tokens, 4)
        embeds = spec("image_embeds", "float32", "batch", tokens, 3)
        texts |= {f"vision_{name}": vision_text(rows, columns), f"prefix_{name}": prefix_text(tokens)}
        graphs[f"vision_{name}"] = {
            "inputs": [spec("pixels", "float32", "batch", 3, height, width)],
            "outputs": [embeds],
        }
        kept = [spec(one, "float16", *stored) for one in ("keys", "values")]
        graphs[f"prefix_{name}"] = {
            "inputs": [embeds],
            "outputs": [*kept, spec("visual_sums", "float32", "batch", 1, 4)],
        }
        buckets.append(
            {
                "screen": [width, height], "size": [height, width], "grid": [rows, columns],
                "vision": f"vision_{name}", "prefix": f"prefix_{name}",
            }
        )  # fmt: skip
    texts["instruction"] = instruction_text()
    graphs["instruction"] = {
        "inputs": [
            spec("tokens", "int64", "batch", "M", most=(4, MOST_TOKENS)),
            *(spec(one, "int64", "batch") for one in ("lengths", "start")),
            *(spec(one, "float16", "batch", 1, 1, "P", 4) for one in ("keys", "values")),
            spec("visual_sums", "float32", "batch", 1, 4),
        ],
        "outputs": [spec("scores", "float32", "batch", "V")],
    }
    picture = screenshot(sizes[0], red=(1, 1), green=(0, 0), blue=(2, 1))
    pixels = preprocess([picture], contract(sizes[0]))[0]
    asked = [ids("click", "the", "red", "button"), ids("blue")]
    tokens_array, lengths = batch(asked)
    scores = np.stack([scores_of(pixels, colour) for colour in ("red", "blue")]).astype(np.float32)
    files = {
        **{f"{name}.onnx": onnx.parser.parse_model(text).SerializeToString() for name, text in texts.items()},
        "tokenizer.json": tokenizer_json(),
        "golden.npz": golden_bytes(
            {"tokens": tokens_array, "lengths": lengths},
            {"scores": scores},
            picture,
            prepared(picture, contract(sizes[0])),
        ),
    }
    template = {
        "before": [8, 9, VISION_START], "after": list(AFTER), "vision_end": VISION_END, "pointer_start": POINTER_START,
        "pointer_pad": POINTER_PAD, "image_pad": IMAGE_PAD, "stop_words": ["<|pointer_pad|>", "<|vision_start|>"],
    }  # fmt: skip
    manifest: dict[str, Any] = {
        "name": "colours", "model": "colours", "family": "colours", "task": "grounding", "target": "cpu",
        "precision": "fp32",
        "graphs": {name: {"file": f"{name}.onnx", **row} for name, row in graphs.items()},
        "input_contract": contract(sizes[0]).to_json(),
        "grounding": {
            "template": template, "buckets": buckets, "weighting": "query_1", "threshold": 0.3,
            "kv": {"bits": 16, "scheme": "kivi", "bias_left_out": False}, "vocabulary": VOCABULARY,
            "tokenizer": "tokenizer.json",
        },
        "weights": {"source": "none", "sha256": None}, "parity": [], "notes": [],
    }  # fmt: skip
    if change is not None:
        change(manifest)
    return write_bundle(out, files, manifest).path
