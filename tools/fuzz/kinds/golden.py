"""golden.npz of a bundle: arrays of other types, shapes and values, headers that lie, zips that are none."""

from __future__ import annotations

import contextlib
import io
import random as random_
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from bundles import chosen, copied, put, use_bundle, write_originals

NAME = "golden"
FILE = "golden.npz"
LARGE = "large.npz"  # as many zeros as a golden file may claim, in few bytes
TYPES = (
    "float64",
    "float16",
    "float32",
    ">f4",
    "int8",
    "int64",
    "uint8",
    "bool",
    "complex64",
    "U4",
    "S3",
    "M8[s]",
    "O",
    "V8",
)
VALUES = (0.0, 1.0, -1.0, 1e38, -1e38, 1e-45, np.nan, np.inf, -np.inf, 255.0)
NAMES = (
    "images",
    "logits",
    "boxes",
    "scores",
    "edgesmith.picture",
    "edgesmith.prepared",
    "x",
    "",
    "../x",
    "a/b",
    "\u202e",
    "x" * 300,
)


def prepare(folder: Path) -> None:
    from edgesmith.runtime.bundle.golden import MAX_BYTES

    write_originals(folder)
    zeros = np.zeros((MAX_BYTES // 2 - 4096) // (4 * 192), np.float32)
    cases = len(zeros)
    with zipfile.ZipFile(folder / LARGE, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in ("images", "logits"):
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(
                header, {"descr": "<f4", "fortran_order": False, "shape": (cases, 3, 8, 8)}
            )
            with archive.open(f"{name}.npy", "w") as member:
                member.write(header.getvalue())
                for _ in range(192):
                    member.write(zeros.tobytes())


def mutant(random: random_.Random, folder: Path, target: Path) -> Path:
    if random.random() < 0.01:
        bundle = copied(folder / "classifier.edge", target, FILE)
        put(bundle, FILE, (folder / LARGE).read_bytes())
        return bundle
    original = chosen(random, folder)
    bundle = copied(original, target, FILE)
    content = (original / FILE).read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a cast that loses everything, or a name that is there twice
        put(bundle, FILE, _bytes(random, content) if random.random() < 0.3 else _arrays(random, content))
    return bundle


def _bytes(random: random_.Random, content: bytes) -> bytes:
    at = random.randrange(len(content))
    kind = random.randrange(5)
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content[:at] + random.randbytes(random.randrange(1, 9)) + content[at + 4 :]
    if kind == 2:
        return random.choice((b"", b"PK\3\4", b"\x93NUMPY", random.randbytes(500), content * 2, b"x" + content))
    if kind == 3:  # a header that says something else; the zip itself is whole
        return _zip(random, {name: _header(random, data) for name, data in _members(content).items()})
    return _zip(random, _members(content), random.choice((zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_STORED)))


def _header(random: random_.Random, data: bytes) -> bytes:
    places = ((b"<f4", (b"<f8", b"|O ", b"|b1", b"<U9", b"(f)", b"<c8")), (b"False", (b"True ", b"None ", b"1    ", b"[()]")),
              (b"(", (b"[", b"-", b"(-", b"(9", b"((")), (b"NUMPY\1", (b"NUMPY\2", b"NUMPY\3", b"NUMPY\0", b"NUMPX\1")))  # fmt: skip
    old, new = random.choice(places)
    if random.random() < 0.3:
        at = random.randrange(min(len(data), 128))
        return data[:at] + bytes([random.randrange(256)]) + data[at + 1 :]
    return data.replace(old, random.choice(new), 1)


def _arrays(random: random_.Random, content: bytes) -> bytes:
    arrays = dict(np.load(io.BytesIO(content)))
    for _ in range(random.randrange(1, 4)):
        if not arrays:
            break
        name = random.choice(sorted(arrays))
        kind, array = random.randrange(9), arrays[name]
        if kind == 0:
            del arrays[name]
        elif kind == 1:
            arrays[random.choice(NAMES)] = arrays.pop(name)
        elif kind == 2:
            with contextlib.suppress(ValueError, TypeError):  # some have no way to some others: then it stays
                arrays[name] = array.astype(random.choice(TYPES))
        elif kind == 3:
            arrays[name] = _reshaped(random, array)
        elif kind == 4 and array.dtype.kind == "f" and array.size:
            array = array.copy()
            array.reshape(-1)[random.randrange(array.size)] = random.choice(VALUES)
            arrays[name] = array
        elif kind == 5:
            arrays[name] = np.full_like(array, random.choice(VALUES[:6]) if array.dtype.kind == "f" else 1)
        elif kind == 6:
            arrays[name] = np.asfortranarray(array)
        elif kind == 7:
            arrays[random.choice(NAMES)] = np.zeros(random.choice(((), (0,), (1,), (2, 3), (4, 5, 3))), np.uint8)
        else:
            arrays[name] = arrays[random.choice(sorted(arrays))]
    return _zip(random, {f"{name}.npy": _npy(array) for name, array in arrays.items()})


def _reshaped(random: random_.Random, array: np.ndarray) -> np.ndarray:
    kind = random.randrange(7)
    if not array.ndim:
        return array[None]
    if kind == 0:
        return array[:0]
    if kind == 1:
        return np.concatenate([array, array])
    if kind == 2:
        return array[None]
    if kind == 3:
        return array.reshape(-1)
    if kind == 4:
        return array.swapaxes(0, -1)
    if kind == 5:
        return array[..., :1]
    return array[0]


def _members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)  # written by us, and never read so
    return buffer.getvalue()


def _zip(random: random_.Random, members: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        if members and random.random() < 0.05:
            archive.writestr(*next(iter(members.items())))
    return buffer.getvalue()


def use(path: Path) -> None:
    use_bundle(path)
