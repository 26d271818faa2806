"""The zip archive that ``torch.save`` writes: its members by name, each checked against the file before a byte is reserved.

    net.pth > net/data.pkl, net/data/0, net/data/1, ... -> bytes of a member

Values are read where the archive says that they stand, as PyTorch does: a file may be written without check sums
(``torch.serialization.set_crc32_options(False)``), so they are not asked for.
"""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from pathlib import Path

BROKEN = (zipfile.BadZipFile, struct.error, zlib.error, lzma.LZMAError)
MOST_MEMBERS = 1_000_000
SMALL = 64_000_000  # bytes that may be unpacked whatever the file's own size is
HEAD = struct.Struct("<4s22xHH")  # of a member: its mark, the lengths of its name and of what follows it


class NotWhole(ValueError):
    """The archive is broken, or says what cannot be."""


class Zipped:
    """Members by the path below the archive's own folder, ``data.pkl``, ``data/0``; ``names`` are all of them, as written."""

    def __init__(self, file: Path) -> None:
        self.file, self.size = file, file.stat().st_size
        try:
            with zipfile.ZipFile(file) as archive:
                found = archive.infolist()
        except (*BROKEN, NotImplementedError) as error:
            raise NotWhole(str(error)) from None
        self.names = [one.filename for one in found]
        if len(set(self.names)) < len(found):
            raise NotWhole("two members of one name, and readers differ in which of them counts")
        if sum(one.file_size for one in found) > max(SMALL, 20 * self.size) or len(found) > MOST_MEMBERS:
            raise NotWhole("members that are far larger unpacked than the file")
        homes = [name.removesuffix("data.pkl") for name in self.names if name.split("/")[-1] == "data.pkl"]
        if len(homes) > 1:
            raise NotWhole("several data.pkl in one archive")
        self.home = homes[0] if homes else None
        self.members = {one.filename.removeprefix(self.home or ""): one for one in found}

    def size_of(self, name: str) -> int:
        """Bytes of a member, unpacked; NotWhole where there is none."""
        if name not in self.members:
            raise NotWhole(f"no {name} in the archive")
        return self.members[name].file_size

    def read(self, name: str) -> bytearray:
        """All bytes of a member."""
        size, member = self.size_of(name), self.members[name]
        if member.flag_bits & 1:
            raise NotWhole(f"{name} is encrypted")
        try:
            with self.file.open("rb") as stream:
                if member.compress_type == zipfile.ZIP_STORED:
                    stream.seek(member.header_offset)
                    mark, name_bytes, extra_bytes = HEAD.unpack(stream.read(HEAD.size))
                    if mark != b"PK\x03\x04":
                        raise NotWhole(f"{name} does not stand where the archive says")
                    begin = member.header_offset + HEAD.size + name_bytes + extra_bytes
                    if begin + size > self.size:
                        raise NotWhole(f"{name} ends after the file")
                    stream.seek(begin)
                    found = bytearray(stream.read(size))
                else:
                    with zipfile.ZipFile(stream) as archive, archive.open(member) as unpacked:
                        found = bytearray(unpacked.read(size))
        except (*BROKEN, NotImplementedError, EOFError, OSError, RuntimeError) as error:
            raise NotWhole(f"{name}: {error}") from None
        if len(found) != size:
            raise NotWhole(f"{name} has {len(found)} bytes, {size} are said")
        return found
