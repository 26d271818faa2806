"""``--weights`` names a file, or a folder as timm's ``save_for_hf`` and transformers write it -> the file with the tensors."""

from __future__ import annotations

from pathlib import Path

from ...runtime.errors import UserMistake

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".tar")
FIRST = ("model.safetensors", "pytorch_model.bin")  # what such folders call it; the same tensors where both are there
NAMED = ("random", "pretrained")  # what --weights says in place of a path


def weights_file(path: Path) -> Path:
    """``path`` itself, or the one checkpoint in it; UserMistake for a folder with none or with several."""
    if not path.is_dir():
        return path
    known = next((path / name for name in FIRST if (path / name).is_file()), None)
    if known:
        return known
    found = sorted(file.name for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
    if len(found) == 1:
        return path / found[0]
    parts = sorted(file.name for file in path.glob("*.index.json"))
    raise UserMistake(
        f"--weights {path}: which file of this folder?" if found else f"--weights {path}: no checkpoint in this folder",
        found=", ".join(found[:4]) + (f" and {len(found) - 4} more" if len(found) > 4 else "")
        or "no file of that kind",
        expected="one checkpoint: " + " or ".join((*FIRST, "a single .safetensors, .pth, .pt or .bin file")),
        because=f"{parts[0]} says that the tensors are spread over several files, which are not read together"
        if parts
        else "",
        attempt=f"--weights {path / found[0]}" if found else "--weights with the file itself",
    )
