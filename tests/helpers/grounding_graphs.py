"""The parts of a grounding model (exporter/grounding/parts) put together: in PyTorch, on ONNX Runtime, on OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from edgesmith.exporter.grounding.parts import attention, trace
from edgesmith.exporter.grounding.parts.instruction import TABLES, Instruction
from edgesmith.exporter.grounding.parts.prefix import Prefix
from edgesmith.exporter.grounding.parts.rotary import prefix_tables
from edgesmith.exporter.grounding.parts.sizes import Sizes
from edgesmith.exporter.grounding.parts.stored import Storage
from edgesmith.exporter.grounding.parts.vision import Vision
from edgesmith.exporter.grounding.parts.weighting import Weighting
from edgesmith.exporter.grounding.parts.weights import Read, fill, load
from edgesmith.exporter.grounding.write import tidied
from edgesmith.exporter.patterns.ort import IN_CACHE
from edgesmith.exporter.plugins.torch_ops import carry_functions

Arrays = Mapping[str, NDArray[Any]]
Run = Callable[[Arrays], dict[str, NDArray[Any]]]
Grid = tuple[int, int]


@dataclass(frozen=True)
class Small:
    """A checkpoint: its sizes, a reader of its tensors, and the tokens before the picture."""

    sizes: Sizes
    read: Read
    before: tuple[int, ...]

    def modules(self, grid: Grid, storage: Storage, mode: str) -> tuple[Run, Run, Run]:
        """vision, prefix and instruction in PyTorch."""
        prefix = Prefix(self.sizes.text, self.before, grid, storage)
        instruction = Instruction(self.sizes.text, len(self.before), storage, Weighting.named(mode))
        return (
            in_torch(load(Vision(self.sizes.vision, grid), self.read), ("pixels",), ("image_embeds",)),
            in_torch(load(prefix, self.read), ("image_embeds",), prefix.outputs),
            in_torch(load(instruction, self.read), instruction.inputs, ("scores",)),
        )

    def vision(self, grid: Grid, in_cache: bool = False) -> ir.Model:
        """``in_cache``: as ONNX Runtime on a CPU gets it."""
        part = trace.trace_vision(self.sizes, grid, cuts=attention.IN_CACHE if in_cache else attention.CHUNKS)
        return self._filled(with_passes(part) if in_cache else part)

    def prefix(self, grid: Grid, storage: Storage, in_cache: bool = False) -> ir.Model:
        part = trace.trace_prefix(self.sizes, self.before, grid, storage)
        return self._filled(with_passes(part) if in_cache else part)

    def instruction(self, storage: Storage, mode: str) -> ir.Model:
        return self._filled(trace.trace_instruction(self.sizes, len(self.before), storage, Weighting.named(mode)))

    def _filled(self, part: trace.Part) -> ir.Model:
        fill(part.model, part.weights, self.read)
        carry_functions(part.model)
        return part.model

    def asked(self, instructions: Sequence[Sequence[int]], grid: Grid, columns: int | None = None) -> dict[str, Any]:
        """The inputs of the instruction graph that are not stored: rows of tokens, padded on the left."""
        longest = columns or max(map(len, instructions))
        tokens = np.zeros((len(instructions), longest), np.int64)
        for row, instruction in zip(tokens, instructions, strict=True):
            row[longest - len(instruction) :] = instruction
        tables = prefix_tables(self.sizes.text, len(self.before), grid)
        return {
            "tokens": tokens,
            "lengths": np.array([len(one) for one in instructions]),
            "start": np.full(len(instructions), len(self.before) + max(grid)),
            **{name: np.concatenate([table, table], axis=1) for name, table in zip(TABLES, tables, strict=True)},
        }


def with_passes(part: trace.Part) -> trace.Part:
    """A traced part behind the passes of ONNX Runtime on a CPU, which run before the weights have values."""
    tidied(part.model)
    for step in IN_CACHE:
        step().run(part.model)
    kept = {name: weight for name, weight in part.weights.items() if name in part.model.graph.initializers}
    return trace.Part(part.model, kept)


def in_torch(module: torch.nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> Run:
    def run(feeds: Arrays) -> dict[str, NDArray[Any]]:
        with torch.no_grad():
            found = module(*(torch.from_numpy(np.asarray(feeds[name])) for name in inputs))
        return dict(
            zip(outputs, (one.numpy() for one in (found if isinstance(found, tuple) else (found,))), strict=True)
        )

    return run


def on_onnxruntime(model: ir.Model) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    raw = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    inputs = [entry.name for entry in session.get_inputs()]
    return lambda feeds: dict(zip(names, session.run(names, {name: feeds[name] for name in inputs}), strict=True))


def on_openvino(model: ir.Model) -> Run:
    """Float32 throughout; fused ops have to be written out before (exporter/engine/fused_ops.py)."""
    import io

    from openvino_here import openvino_or_skip

    from edgesmith.runtime.backends.openvino_library import openvino_core

    openvino_or_skip()
    core = openvino_core()
    raw = io.BytesIO(ir.to_proto(model).SerializeToString())
    compiled = core.compile_model(core.read_model(raw), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    inputs = [entry.get_any_name() for entry in compiled.inputs]

    def run(feeds: Arrays) -> dict[str, NDArray[Any]]:
        found = compiled([np.ascontiguousarray(feeds[name]) for name in inputs])
        return {output.get_any_name(): np.array(found[output]) for output in compiled.outputs}

    return run


def of_maximum(got: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Largest difference over the largest wanted magnitude."""
    assert got.shape == wanted.shape
    return float(np.abs(got.astype(np.float64) - wanted).max() / np.abs(wanted).max())
