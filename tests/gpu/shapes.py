"""What a fused op hands out for given sizes; the ops themselves ask TensorRT, which asks their expressions."""

from __future__ import annotations

from collections.abc import Mapping

from edgesmith.runtime.plugins.expressions import parse
from edgesmith.runtime.plugins.schema import OpSchema


def output_shapes(schema: OpSchema, names: Mapping[str, int]) -> list[tuple[int, ...]]:
    """The shapes of the outputs for what ``schema.bind`` gave."""
    return [tuple(parse(size).value(names) for size in tensor.shape) for tensor in schema.outputs]
