"""golden.npz: a few inputs and what PyTorch made of them, so that a device can test itself without PyTorch.

One array for each input of the graph and each output of the model, under its name, cases stacked along the first axis. The
inputs are stored after preprocessing, so that the test judges the engine and nothing else. What PyTorch made of them is
stored as the model gives it, so a detector's boxes and scores of all cells, whatever the graph keeps of them.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BundleRefused

GOLDEN = "golden.npz"


@dataclass(frozen=True)
class Golden:
    """Inputs and expected outputs by tensor name; the first axis counts the cases."""

    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]

    @property
    def cases(self) -> int:
        return len(next(iter(self.inputs.values())))


def golden_bytes(inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> bytes:
    """The content of golden.npz."""
    buffer = io.BytesIO()
    arrays: Any = {**inputs, **outputs}
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def read_golden(path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> Golden:
    """Read golden.npz and check that it covers these inputs and outputs; nothing in it is unpickled."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BundleRefused(
            "the bundle has no golden file to test against", found=f"{path.name}: {error}", attempt="export it again"
        ) from None
    expected = [*inputs, *outputs]
    fits = all(name in arrays and arrays[name].ndim for name in expected)
    if not fits or len({len(arrays[name]) for name in expected}) != 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise BundleRefused(
            "the golden file does not fit the graph",
            found=shapes or "no arrays",
            expected=f"{', '.join(expected)}, as many cases of each",
        )
    ins, outs = ({name: arrays[name] for name in group} for group in (inputs, outputs))
    return Golden(ins, outs)
