"""Reads a checkpoint file into names and shapes of tensors, and never runs code that it holds.

    .safetensors, .pth, .pt, .pth.tar, .bin, *.index.json -> Checkpoint(content, source, sha256), values when they are needed

Which of the tensors are those of a network is found by names/prefixes.py; what else a training stored beside them is left
unread (inert_pickle.py) but for what recorded.py looks for.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.errors import UserMistake
from .files.foreign import refuse_archive, refuse_foreign
from .files.safetensors_file import is_safetensors, read_safetensors
from .files.shards import is_index, read_shards, refuse_part, shards_of
from .files.stored import Stored
from .files.zipped import Zipped
from .inert_pickle import BROKEN, first_line, not_run
from .light_pickle import TorchFile
from .names.flat import flattened
from .names.wrappers import no_tensors, unwrap
from .place import sha256_of, weights_file
from .recorded import PREPARED, Recorded, recorded_in
from .values import values_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Checkpoint:
    """``content`` as it was saved, its tensors not read yet."""

    content: Any
    named: Mapping[str, Stored]  # every tensor, under the whole path of keys and names that leads to it
    source: str  # file name or URL, never the folder it lies in
    sha256: str | None
    size_bytes: int
    notes: tuple[str, ...] = ()
    ema: bool | None = None  # the averaged weights, the plain ones, or whichever there are
    recorded: Recorded = Recorded()  # noqa: RUF009  frozen

    @cached_property
    def guessed(self) -> tuple[dict[str, Stored], tuple[str, ...], bool]:
        """The tensors that are most likely those of a network, notes, and whether they are an average."""
        return unwrap(self.content, self.source, self.ema)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The same with their values, floating ones as float32."""
        return values_of(self.guessed[0], self.source, self.size_bytes)


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
    parts = [file]
    if is_index(file):
        parts += [file.parent / name for name in sorted(shards_of(file, source))]
        content: Any = read_shards(file, source, lambda part, name: flattened(_content(part, name)[0]))
        unread: tuple[str, ...] = ()
    else:
        refuse_part(file, source)
        content, unread = _content(file, source)
    named = flattened(content)
    if not named:
        raise not_run(source, unread) if unread else no_tensors(content, source)
    notes = (f"left unread, and not run: {_some(unread)}",) if unread else ()
    told = recorded_in(content, file, PREPARED)
    size = sum(part.stat().st_size for part in parts)
    return Checkpoint(content, named, source, sha256_of(parts), size, notes, ema, told)


def _content(file: Path, source: str) -> tuple[Any, tuple[str, ...]]:
    """What one file holds, and the names in it that stand as objects of no kind."""
    import safetensors  # here: plans read what a checkpoint records without it

    refuse_foreign(file, source)
    try:
        if is_safetensors(file):
            return read_safetensors(file), ()
        if zipfile.is_zipfile(file):
            refuse_archive(Zipped(file).names, source)
        read = TorchFile(file)
    except safetensors.SafetensorError as error:
        raise UserMistake(
            f"{source}: not a whole safetensors file",
            found=first_line(error),
            because="the file was cut off or is of another kind",
            attempt="copy or download it again",
        ) from None
    except BROKEN as error:
        raise UserMistake(
            f"{source}: not a PyTorch checkpoint, or not a whole one",
            found=first_line(error),
            expected="a file written by torch.save or safetensors",
            attempt="copy or download it again, and compare the size",
        ) from None
    if read.forbidden:
        raise not_run(source, read.forbidden)
    return read.content, read.unread


def _some(names: tuple[str, ...], limit: int = 4) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
