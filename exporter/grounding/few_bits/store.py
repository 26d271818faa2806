"""The weights of several graphs in one file beside them: each tensor is made and written once, whoever reads it.

    store.put("model.language_model.layers.0.mlp.up_proj.weight codes", dtype, shape, make) -> an external tensor

Nothing is held: ``make`` computes the bytes of one tensor, they are written, and what is left is where they lie.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir
    from typing_extensions import Self

PAGE_BYTES = 4096  # engines map the file, and maps begin at a page
SMALL_BYTES = 1024  # stays in the graph: vectors of a few channels, scalars


class Store:
    """A file of tensors that grows; used in a ``with`` block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")
        self._places: dict[str, tuple[int, int]] = {}

    def put(self, key: str, kind: Any, shape: tuple[int, ...], make: Callable[[], np.ndarray]) -> ir.ExternalTensor:
        """A tensor of ``kind`` (ir.DataType) whose bytes are those of ``make()``, which is asked the first time only.

        Codes of 4 bits come packed, two in a byte, the first in the low half.
        """
        import onnx_ir as ir

        if key not in self._places:
            array = np.ascontiguousarray(make())
            expected = -(-int(np.prod(shape)) * int(kind.bitwidth) // 8)
            if array.nbytes != expected:
                raise ValueError(f"{key}: {array.nbytes} bytes, {expected} expected for {kind} {shape}")
            self._file.seek(-(-self._file.tell() // PAGE_BYTES) * PAGE_BYTES)
            self._places[key] = (self._file.tell(), array.nbytes)
            self._file.write(array.view(np.uint8).reshape(-1).data)
            self._file.flush()
        offset, length = self._places[key]
        return ir.ExternalTensor(
            self.path.name, offset, length, kind, shape=ir.Shape(shape), name=key, base_dir=self.path.parent
        )

    @property
    def size_bytes(self) -> int:
        return self._file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def packed(codes: np.ndarray) -> np.ndarray:
    """int8 codes of 4 bits (..., even) -> uint8, two in a byte along the last axis, the first in the low half."""
    low, high = codes[..., 0::2].view(np.uint8) & 0xF, codes[..., 1::2].view(np.uint8) & 0xF
    return low | (high << 4)
