"""Reads a checkpoint file into named tensors, and never runs code that it holds.

    .safetensors, .pth, .pt, .pth.tar, .bin -> Checkpoint(tensors by name, source, sha256)

Wrapper keys (``model``, ``state_dict``, ...) and prefixes (``module.``, ...) are taken off. What else a training stored
beside the tensors is left unread: inert_pickle.py.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ...runtime.errors import UserMistake
from .inert_pickle import first_line, not_run, read_inert
from .values import as_float32

WRAPPERS = ("state_dict", "model", "model_state_dict", "model_state", "net", "module", "weights")
AVERAGED = ("state_dict_ema", "model_ema", "ema", "ema_state_dict")  # second choice: the plain weights come first
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")


@dataclass(frozen=True)
class Checkpoint:
    """``tensors`` by the name the file gives them, floating ones as float32."""

    tensors: dict[str, Tensor]
    source: str  # file name or URL, never the folder it lies in
    sha256: str | None
    notes: tuple[str, ...] = ()


def read_checkpoint(path: str | os.PathLike[str], source: str | None = None) -> Checkpoint:
    """Raises UserMistake for a file that is missing, broken, of another kind, or that would need to run code."""
    file = Path(path)
    source = source or file.name
    if not file.exists():
        raise UserMistake(
            "--weights: no such file",
            found=str(path),
            expected="random, pretrained, or a .safetensors, .pth or .pt file",
        )
    if not file.is_file():
        raise UserMistake("--weights: this is not a file", found=str(path), expected="one checkpoint file")
    if file.stat().st_size == 0:
        raise UserMistake(f"{source}: the file is empty", found="0 bytes", attempt="copy or download it again")
    content, unread = (_read_safetensors(file, source), ()) if _is_safetensors(file) else read_inert(file, source)
    try:
        tensors, notes = unwrap(content, source)
    except UserMistake:
        if unread:
            raise not_run(source, unread) from None
        raise
    if unread:
        notes = (*notes, f"left unread, and not run: {_some(unread)}")
    return Checkpoint(as_float32(tensors, source), source, _sha256(file), notes)


def unwrap(content: Any, source: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Find the mapping of names to tensors inside whatever was saved around it."""
    notes: list[str] = []
    for _ in range(3):  # a wrapper in a wrapper happens, deeper does not
        inner = _wrapper(content)
        if inner is None:
            break
        averaged = [key for key in AVERAGED if key in content and key != inner]
        if averaged:
            notes.append(f"took {inner!r}; the file also holds averaged weights under {averaged[0]!r}")
        content = content[inner]
    tensors = (
        {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, dict)
        else {}
    )
    if not tensors:
        kind = (
            f"a dict of {', '.join(map(str, list(content)[:6]))}"
            if isinstance(content, dict)
            else type(content).__name__
        )
        raise UserMistake(
            f"{source}: no named tensors in this file",
            found=kind if content != {} else "an empty dict",
            expected="a state dict, alone or under model or state_dict",
        )
    for _ in range(3):
        prefix = next((p for p in PREFIXES if all(name.startswith(p) for name in tensors)), None)
        if prefix is None:
            break
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors, tuple(notes)


def _wrapper(content: Any) -> str | None:
    """The key under which the state dict lies; tensors and figures that stand beside it do not matter."""
    if not isinstance(content, dict):
        return None
    inner = [key for key in (*WRAPPERS, *AVERAGED) if isinstance(content.get(key), dict)]
    with_tensors = [key for key in inner if _holds_tensors(content[key])]
    return next(iter(with_tensors or inner), None)


def _holds_tensors(content: dict[Any, Any], deeper: int = 2) -> bool:
    return any(
        isinstance(value, Tensor) or (deeper and isinstance(value, dict) and _holds_tensors(value, deeper - 1))
        for value in content.values()
    )


def _is_safetensors(file: Path) -> bool:
    """By content: an 8-byte length, then JSON; the file name may say anything."""
    with file.open("rb") as stream:
        head = stream.read(9)
    return file.suffix == ".safetensors" or (head[8:9] == b"{" and not head.startswith(b"PK"))


def _read_safetensors(file: Path, source: str) -> Any:
    import safetensors
    import safetensors.torch

    try:
        return safetensors.torch.load_file(file)
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        raise UserMistake(
            f"{source}: not a whole safetensors file",
            found=first_line(error),
            because="the file was cut off or is of another kind",
            attempt="copy or download it again",
        ) from None


def _some(names: tuple[str, ...], limit: int = 4) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
