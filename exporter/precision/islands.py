"""Which nodes must stay float32? Measured on real inputs: first what overflows fp16, then what costs parity.

``choose_islands`` runs the float32 graph once with every value as an output and keeps all nodes that touch a value past
fp16's 65504.  Then it types the graph, compares the outputs, and while the cosine is below the limit adds the nodes
where the error of the low graph rises most; at the end it gives back each addition that was not needed.

A detector is compared by its scores and by the distances of its box sides in cells (decoding.py).

Graphs are run with every 16-bit value rounded explicitly (emulate.py): ONNX Runtime's own fp16 on a CPU computes chains
of nodes in float32 and hides both rounding and overflow.  Sums inside an operator are float32 here; an engine that adds
in fp16 (a product over 3136 tokens, say) can be worse, and the report says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...calibration.precisions import PRECISIONS
from ...graph.run import run_values
from ...runtime.ground.limits import COSINE, FP16, FP32
from ...runtime.ground.numbers import relative_error, smallest_cosine
from ...runtime.tasks.detection.verdict import ROUNDED
from .casts import to_precision
from .decoding import decode_tail, measured

if TYPE_CHECKING:
    import onnx_ir as ir

Feeds = Mapping[str, np.ndarray]
Run = Callable[["ir.Model", Feeds, "Sequence[str] | None"], dict[str, np.ndarray]]
OPTIMISM = (
    "measured on the CPU with every stored 16-bit value rounded and sums inside an operator in float32: "
    "an engine that accumulates in fp16 can be worse"
)


@dataclass(frozen=True)
class Islands:
    """Names of the nodes to keep, why, and the agreement before and after; ``names`` goes to ``to_precision(keep=)``."""

    names: frozenset[str]
    why: dict[str, str] = field(default_factory=dict)
    cosine_before: float = 1.0
    cosine_after: float = 1.0
    limit: float = 0.9999
    notes: tuple[str, ...] = (OPTIMISM,)

    def to_json(self) -> dict[str, Any]:
        return {
            "nodes": dict(self.why),
            "cosine_before": self.cosine_before,
            "cosine_after": self.cosine_after,
            "limit": self.limit,
            "notes": list(self.notes),
        }


def choose_islands(
    model: ir.Model,
    feeds: Feeds,
    run: Run | None = None,
    *,
    precision: str = FP16,
    limit: float | None = None,
    rounds: int = 6,
) -> Islands:
    """The float32 islands that ``model`` (float32) needs on ``feeds``; ``run(model, feeds, names or None) -> values``."""
    run = run or run_rounded
    outputs, compared = [str(output.name) for output in model.graph.outputs], measured(model.graph)
    only = None if compared == outputs else compared
    usual = COSINE[precision] if only is None else float(ROUNDED[precision]["cosine"])
    wanted = usual if limit is None else limit
    names = [str(output.name) for node in model.graph for output in node.outputs if output.name]
    truth = run(model, feeds, names)
    why = _overflowing(model, truth, PRECISIONS[precision].largest)

    def measure(keep: Collection[str], values: Sequence[str] | None = None) -> tuple[float, dict[str, np.ndarray]]:
        found = run(to_precision(model, precision, keep).model, feeds, values or only)
        return min(smallest_cosine(truth[name], found[name]) for name in compared), found

    settled = {str(node.name) for node in decode_tail(model.graph)}  # float32 already, whatever is chosen here
    before, _ = measure(())
    after = before if not why else measure(why)[0]
    added: list[list[str]] = []
    for size in (2**step for step in range(rounds)):
        if after >= wanted:
            break
        _, values = measure(why, names)
        worst = [name for name in _risers(model, truth, values) if name not in why and name not in settled][:size]
        if not worst:
            break
        added.append(worst)
        why.update({name: f"error rises here; outputs were at cosine {after:.6f}" for name in worst})
        after, _ = measure(why)
    for group in added[:-1] if after >= wanted else []:
        without = {name: reason for name, reason in why.items() if name not in group}
        trial, _ = measure(without)
        if trial >= wanted:
            why, after = without, trial
    return Islands(frozenset(why), why, before, after, wanted)


def _overflowing(model: ir.Model, truth: Mapping[str, np.ndarray], largest: float) -> dict[str, str]:
    """Every node that makes or reads a finite value past ``largest``."""
    past = {}
    for name, array in truth.items():
        if np.issubdtype(array.dtype, np.floating) and array.size:
            peak = float(np.abs(np.where(np.isfinite(array), array, 0)).max())
            if peak > largest:
                past[name] = peak
    found = {}
    for node in model.graph:
        touched = [
            past[str(value.name)] for value in (*node.inputs, *node.outputs) if value is not None and value.name in past
        ]
        if touched:
            found[str(node.name)] = f"values reach {max(touched):.2e}, more than {largest:g}"
    return found


def _risers(model: ir.Model, truth: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray]) -> list[str]:
    """Node names by how much the relative error of the output exceeds that of the worst input, steepest first."""
    errors = {
        name: _relative(truth[name], array)
        for name, array in values.items()
        if name in truth and truth[name].shape == array.shape and np.issubdtype(truth[name].dtype, np.floating)
    }
    rises = []
    for node in model.graph:
        after = max((errors[o.name] for o in node.outputs if o.name in errors), default=0.0)
        before = max((errors[v.name] for v in node.inputs if v is not None and v.name in errors), default=0.0)
        if after > before:
            rises.append((after - before, str(node.name)))
    return [name for _, name in sorted(rises, reverse=True)]


def _relative(truth: np.ndarray, other: np.ndarray) -> float:
    if not (np.isfinite(truth).all() or np.isfinite(other).all()):
        return 0.0  # not finite with or without the types: nothing that an island mends
    return relative_error(truth, other)


def run_rounded(model: ir.Model, feeds: Feeds, names: Sequence[str] | None) -> dict[str, np.ndarray]:
    """``run_values`` with the rounding of the precision that ``to_precision`` wrote into the model."""
    from .emulate import emulate

    precision = model.metadata_props.get("edgesmith.precision", FP32)
    return run_values(emulate(model, precision) if precision != FP32 else model, feeds, names)
