"""kernels.zip: compiled kernels of the fused ops as portable PTX, and a table that says how each is launched.

    kernels.json    format, versions, hash of the sources, and for every op its schema and launches (fused_ops.py)
    plugins.txt     the same table in lines of words, expressions in postfix: what the C++ plugin reads
    *.ptx           one entry a file

Names and sizes of all members are looked at before one is read (ground/members.py), and everything is checked against
the sha256 in its table before it is used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import EdgesmithError, UserMistake
from ..ground.members import check_plain, read_members
from .schema import Launch, OpSchema

FORMAT = 1
PACK = "kernels.zip"
TABLE, LINES = "kernels.json", "plugins.txt"
MAX_BYTES = 64 * 1024 * 1024  # unpacked; ours are some megabytes, and a zip can claim any size


@dataclass(frozen=True)
class OpKernels:
    """One op of the pack: its interface and the kernels that compute it."""

    schema: OpSchema
    launches: tuple[Launch, ...]


@dataclass(frozen=True)
class KernelPack:
    """A read and checked pack. ``ptx`` is by entry name."""

    ops: Mapping[str, OpKernels]
    ptx: Mapping[str, str]
    about: Mapping[str, Any]  # target, ptx version, versions, source hash
    lines: str = ""

    def unpack(self, folder: Path) -> None:
        """Write plugins.txt and the PTX files, for the C++ plugin."""
        folder.mkdir(parents=True, exist_ok=True)
        for op in self.ops.values():
            for launch in op.launches:
                (folder / launch.file).write_text(self.ptx[launch.entry])
        (folder / LINES).write_text(self.lines)  # last: who finds it finds everything


def read_pack(path: Path) -> KernelPack:
    """Read kernels.zip.

    Raises:
        EdgesmithError: no such file, no zip, another format, or contents that are not what its table says.
    """
    try:
        members = read_members(path, MAX_BYTES)
        table = json.loads(members[TABLE])
        if table["format"] != FORMAT:
            raise _broken(path, f"format {table['format']}", f"format {FORMAT}")
        lines = members[LINES].decode()
        if _sha256(lines.encode()) != table["lines_sha256"]:
            raise _broken(path, f"{LINES} with another hash", "the hash in its table")
        ops, ptx = {}, {}
        for name, op in table["ops"].items():
            launches = tuple(_launch(launch) for launch in op["launches"])
            for launch in launches:
                code = members[launch.file]
                if _sha256(code) != launch.sha256:
                    raise _broken(path, f"{launch.file} with another hash", "the hash in its table")
                ptx[launch.entry] = code.decode()
            ops[name] = OpKernels(OpSchema.from_json(op["schema"]), launches)
    except FileNotFoundError:
        raise _broken(path, "no such file", PACK) from None
    except UserMistake as error:
        raise _broken(path, f"{error.what}: {error.found}", "a pack written by make kernels") from None
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise _broken(path, f"{type(error).__name__}: {error}", "a pack written by make kernels") from None
    about = {key: value for key, value in table.items() if key != "ops"}
    return KernelPack(ops, ptx, about, lines)


def _launch(data: Mapping[str, Any]) -> Launch:
    x, y, z = data["grid"]
    check_plain(data["file"])
    if not data["file"].endswith(".ptx"):  # any other would be written over the table, or beside it
        raise ValueError(f"a kernel in the file {data['file']}")
    return Launch(**{**data, "grid": (x, y, z), "scalars": tuple(data["scalars"])})


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _broken(path: Path, found: str, expected: str) -> EdgesmithError:
    return EdgesmithError(
        f"The kernel pack {path.name} cannot be used",
        found=found,
        expected=expected,
        because="kernels run on the GPU unchecked, so only an intact pack is used",
        attempt="export the bundle again",
    )
