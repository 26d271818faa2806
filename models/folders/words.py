"""The small files of a folder: config.json and preprocessor_config.json as plain data, tokenizer.json as bytes and a tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...runtime.errors import UserMistake
from ..families.gui_aima.shape import FRAMES, MEAN, MERGE, PATCH, STD

MOST_BYTES = {"config.json": 4_000_000, "preprocessor_config.json": 1_000_000, "tokenizer.json": 256_000_000}
PROCESSOR = "preprocessor_config.json"
# what a picture goes through before the network, which is fixed here; a folder may repeat it, and must not contradict it
PREPARED: dict[str, Any] = {
    "image_mean": list(MEAN),
    "image_std": list(STD),
    "rescale_factor": 1 / 255,
    "patch_size": PATCH,
    "merge_size": MERGE,
    "temporal_patch_size": FRAMES,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "resample": 3,  # Pillow's bicubic
}


def json_of(folder: Path, name: str, source: str) -> Mapping[str, Any]:
    """The object in a JSON file; UserMistake where it is missing, too large or none."""
    try:
        words = json.loads(bytes_of(folder, name, source))
    except (ValueError, RecursionError) as error:
        words, told = None, (str(error).splitlines() or [type(error).__name__])[0][:160]
    else:
        told = type(words).__name__
    if not isinstance(words, Mapping):
        raise UserMistake(
            f"{source}: {name} cannot be read",
            found=told,
            expected="a JSON object, as transformers writes it",
            attempt="copy or download it again",
        )
    return words


def bytes_of(folder: Path, name: str, source: str) -> bytes:
    """All of a file; UserMistake where it is missing or too large."""
    file = folder / name
    if not file.is_file():
        raise UserMistake(
            f"{source}: {name} is missing",
            found=", ".join(sorted(one.name for one in folder.iterdir())[:6]) or "an empty folder",
            expected="a folder with config.json, tokenizer.json and the tensors",
            because="the instruction's words become numbers by it" if name.startswith("tok") else "it has the sizes",
            attempt=f"copy or download {name} too",
        )
    if (size := file.stat().st_size) > MOST_BYTES[name]:
        raise UserMistake(
            f"{source}: {name} is too large",
            found=f"{size} bytes",
            expected=f"{MOST_BYTES[name]} at most",
            attempt="the file as it was saved",
        )
    return file.read_bytes()


def check_processor(folder: Path, source: str) -> None:
    """UserMistake where preprocessor_config.json, if there is one, prepares pictures in another way than picture.py."""
    if not (folder / PROCESSOR).is_file():
        return
    words = json_of(folder, PROCESSOR, source)
    for name, value in PREPARED.items():
        found = words.get(name)
        if found is not None and not _same(found, value):
            raise UserMistake(
                f"{source}: {PROCESSOR} prepares pictures in another way",
                found=f"{name} {found!r}"[:120],
                expected=f"{value!r}, as the published checkpoints have it",
                because="a network that learned from other pixels would look at the wrong ones here",
                attempt=f"the {PROCESSOR} that was saved with the weights",
            )


def _same(found: Any, value: Any) -> bool:
    if isinstance(value, list):
        return isinstance(found, list) and len(found) == len(value) and all(map(_same, found, value))
    if isinstance(value, bool) or isinstance(found, bool):
        return found is value
    return isinstance(found, (int, float)) and abs(found - value) <= 1e-6 * abs(value)


def tokenizer_of(content: bytes, source: str) -> Any:
    """``tokenizers.Tokenizer``; UserMistake where the library is missing or tokenizer.json cannot be read."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise UserMistake(
            "Instructions in words need the library tokenizers",
            found="no module tokenizers",
            expected="tokenizers, which edgesmith[export] brings",
            attempt="pip install tokenizers",
        ) from None
    try:
        return Tokenizer.from_str(content.decode())
    except Exception as error:  # noqa: BLE001  the library raises plain Exception for what it cannot read
        raise UserMistake(
            f"{source}: tokenizer.json cannot be read",
            found=(str(error).splitlines() or [type(error).__name__])[0][:160],
            expected="the format of Hugging Face tokenizers",
            attempt="copy or download it again",
        ) from None
