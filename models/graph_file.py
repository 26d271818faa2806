"""What an ONNX file says of what goes in and comes out; a spec with one is of a file that is read, not of a network that is built."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FileTensor:
    """An input or output: ``dtype`` as numpy calls it, ``shape`` with a name where a size is open, None where nothing is said."""

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} " + (
            "?" if self.shape is None else "x".join(map(str, self.shape)) or "scalar"
        )


@dataclass(frozen=True)
class GraphFile:
    """The file and its face. Whether an engine can run what is between is asked when it is read."""

    path: str
    opset: int
    inputs: tuple[FileTensor, ...]
    outputs: tuple[FileTensor, ...]
    probabilities: bool = False  # whether its last step is a softmax: what a classifier gives are no logits then

    @property
    def batch(self) -> int | None:
        """The size of the first axis of the first input; None where it is open."""
        size = (self.inputs[0].shape or ("batch",))[0]
        return size if isinstance(size, int) else None

    def words(self) -> str:
        """``images float32 Nx3x224x224 -> logits float32 Nx10``."""
        return " -> ".join(", ".join(map(str, side)) for side in (self.inputs, self.outputs))
