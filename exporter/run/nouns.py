"""The nouns between the stages, frozen: what each stage hands to the next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...runtime.pictures.contract import CHANNELS_FIRST, CHANNELS_LAST, SIDES

if TYPE_CHECKING:
    import onnx_ir as ir

AXES = {
    CHANNELS_FIRST: ("batch", "channels", "height", "width"),
    CHANNELS_LAST: ("batch", "height", "width", "channels"),
}
INPUT = "images"  # what an exported graph calls its pictures
OUTPUTS = ("logits",)  # of a torch module where its task does not say others


@dataclass(frozen=True)
class Shapes:
    """Smallest, usual and largest input shape, (B, C, H, W) or as ``layout`` says; a fixed graph has the same shape three times."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]
    layout: str = CHANNELS_FIRST

    @classmethod
    def fixed(cls, *shape: int) -> Shapes:
        return cls(shape, shape, shape)

    @property
    def dynamic_axes(self) -> tuple[int, ...]:
        """The axes whose size is left open in the graph."""
        return tuple(axis for axis, (low, high) in enumerate(zip(self.min, self.max, strict=True)) if low != high)

    def sides(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """(height, width) of one of them."""
        high, wide = SIDES[self.layout]
        return shape[high], shape[wide]

    @property
    def open_sides(self) -> bool:
        """Whether height or width are left open in the graph."""
        return self.sides(self.min) != self.sides(self.max)

    def symbolic(self) -> tuple[int | str, ...]:
        """The shape as the graph spells it: a number where it is fixed, a name where it is open."""
        names = AXES[self.layout]
        return tuple(names[axis] if axis in self.dynamic_axes else size for axis, size in enumerate(self.opt))


@dataclass(frozen=True)
class ExportedGraph:
    """A torch model as ONNX, as the exporter wrote it."""

    model: ir.Model
    name: str
    shapes: Shapes
    input_name: str = INPUT
    output_names: tuple[str, ...] = OUTPUTS


@dataclass(frozen=True)
class Refusal:
    """A place where a pattern matched and declined, with the reason in words."""

    node: str
    why: str


@dataclass(frozen=True)
class PassRecord:
    """What one pass did: how often it applied, where it refused, how long it took."""

    name: str
    count: int
    refused: tuple[Refusal, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class LeftOut:
    """A pass that an export did without, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class RewrittenGraph:
    """The graph after the passes of one target."""

    model: ir.Model
    name: str
    shapes: Shapes
    target: str
    passes: tuple[PassRecord, ...]
    nodes_before: dict[str, int] = field(default_factory=dict)
    nodes_after: dict[str, int] = field(default_factory=dict)
    input_name: str = INPUT
    output_names: tuple[str, ...] = OUTPUTS
    notes: tuple[str, ...] = ()
    """which passes did not run though nobody named them, and why"""
    left_out: tuple[LeftOut, ...] = ()
    """passes that changed the numbers of this network"""
