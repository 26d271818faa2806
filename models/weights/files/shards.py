"""Tensors that are spread over several files, as transformers and accelerate write large models.

    model.safetensors.index.json {"weight_map": {name: file}} + model-00001-of-00002.safetensors, ... -> Stored by name

The names of files come out of a file of others, so that each must stand in the index's own folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path, PureWindowsPath

from ....runtime.errors import UserMistake
from ..place import INDEX, PART
from .stored import Stored

MOST_BYTES = 64_000_000  # of an index
SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")


def is_index(file: Path) -> bool:
    return file.name.endswith(INDEX)


def shards_of(index: Path, source: str) -> dict[str, list[str]]:
    """File name -> the tensors that it holds; UserMistake for an index that cannot be used and for files that are missing."""
    try:
        if index.stat().st_size > MOST_BYTES:
            raise ValueError(f"{index.stat().st_size} bytes")
        words = json.loads(index.read_bytes())
        told = words.get("weight_map") if isinstance(words, dict) else None
    except (OSError, ValueError, RecursionError) as error:
        raise _unusable(
            source, (str(error) or type(error).__name__)[:160], "copy or download the folder again"
        ) from None
    if not isinstance(told, Mapping) or not told or not all(isinstance(name, str) for name in told.values()):
        raise _unusable(source, "no weight_map of names", "--weights with the checkpoint itself")
    shards: dict[str, list[str]] = {}
    for tensor, name in told.items():
        shards.setdefault(name, []).append(tensor)
    for name in shards:
        if not name or name != PureWindowsPath(name).name or "\x00" in name or not name.endswith(SUFFIXES):
            raise _unusable(source, f"a part called {name!r}"[:160], "--weights with files of your own")
    missing = [name for name in shards if not _is_there(index.parent / name)]
    if missing:
        more = f" and {len(missing) - 4} more" if missing[4:] else ""
        raise UserMistake(
            f"{source}: {len(missing)} of the {len(shards)} files that hold the tensors are missing",
            found="not there: " + ", ".join(f"{name:.80}" for name in missing[:4]) + more,
            expected="all of them in the folder of the index",
            attempt="copy or download them too",
        )
    return shards


def _is_there(path: Path) -> bool:
    """A name that is longer than the file system takes is none of a file that is there."""
    try:
        return path.is_file()
    except OSError:
        return False


def read_shards(index: Path, source: str, read: Callable[[Path, str], Mapping[str, Stored]]) -> dict[str, Stored]:
    """All tensors that the index names, each file by ``read``."""
    found: dict[str, Stored] = {}
    for name, tensors in shards_of(index, source).items():
        held = read(index.parent / name, name)
        if lacking := [tensor for tensor in tensors if tensor not in held]:
            raise UserMistake(
                f"{source}: {name} lacks tensors that the index promises",
                found=f"{len(lacking)} missing, first {lacking[0]}"[:160],
                expected="the files that were written together with the index",
                attempt="copy or download the folder again",
            )
        found |= {tensor: held[tensor] for tensor in tensors}
    return found


def refuse_part(file: Path, source: str) -> None:
    """UserMistake for one of several files, given alone."""
    match = PART.fullmatch(file.name)
    if match and int(match[1]) > 1:
        index = next(iter(sorted(file.parent.glob(f"*{INDEX}"))), None)
        raise UserMistake(
            f"{source}: this is one of {int(match[1])} files that hold the tensors together",
            found="a part without the others",
            expected="the folder with all of them and their index, or the index itself",
            attempt=f"--weights {file.parent}" if index else f"copy the file *{INDEX} beside it, then --weights FOLDER",
        )


def _unusable(source: str, found: str, attempt: str) -> UserMistake:
    return UserMistake(
        f"{source}: this list of files cannot be used",
        found=found,
        expected='{"weight_map": {tensor: file}}, each file in the folder of the list',
        because="a name with a folder in it could read any file of this machine",
        attempt=attempt,
    )
