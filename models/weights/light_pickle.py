"""What stands in a ``torch.save`` file beside its tensors, read without torch and without running anything: plans need it.

    .pth, .pt, .bin, .pth.tar -> dicts, lists, numbers and texts; every other object an Unbuilt with its items, tensors None

No name of the file is looked up: each stands for :class:`Unbuilt`, which takes any arguments and keeps only what the file
fills it with. The interpreter of the standard library in Python is used, as its sibling in C reserves memory by numbers that
the file states. The tensors themselves are read by checkpoint.py.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

MOST_BYTES = (
    64_000_000  # of the pickle alone, without tensors; that of a training's optimiser has some hundred thousand
)
LEGACY = 0x1950A86A20F9469CFC6C  # what files of before PyTorch 1.6 begin with; three more pickles follow


class Unbuilt(dict[Any, Any]):
    """Stands for an object of the file; a dict of its items, or of its attributes."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __call__(self, *_: Any, **__: Any) -> Unbuilt:
        return Unbuilt()

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):  # attributes, and those in slots
            if isinstance(part, dict):
                self.update(part)

    def append(self, _: Any) -> None:
        """A list's items are not kept."""

    def add(self, _: Any) -> None:
        """Nor a set's."""


class _Reader(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return Unbuilt

    def persistent_load(self, _: Any) -> None:
        return None


def beside_tensors(file: Path) -> Any:
    """The content of the file; None where it is no such file or cannot be read: reading the tensors then says why."""
    try:
        if zipfile.is_zipfile(file):
            return _zipped(file)
        with file.open("rb") as stream:
            if stream.read(1) != b"\x80":
                return None
            stream.seek(0)
            return _legacy(stream)
    except Exception:  # noqa: BLE001  whatever a broken or hostile file provokes: nothing of it is used
        return None


def _zipped(file: Path) -> Any:
    with zipfile.ZipFile(file) as archive:
        member = next(one for one in archive.infolist() if one.filename.split("/")[-1] == "data.pkl")
        if member.file_size > MOST_BYTES:
            return None
        with archive.open(member) as stream:
            return _Reader(stream).load()


def _legacy(stream: IO[bytes]) -> Any:
    load: Callable[[], Any] = lambda: _Reader(stream).load()
    if load() != LEGACY:
        return None
    load(), load()  # protocol and byte order
    return load()
