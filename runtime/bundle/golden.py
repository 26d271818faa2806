"""golden.npz: a few inputs and what PyTorch made of them, so that a device can test itself without PyTorch.

One array for each input of the graph and each output of the model, under its name, cases stacked along the first axis. These
inputs are stored after preprocessing, so that they judge the engine and nothing else. What PyTorch made of them is stored
as the model gives it, so a detector's boxes and scores of all cells, whatever the graph keeps of them. Beside them one
picture as pixels and samples of what preprocessing made of it (session/pixels.py); bundles of version 0.1.0 have none.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BundleRefused, UserMistake

GOLDEN = "golden.npz"
PICTURE, PREPARED = "edgesmith.picture", "edgesmith.prepared"
MAX_BYTES = 2**29  # unpacked; 64 pictures of 640 x 640 with the boxes of all cells
# as NumPy writes a header, which its own reader takes for Python: a damaged one can be any exception of a parser
NPY = re.compile(
    rb"\x93NUMPY[\x01\x02]\x00.{2,4}?\{'descr': '([^'\n]{1,40})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:-?[0-9]{1,18}, ?)*(?:-?[0-9]{1,18})?)\),? ?\} *\n",
    re.DOTALL,
)
NUMBERS = re.compile(r"[<>][fiu][248]|<f16|\|[iub]1")
MAX_CASES = 4096  # an export writes one batch, or four


@dataclass(frozen=True)
class Golden:
    """Inputs and expected outputs by tensor name; the first axis counts the cases."""

    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    picture: np.ndarray | None = None  # (H, W, 3) uint8 RGB, (H, W, 4) where alpha counts
    prepared: np.ndarray | None = None  # (C, h, w) float32 or uint8, samples of that picture after preprocessing

    @property
    def cases(self) -> int:
        return len(next(iter(self.inputs.values())))


def golden_bytes(
    inputs: Mapping[str, np.ndarray],
    outputs: Mapping[str, np.ndarray],
    picture: np.ndarray | None = None,
    prepared: np.ndarray | None = None,
) -> bytes:
    """The content of golden.npz."""
    buffer = io.BytesIO()
    held = {**inputs, **outputs}
    called = member_names(held)
    arrays: Any = {called[name]: array for name, array in held.items()}
    if picture is not None and prepared is not None:
        arrays |= {PICTURE: picture, PREPARED: prepared}
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def member_names(names: Iterable[str]) -> dict[str, str]:
    """What each tensor is called inside the file: its name, or one made of it where no file could have that name beside the others."""
    from ..ground.members import PLAIN

    several = list(names)
    alike = Counter(name.lower() for name in several)
    plain = {name: bool(PLAIN.fullmatch(name)) and alike[name.lower()] == 1 for name in several}
    return {
        name: name if plain[name] else f"tensor-{hashlib.sha256(name.encode()).hexdigest()[:24]}" for name in several
    }


def read_golden(path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> Golden:
    """Read golden.npz and check that it covers these inputs and outputs; nothing in it is unpickled.

    Raises:
        BundleRefused: it is not there, or it is damaged: no plain npz, too large, does not fit the graph, or holds NaN or infinity: a limit
            that is made from infinity holds always.
    """
    try:
        from ..ground.members import read_members  # with zipfile; a bundle that is only run needs neither

        members = read_members(path, MAX_BYTES)
        arrays = {name.removesuffix(".npy"): _array(name, data) for name, data in members.items()}
    except FileNotFoundError:
        raise BundleRefused(
            "the bundle has no golden file to test against", found=f"no {GOLDEN}", attempt="export it again"
        ) from None
    except (OSError, ValueError, UserMistake) as error:
        raise BundleRefused(
            "the golden file of the bundle cannot be read",
            found=f"{GOLDEN}: {error.found if isinstance(error, UserMistake) else error}"[:300],
            expected="an .npz of numbers, as an export writes it",
            attempt="copy the bundle again, or export it again",
        ) from None
    told = {called: name for name, called in member_names((*inputs, *outputs)).items()}
    arrays = {told.get(name, name): array for name, array in arrays.items()}
    expected = [*inputs, *outputs]
    fits = bool(inputs) and bool(outputs) and all(name in arrays and arrays[name].size for name in expected)
    if not fits or len({arrays[name].shape[:1] for name in expected}) != 1 or not arrays[expected[0]].ndim:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise BundleRefused(
            "the golden file does not fit the graph",
            found=shapes or "no arrays",
            expected=f"{', '.join(expected)}, as many cases of each",
        )
    if (cases := len(arrays[expected[0]])) > MAX_CASES:
        raise BundleRefused(
            "the golden file holds too many cases", found=f"{cases:,}", expected=f"at most {MAX_CASES:,}"
        )
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            wrong = int((~np.isfinite(array)).sum())
            raise BundleRefused(
                "the golden file can judge nothing",
                found=f"{name}: {wrong} of {array.size} values are NaN or infinite",
                expected="finite numbers",
                attempt="export it again",
            )
    ins, outs = ({name: arrays[name] for name in group} for group in (inputs, outputs))
    return Golden(ins, outs, *_picture(arrays))


def _array(name: str, data: bytes) -> np.ndarray:
    """One .npy of numbers; its header is held against the bytes that are there before room is made for what it claims."""
    found = NPY.match(data)
    if not found:
        raise ValueError(f"{name} is no .npy of numbers")
    descr, fortran, sizes = (group.decode() for group in found.groups())
    if not NUMBERS.fullmatch(descr):
        raise ValueError(f"{name} holds {descr!r}, no numbers")
    dtype = np.dtype(descr)
    shape = tuple(int(size) for size in sizes.replace(" ", "").split(",") if size)
    if any(size < 0 for size in shape):
        raise ValueError(f"{name} holds {dtype} of shape {shape}, no numbers")
    if len(data) - found.end() != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} claims {shape} of {dtype} and has {len(data):,} bytes")
    array = np.require(np.frombuffer(data, dtype, offset=found.end()), requirements=["ALIGNED"])
    return array.reshape(shape, order="F" if fortran == "True" else "C").astype(dtype.newbyteorder("="), copy=False)


def _picture(arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray | None, np.ndarray | None]:
    picture, prepared = arrays.get(PICTURE), arrays.get(PREPARED)
    if picture is None and prepared is None:
        return None, None
    if (
        picture is None or picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (3, 4)
        or not picture.size
        or prepared is None or prepared.dtype not in (np.float32, np.uint8) or prepared.ndim != 3 or not prepared.size
    ):  # fmt: skip
        told = ", ".join(
            f"{name} {arrays[name].dtype} {arrays[name].shape}" for name in (PICTURE, PREPARED) if name in arrays
        )
        raise BundleRefused(
            "the golden file has no picture that preprocessing can be tested with",
            found=told,
            expected=f"{PICTURE} uint8 (height, width, 3) and {PREPARED} float32 (channels, height, width)",
            attempt="export it again",
        )
    return picture, prepared
