"""The tensors of a folder by name, none of them read yet: an exporter takes them one after the other.

model.safetensors, or model.safetensors.index.json and its shards -> {name in the layout of transformers 5.x: LazyTensor}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...runtime.errors import UserMistake
from ..weights.files.foreign import refuse_foreign
from ..weights.files.safetensors_file import read_safetensors
from ..weights.files.shards import read_shards, refuse_part, shards_of
from ..weights.files.stored import SIZES, Stored
from ..weights.inert_pickle import first_line

if TYPE_CHECKING:
    from torch import Tensor

INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"
FLOATING = ("float32", "bfloat16", "float16", "float64")


@dataclass(frozen=True)
class LazyTensor:
    """One tensor: ``read()`` gives its values in its own dtype, and keeps nothing.

    ``read`` raises UserMistake where they are not finite, or the file is no longer what it was.
    """

    name: str
    file: str  # its file's name; "" where it is made of a seed
    dtype: str  # "bfloat16"
    shape: tuple[int, ...]
    read: Callable[[], Tensor] = field(compare=False, repr=False)

    @property
    def nbytes(self) -> int:
        n = SIZES[self.dtype]
        for side in self.shape:
            n *= side
        return n


def files_of(folder: Path) -> list[Path]:
    """The files that hold the tensors, the index first; UserMistake where there are none."""
    index, whole = folder / INDEX, folder / WHOLE
    if whole.is_file() and not index.is_file():
        return [whole]
    if not index.is_file():
        others = sorted(
            file.name for file in folder.glob("*") if file.suffix in (".safetensors", ".bin", ".pth", ".pt")
        )
        raise UserMistake(
            f"{folder.name}: no weights in this folder",
            found=", ".join(others[:4]) or "no file of that kind",
            expected=f"{WHOLE}, or {INDEX} and the files that it names",
            because="the list of the files is missing" if others else "",
            attempt=f"copy or download {INDEX} too" if others else "the folder of a checkpoint",
        )
    return [index, *(folder / name for name in sorted(shards_of(index, folder.name)))]


def read_tensors(folder: Path, rename: Callable[[str], str]) -> dict[str, LazyTensor]:
    """All tensors of a folder, under the names that ``rename`` gives them.

    Raises:
        UserMistake: a file is missing, cut off, of another kind, or holds weights that are no floating-point numbers.
    """
    source = folder.name
    first = files_of(folder)[0]
    if first.name == INDEX:
        stored = read_shards(first, source, _file)
    else:
        refuse_part(first, source)
        stored = dict(_file(first, first.name))
    found: dict[str, LazyTensor] = {}
    for name, value in stored.items():
        file = Path(value.origin[0]).name if value.origin else first.name
        new = rename(name)
        if new in found:
            raise UserMistake(
                f"{source}: two tensors of one name",
                found=f"{name} beside another that is called {new}",
                expected="the names of transformers 4.51 or those of 5.x",
                attempt="the folder as it was saved",
            )
        _check_kind(name, value, source)
        found[new] = LazyTensor(new, file, value.dtype, value.shape, partial(_values, name, value, source))
    return found


def _file(path: Path, name: str) -> Mapping[str, Stored]:
    """The head of one file of safetensors."""
    from safetensors import SafetensorError

    try:
        if path.stat().st_size == 0:
            raise UserMistake(f"{name}: the file is empty", found="0 bytes", attempt="copy or download it again")
        refuse_foreign(path, name)
        return read_safetensors(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserMistake(
            f"{name}: not a whole safetensors file",
            found=f"{path.stat().st_size} bytes, {first_line(error)}" if path.is_file() else first_line(error),
            because="the file was cut off or is of another kind",
            attempt="copy or download it again",
        ) from None


def _check_kind(name: str, value: Stored, source: str) -> None:
    if value.kind or value.dtype not in FLOATING:
        raise UserMistake(
            f"{source}: weights of a kind that cannot be read",
            found=f"{name}: {value.kind or value.dtype}",
            expected=f"{', '.join(FLOATING[:-1])} or {FLOATING[-1]}",
            because="whole numbers are codes of weights that were quantised, and mean nothing without their scales",
            attempt="the checkpoint in floating point that it was made from",
        )


def _values(name: str, value: Stored, source: str) -> Tensor:
    if value.values is None:
        raise AssertionError("only a kind that is told has no values")
    found = value.values()
    if not bool(found.isfinite().all()):
        raise UserMistake(
            f"{source}: weights that are no numbers",
            found=f"{name}: {int((~found.isfinite()).sum())} of {found.numel()} values are NaN or infinite",
            expected="finite values",
            because="one of them makes every score NaN",
            attempt="another checkpoint of the training",
        )
    return found
