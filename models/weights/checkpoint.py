"""Reads a checkpoint file into named tensors, and never runs code that it holds.

    .safetensors, .pth, .pt, .pth.tar, .bin -> Checkpoint(tensors by name, source, sha256)

Wrapper keys (``model``, ``state_dict``, ...) and prefixes (``module.``, ...) are taken off. What else a training stored
beside the tensors is left unread (inert_pickle.py) but for what recorded.py looks for.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ...runtime.errors import UserMistake
from .inert_pickle import first_line, not_run, read_inert
from .place import weights_file
from .recorded import PREPARED, Recorded, recorded_in
from .values import as_float32

WRAPPERS = ("state_dict", "model", "model_state_dict", "model_state", "net", "module", "weights", "shadow")
AVERAGED = (  # first choice, as timm's: they are what a training that keeps them is judged by
    *(
        "state_dict_ema",
        "model_ema",
        "ema",
        "ema_state_dict",
        "ema_model",
        "model_ema_state_dict",
        "ema_model_state_dict",
    ),
    *("model_state_ema", "ema_state", "averaged_model"),
)
COUNTER = "n_averaged"  # of torch.optim.swa_utils, beside the tensors
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")


@dataclass(frozen=True)
class Checkpoint:
    """``tensors`` by the name the file gives them, floating ones as float32."""

    tensors: dict[str, Tensor]
    source: str  # file name or URL, never the folder it lies in
    sha256: str | None
    notes: tuple[str, ...] = ()
    averaged: bool = False  # the moving average of the weights (EMA) was taken
    recorded: Recorded = Recorded()  # noqa: RUF009  frozen


def read_checkpoint(path: str | os.PathLike[str], source: str | None = None, ema: bool | None = None) -> Checkpoint:
    """The tensors of a file, or of the one checkpoint in a folder.

    ``ema``: the averaged weights, or the plain ones; None takes the averaged ones where there are some and none of theirs
    is missing. Raises UserMistake for a file that is missing, broken, of another kind, or that would need to run code.
    """
    file = weights_file(Path(path))
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
        tensors, notes, averaged = unwrap(content, source, ema)
    except UserMistake as mistake:
        if unread and ema is None:
            raise not_run(source, unread) from None
        raise mistake from None
    if unread:
        notes = (*notes, f"left unread, and not run: {_some(unread)}")
    told = recorded_in(content, file, PREPARED)
    return Checkpoint(as_float32(tensors, source), source, _sha256(file), notes, averaged, told)


def unwrap(content: Any, source: str, ema: bool | None = None) -> tuple[dict[str, Tensor], tuple[str, ...], bool]:
    """The mapping of names to tensors inside whatever was saved around it, notes, and whether it is an average."""
    key, average = next(_averages(content), ("", {}))
    plain = _tensors(content, always=not average)
    if ema and not average:
        raise UserMistake(
            f"{source}: no averaged weights in this file",
            found=_kind(content),
            expected="a state dict under " + ", ".join(AVERAGED[:4]) + " or the like",
            attempt="leave --ema out",
        )
    lacking = len(plain.keys() - average.keys())
    taken = bool(average) and (ema is True or not plain or (ema is None and not lacking))
    notes: tuple[str, ...] = ()
    if taken and plain:
        notes = (f"took the averaged weights (EMA) under {key!r}, as timm does; --no-ema takes the plain ones",)
    elif average and plain:
        without = f", without {lacking} of their tensors" if lacking else ""
        notes = (f"took the plain weights; the file also holds averaged ones under {key!r}{without}",)
    tensors = average if taken else plain
    if not tensors:
        raise UserMistake(
            f"{source}: no named tensors in this file",
            found=_kind(content),
            expected="a state dict, alone or under model or state_dict",
        )
    return tensors, notes, taken


def _averages(content: Any) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """(key, tensors) of the averaged weights, which stand beside the plain ones or in the same wrapper."""
    levels = (content, *(content.get(key) for key in WRAPPERS)) if isinstance(content, dict) else ()
    for level in levels:
        found = {key: level.get(key) for key in AVERAGED} if isinstance(level, dict) else {}
        for key, inner in found.items():
            if isinstance(inner, dict) and (tensors := _tensors(inner)):
                yield key, tensors


def _tensors(content: Any, always: bool = True) -> dict[str, Tensor]:
    """What the wrappers hold, without prefixes; tensors outside of any only where they are wanted ``always``."""
    for depth in range(3):  # a wrapper in a wrapper happens, deeper does not
        inner = _wrapper(content)
        if inner is None:
            if depth == 0 and not always:
                return {}
            break
        content = content[inner]
    if not isinstance(content, dict):
        return {}
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if len(tensors) > 1:
        tensors.pop(COUNTER, None)
    for _ in range(3):
        prefix = next((p for p in PREFIXES if tensors and all(name.startswith(p) for name in tensors)), None)
        if prefix is None:
            break
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _kind(content: Any) -> str:
    if not isinstance(content, dict):
        return type(content).__name__
    return f"a dict of {', '.join(map(str, list(content)[:6]))}" if content else "an empty dict"


def _wrapper(content: Any) -> str | None:
    """The key under which the state dict lies; tensors and figures that stand beside it do not matter."""
    if not isinstance(content, dict):
        return None
    inner = [key for key in WRAPPERS if isinstance(content.get(key), dict)]
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
