"""A file of ``torch.save`` or of plain pickle, read without torch and without running anything: names, shapes, what stands beside.

    .pth, .pt, .bin, .pth.tar -> TorchFile(content, unread, forbidden); values of a tensor when they are asked for

Three forms: a zip archive (since PyTorch 1.6), five pickles in a row with the values behind them (before), one pickle alone.
Plans read it before torch is imported; what the pickle may hold is said in inert_pickle.py.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from .files.stored import SIZES
from .files.tensors import Storage, storage_of
from .files.zipped import NotWhole, Zipped
from .inert_pickle import BROKEN, InertReader

if TYPE_CHECKING:
    from torch import Tensor

MOST_BYTES = (
    64_000_000  # of the pickle alone, without tensors; that of a training's optimiser has some hundred thousand
)
LEGACY = 0x1950A86A20F9469CFC6C  # what files of before PyTorch 1.6 begin with


class Bounded(io.RawIOBase):
    """The next bytes of a stream, at most MOST_BYTES: reading never reserves more than is there."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, here = stream, stream.tell()
        self.left = min(MOST_BYTES, stream.seek(0, io.SEEK_END) - here)
        stream.seek(here)

    def read(self, count: int | None = -1) -> bytes:
        if count is None or not 0 <= count <= self.left:
            raise EOFError("the pickle ends in the middle, or is longer than any checkpoint's")
        self.left -= count
        return self.stream.read(count)

    def readline(self, count: int | None = -1) -> bytes:
        line = self.stream.readline(self.left)
        self.left -= len(line)
        return line


class TorchFile:
    """``content`` of a file; NotWhole or one of BROKEN where it cannot be read."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.unread: tuple[str, ...] = ()
        self.forbidden: tuple[str, ...] = ()
        self.offsets: dict[str, tuple[int, int]] = {}  # key of a storage -> first byte, bytes; of the older form
        self._sizes: dict[str, int] = {}  # key -> bytes of one value
        self._last: tuple[str, Any] = ("", None)
        self.zipped = Zipped(file) if zipfile.is_zipfile(file) else None
        if self.zipped:
            if self.zipped.home is None:
                raise NotWhole("no data.pkl in the archive")
            if self.zipped.size_of("data.pkl") > MOST_BYTES:
                raise NotWhole(f"a pickle of {self.zipped.size_of('data.pkl')} bytes")
            if "byteorder" in self.zipped.members and bytes(self.zipped.read("byteorder")) != b"little":
                raise NotWhole("written on a machine of another byte order")
            self.content = self._next(io.BytesIO(self.zipped.read("data.pkl")))
        else:
            with file.open("rb") as stream:
                self.content = self._next(stream)
                if type(self.content) is int and self.content == LEGACY:
                    self._legacy(stream)

    def _next(self, stream: IO[bytes]) -> Any:
        reader = InertReader(Bounded(stream), self._storage)  # type: ignore[arg-type]
        content = reader.load()
        self.unread = tuple(dict.fromkeys((*self.unread, *reader.unread)))
        self.forbidden = tuple(dict.fromkeys((*self.forbidden, *reader.forbidden)))
        return content

    def _legacy(self, stream: IO[bytes]) -> None:
        """Protocol, machine, content, keys; then for each key the number of values in eight bytes, and the values."""
        self._next(stream)
        if isinstance(machine := self._next(stream), dict) and machine.get("little_endian") is False:
            raise NotWhole("written on a machine of another byte order")
        self.content, keys = self._next(stream), self._next(stream)
        end = self.file.stat().st_size
        for key in keys if isinstance(keys, list) else ():
            count = int.from_bytes(stream.read(8), "little")
            begin, size = stream.tell(), count * self._sizes.get(str(key), 0)
            if begin + size > end:
                raise NotWhole(f"values of a tensor: {size} bytes are said, {end - begin} are there")
            self.offsets[str(key)] = (begin, size)
            stream.seek(begin + size)
        if missing := self._sizes.keys() - self.offsets.keys():
            raise NotWhole(f"no values for {len(missing)} tensors")

    def _storage(self, pid: Any) -> Any:
        """The storage that a persistent name of the pickle means, or what the older form calls a module."""
        if isinstance(pid, tuple) and pid and pid[0] == "module":
            return pid[1] if len(pid) > 1 else None
        found = storage_of(pid, self.values)
        if found is None:
            raise ValueError("a storage that PyTorch does not write")
        self._sizes[found.key] = SIZES.get(found.dtype, 1)
        if self.zipped and found.dtype in SIZES:
            size = self.zipped.size_of(f"data/{found.key}")
            if found.numel * SIZES[found.dtype] > size:
                raise NotWhole(f"data/{found.key} has {size} bytes for {found.numel} values")
        return found

    def values(self, storage: Storage, dtype: str) -> Tensor:
        """All values of a storage, flat; the last one is kept, as its tensors mostly stand one after the other."""
        import torch

        if self._last[0] != storage.key:
            self._last = (storage.key, self._bytes(storage.key))
        data = self._last[1]
        count = len(data) // SIZES[dtype]
        kind = getattr(torch, dtype)
        return torch.frombuffer(data, dtype=kind, count=count) if count else torch.empty(0, dtype=kind)

    def _bytes(self, key: str) -> bytearray:
        if self.zipped:
            return self.zipped.read(f"data/{key}")
        begin, size = self.offsets.get(key, (0, 0))
        with self.file.open("rb") as stream:
            stream.seek(begin)
            return bytearray(stream.read(size))


def beside_tensors(file: Path) -> Any:
    """The content of the file; None where it is no such file or cannot be read: reading the tensors then says why."""
    try:
        with file.open("rb") as stream:
            if stream.read(2) not in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
                return None
        content = TorchFile(file).content
    except BROKEN:
        return None
    return content if isinstance(content, dict) and content else None
