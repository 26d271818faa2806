"""``--weights`` names a file, or a folder as timm's ``save_for_hf`` and transformers write it -> the file with the tensors, and its hash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from ...runtime.errors import UserMistake

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".tar")
INDEX = ".index.json"  # the list of several files that hold the tensors together
PART = re.compile(r".*-\d{5}-of-(\d{5})\.(safetensors|bin)")  # one of them
FIRST = ("model.safetensors", "pytorch_model.bin")  # what such folders call it; the same tensors where both are there
NAMED = ("random", "pretrained", "own")  # what --weights says in place of a path


def weights_file(path: Path) -> Path:
    """``path`` itself, or the one checkpoint in it, which may be a list of several files; UserMistake for a folder with none or with several."""
    if not path.is_dir():
        return path
    known = next((path / name for name in FIRST if (path / name).is_file()), None)
    if known:
        return known
    files = [
        file for file in path.iterdir() if not file.name.startswith(".") and file.is_file()
    ]  # ._x is another system's
    indexes = sorted(file for file in files if file.name.endswith(INDEX))
    if len(indexes) == 1:
        return indexes[0]
    found = sorted(file.name for file in files if file.suffix in SUFFIXES)
    if len(found) == 1:
        return path / found[0]
    several = [file.name for file in indexes] or found
    raise UserMistake(
        f"--weights {path}: which file of this folder?"
        if several
        else f"--weights {path}: no checkpoint in this folder",
        found=", ".join(several[:4]) + (f" and {len(several) - 4} more" if several[4:] else "")
        or "no file of that kind",
        expected="one checkpoint: " + " or ".join((*FIRST, f"a single *{INDEX}, .safetensors, .pth, .pt or .bin file")),
        because="they are parts of one checkpoint, and the list of them is missing"
        if found and all(PART.fullmatch(name) for name in found)
        else "",
        attempt=f"copy the file *{INDEX} beside them"
        if found and not indexes and all(PART.fullmatch(name) for name in found)
        else f"--weights {path / several[0]}"
        if several
        else "--weights with the file itself",
    )


def sha256_of(files: Iterable[Path]) -> str:
    """Of the bytes of all files one after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while part := stream.read(1 << 20):
                digest.update(part)
    return digest.hexdigest()
