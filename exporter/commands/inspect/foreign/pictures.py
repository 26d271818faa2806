"""A graph that reads pictures in its own way -> the same graph behind one input (B, 3, H, W) of float32.

    float32 (B, 3, H, W) > [Round, Clip, minus 128]  whole numbers: the picture is 0..255, int8 -128..127
                         > [mean of R, G, B | R, G, B and their mean]  one channel | four
                         > [Transpose]  (B, H, W, C)
                         > [Cast]  to the declared type

So whatever runs a picture through a graph runs it through any of these.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .....graph.edit import add_constant, insert
from .....graph.read import sizes
from .....runtime.pictures.contract import CHANNELS_FIRST, CHANNELS_LAST, FLOAT32

if TYPE_CHECKING:
    import onnx_ir as ir

    from .....runtime.pictures.contract import ImageContract

CHANNELS = (3, 1, 4)
FLOATS = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE")
WHOLE = ("UINT8", "INT8", "UINT16", "INT16", "UINT32", "INT32", "UINT64", "INT64")
TAKES = (
    "one input of pictures: batch x channels x height x width or batch x height x width x channels, 1, 3 or 4 channels"
)

Face = tuple[int, str, str]  # of an input contract: channels, dtype, layout
USUAL: Face = (3, FLOAT32, CHANNELS_FIRST)
Sizes = tuple["int | str", "int | str", "int | str", "int | str"]  # batch, 3, height, width; a name where one is open


@dataclass(frozen=True)
class PictureInput:
    """What a graph takes: ``shape`` is that of float32 (B, 3, H, W), whatever the file declares."""

    name: str
    dtype: str  # as ONNX calls it: FLOAT16, UINT8 ...
    last: bool  # channels last
    channels: int
    shape: Sizes

    @property
    def whole(self) -> bool:
        """Whether it reads whole numbers, 0..255, and not prepared ones."""
        return self.dtype in WHOLE

    @property
    def plain(self) -> bool:
        """Whether it takes float32 (B, 3, H, W) as it is."""
        return self.dtype == "FLOAT" and not self.last and self.channels == 3

    @property
    def face(self) -> Face:
        """What the file takes, in the words of an input contract: (channels, dtype, layout)."""
        dtype = {"FLOAT": FLOAT32}.get(self.dtype, self.dtype.lower())
        return self.channels, dtype, CHANNELS_LAST if self.last else CHANNELS_FIRST

    @property
    def as_it_is(self) -> PictureInput:
        """The same input where pictures come as the file takes them: nothing is done to them."""
        return replace(self, dtype="FLOAT", last=False, channels=3)

    @property
    def fixed(self) -> tuple[int, ...] | None:
        """The shape where no size is open."""
        sides = tuple(size for size in self.shape if isinstance(size, int))
        return sides if len(sides) == 4 else None

    @property
    def told(self) -> str:
        """What is done to the pictures, in words; empty where nothing is."""
        parts = [f"as {self.dtype.lower()}" + (", 0 to 255" if self.whole else "")] if self.dtype != "FLOAT" else []
        parts += ["channels last"] if self.last else []
        parts += {1: ["one channel, the mean of the three"], 4: ["a fourth channel, the mean of the three"]}.get(
            self.channels, []
        )
        return "; ".join(parts)


def picture_input(model: ir.Model) -> PictureInput | str:
    """The input of a graph that takes pictures; what it takes, in words, where those are none."""
    inputs = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    told = ", ".join(f"{value.name} {_spelled(value)}" for value in inputs) or "no input"
    shape = sizes(inputs[0]) if len(inputs) == 1 else None
    if shape is None or len(shape) != 4 or inputs[0].dtype is None:
        return told
    kind = inputs[0].dtype.name
    place = next((axis for axis in (1, 3) if shape[axis] in CHANNELS), None)
    if place is None:
        place = 1 if not isinstance(shape[1], int) else 3 if not isinstance(shape[3], int) else None
    if place is None or kind not in (*FLOATS, *WHOLE) or 0 in shape:
        return told
    declared = shape[place]
    channels = declared if isinstance(declared, int) else 3
    names: list[int | str] = [
        size if isinstance(size, int) else size or f"axis {axis}" for axis, size in enumerate(shape)
    ]
    height, width = (names[1], names[2]) if place == 3 else (names[2], names[3])
    return PictureInput(str(inputs[0].name), kind, place == 3, channels, (names[0], 3, height, width))


def behind_pictures(model: ir.Model, takes: PictureInput) -> ir.Model:
    """``model`` itself where it takes float32 (B, 3, H, W), else changed in place to do so."""
    import onnx_ir as ir

    if takes.plain:
        return model
    graph = model.graph
    old = next(value for value in graph.inputs if value.name == takes.name)
    images = ir.Value(
        name=f"{takes.name}__pictures", shape=ir.Shape(list(takes.shape)), type=ir.TensorType(ir.DataType.FLOAT)
    )
    if graph.num_nodes() == 0:
        return model
    first, value = graph[0], images

    def step(op: str, inputs: list[Any], **attributes: Any) -> ir.Value:
        return insert(first, op, inputs, output=f"{takes.name}__{op}", name=f"{takes.name}__{op}", **attributes)

    def number(word: str, array: Any) -> ir.Value:
        return add_constant(model, f"{takes.name}__{word}", np.asarray(array, np.float32))

    if takes.whole:
        value = step("Clip", [step("Round", [value]), number("least", 0), number("most", 255)])
        if takes.dtype == "INT8":
            value = step("Sub", [value, number("middle", 128)])
    if takes.channels != 3:
        third = np.full((1, 3, 1, 1), 1 / 3, np.float32)
        weight = third if takes.channels == 1 else np.concatenate([np.eye(3, dtype=np.float32)[..., None, None], third])
        value = step("Conv", [value, number("channels", weight)])
    if takes.last:
        value = step("Transpose", [value], perm=[0, 2, 3, 1])
    if takes.dtype != "FLOAT":
        value = step("Cast", [value], dtype=ir.DataType[takes.dtype], to=int(ir.DataType[takes.dtype]))
    ir.convenience.replace_all_uses_with(old, value)
    graph.inputs[list(graph.inputs).index(old)] = images
    return model


def _spelled(value: ir.Value) -> str:
    kind = value.dtype.name.lower() if value.dtype is not None else "of unknown type"
    shape = sizes(value)
    return f"{kind} " + (
        "of unknown shape" if shape is None else " x ".join("?" if one is None else str(one) for one in shape)
    )


def raw(contract: ImageContract) -> ImageContract:
    """The same pictures as 0..255, not prepared any further: what a graph that reads whole numbers takes."""
    return contract.raw()


def prepared(images: np.ndarray, contract: ImageContract) -> np.ndarray:
    """Raw pictures (B, 3, H, W), 0..255 float32, as ``contract`` prepares them."""
    mean, std = (np.asarray(values, np.float32).reshape(1, 3, 1, 1) for values in (contract.mean, contract.std))
    return ((images * np.float32(contract.scale) - mean) / std).astype(np.float32)
