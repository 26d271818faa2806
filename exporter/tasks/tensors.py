"""The task of graphs whose inputs and outputs are known by name only: an ONNX file that is no classifier of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .task import ExportTask

if TYPE_CHECKING:
    from ...runtime.bundle.bundle import Bundle


class TensorsExport(ExportTask):
    """Several inputs of any type, so the flow is its own (exporter/trace/tensors/flow.py)."""

    name = "tensors"
    noun, verb = "tensor graph", "takes and gives arrays by name"
    files = "any outputs"
    shown = "inputs.npz"
    flow = "trace.tensors.flow"

    def claims(self, shapes: Mapping[str, Sequence[Any]]) -> dict[str, str]:
        """What a file of pictures gives is looked at by the other tasks."""
        return {}

    def entries(self, rule: Any) -> dict[str, Any]:
        return {}

    def bench_images(self, bundle: Bundle, shape: tuple[int, ...]) -> Any:
        """Numbers for every input, by name, with the batch of ``shape``."""
        from ..run.feeds import seeded_feeds, usual_sizes

        batch = shape[0] if shape else 1
        return seeded_feeds([(one.name, one.dtype, usual_sizes(one, batch)) for one in bundle.inputs])

    def apart(self, judge: np.ndarray, other: np.ndarray, rule: Any, in_graph: bool) -> dict[str, float]:
        if judge.shape != other.shape:
            return {"max_abs": float("inf")}
        return super().apart(judge, other, rule, in_graph)
