"""A file of safetensors: names, dtypes and shapes from its head, values when they are asked for.

.safetensors -> Stored by name
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from .stored import Stored, possible, unreadable

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "BOOL": "bool",
    "C64": "complex64",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
}


def is_safetensors(file: Path) -> bool:
    """By content: an 8-byte length, then JSON; the file name may say anything."""
    with file.open("rb") as stream:
        head = stream.read(9)
    return file.suffix == ".safetensors" or (head[8:9] == b"{" and not head.startswith(b"PK"))


def read_safetensors(file: Path) -> dict[str, Stored]:
    """Raises SafetensorError, OSError or ValueError where the file is broken or of another kind."""
    from safetensors import safe_open

    found: dict[str, Stored] = {}
    opened = safe_open(file, framework="pt")  # as long as a tensor's values may be asked for
    for name in opened.keys():  # noqa: SIM118  it is no mapping
        view = opened.get_slice(name)
        shape, word = tuple(view.get_shape()), str(view.get_dtype())
        if word in DTYPES and possible(shape):
            found[name] = Stored(shape, DTYPES[word], "", partial(opened.get_tensor, name), (str(file), name))
        else:
            found[name] = unreadable(f"of type {word}", shape)
    return found
