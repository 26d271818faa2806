"""Arrays by name -> arrays by name: any graph, whatever they mean. ``edgesmith run`` takes and gives them in .npz files.

Each golden case is one whole run: a graph may have no batch. Arrays of floats are held to the limits of their precision, each
as one vector; whole numbers have to be the same, but in 16 bits, where a place may change with a rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ..errors import UserMistake
from ..ground.limits import FP32
from .described import Described
from .selftest import SelfTestRow, agreement
from .task import ImageSize, Task, Times

if TYPE_CHECKING:
    from ..report.parts import Parts


class TensorsTask(Task):
    """A graph that is fed by ``session.run({name: array})``."""

    name = "tensors"
    outputs = ()
    arrays = True

    def check(self, bundle: Described, choices: Mapping[str, Any]) -> NoReturn:
        raise UserMistake(
            f"{bundle.name} takes arrays, not pictures",
            found="a picture",
            expected=", ".join(f"{one.name} {one.dtype} {_sizes(one.shape)}" for one in _inputs(bundle)),
            because="nobody said how pictures become the inputs of this graph",
            attempt="session.run({name: array}), or edgesmith run BUNDLE inputs.npz",
        )

    def answers(
        self, bundle: Described, results: Mapping[str, np.ndarray], sizes: Sequence[ImageSize], chosen: Any, times: Times
    ) -> NoReturn:  # fmt: skip
        self.check(bundle, {})

    def joined(self, results: Mapping[str, np.ndarray]) -> np.ndarray:
        """All outputs as one row of numbers: enough to say whether two runs are the same."""
        return np.concatenate([np.asarray(one, np.float32).reshape(1, -1) for one in results.values()], axis=1)

    def golden_runs(
        self, run: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]], inputs: Mapping[str, np.ndarray]
    ) -> list[dict[str, np.ndarray]]:
        cases = len(next(iter(inputs.values())))
        return [run({name: np.asarray(array[case]) for name, array in inputs.items()}) for case in range(cases)]

    def selftest_rows(
        self,
        bundle: Described,
        golden: Mapping[str, np.ndarray],
        parts: Sequence[Mapping[str, np.ndarray]],
        precision: str,
    ) -> list[SelfTestRow]:
        names = self.golden_outputs(bundle)
        return [compare(name, golden[name], [part[name] for part in parts], precision) for name in names]

    def report(self, manifest: Mapping[str, Any]) -> Parts:
        from ..report.parts import Parts, parity

        return Parts(parity=parity(manifest.get("parity") or [], manifest.get("judge")), run_on="inputs.npz")


def compare(
    name: str, expected: Sequence[np.ndarray] | np.ndarray, found: Sequence[np.ndarray], precision: str
) -> SelfTestRow:
    """One output over some runs: ``expected`` and ``found`` have an array of any shape for each."""
    if any(one.shape != other.shape for one, other in zip(expected, found, strict=True)):
        told = f"shape {found[0].shape}, not {expected[0].shape}"
        return SelfTestRow(name, len(expected), float("inf"), -1.0, 0.0, told, False, told=told)
    judge, other = (np.stack([np.ravel(one) for one in side]) for side in (expected, found))
    row = agreement(name, judge.astype(np.float64), other.astype(np.float64), precision)
    if judge.dtype.kind == "f" or precision != FP32:
        return row
    share = float((judge == other).mean()) if judge.size else 1.0
    return replace(row, limit="the same numbers", passed=share == 1.0, told=f"{share:.2%} of the numbers are the same")


def _inputs(bundle: Described) -> Sequence[Any]:
    inputs: Sequence[Any] = next(iter(bundle.graphs.values())).inputs
    return inputs


def _sizes(shape: Sequence[int | str]) -> str:
    return " x ".join(map(str, shape)) or "one number"
