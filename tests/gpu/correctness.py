"""Every launch of an op on every case it may take, against the reference; twice, over different garbage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np

from edgesmith.exporter.plugins.declaration import FusedOp
from edgesmith.runtime.plugins.pack import KernelPack, OpKernels
from edgesmith.runtime.plugins.schema import Launch, chosen

from .case import LIMITS
from .cases import CASES
from .driver import Driver, DriverError, Function
from .launching import FIRST_GARBAGE, SECOND_GARBAGE, Buffers, Problem, compare, problem, wanted_of

Row = dict[str, Any]


class Kernels:
    """The functions of a pack, each loaded when it is first needed."""

    def __init__(self, driver: Driver, pack: KernelPack) -> None:
        self._driver, self._pack = driver, pack
        self._loaded: dict[str, Function] = {}
        self.load_ms: dict[str, float] = {}

    def __getitem__(self, entry: str) -> Function:
        if entry not in self._loaded:
            begin = time.perf_counter()
            self._loaded[entry] = self._driver.load(self._pack.ptx[entry], entry)
            self.load_ms[entry] = (time.perf_counter() - begin) * 1e3
        return self._loaded[entry]


def check_op(
    driver: Driver,
    pack: KernelPack,
    op: FusedOp,
    *,
    real: bool = True,
    types: tuple[str, ...] | None = None,
    go_on: Callable[[], bool] = lambda: True,
) -> Iterator[Row]:
    """Rows of results, one for a case and launch; ``real`` False leaves out the sizes of real models.

    A launch that fails is a row with its error, and ends the op: the driver may be of no more use to this process.
    """
    kernels, ours = Kernels(driver, pack), pack.ops[op.name]
    taken: set[str] = set()
    for case in CASES.get(op.name, []):
        if case.real and not real:
            continue
        for t in types or compiled_types(ours):
            if not go_on():
                yield {"op": op.name, "case": case.label, "type": t, "ok": False, "why": "not run: no time left"}
                continue
            asked = problem(op.schema, t, case.arrays(), case.attributes)
            launches = chosen(ours.launches, t, asked.names)
            if not launches:
                yield {"op": op.name, "case": case.label, "type": t, "ok": False, "why": "no kernel for these sizes"}
                continue
            wanted = wanted_of(op, asked)
            for tactic, launch in enumerate(launches):
                taken.add(launch.entry)
                row: Row = {"op": op.name, "case": case.label, "type": t, "tactic": tactic, "entry": launch.entry}
                try:
                    function = kernels[launch.entry]
                    row |= check_launch(driver, function, asked, launch, wanted)
                except DriverError as error:
                    yield row | {"ok": False, "why": str(error)}
                    return
                row |= {"registers": function.registers, "local_bytes": function.local_bytes}
                yield row | {"load_ms": round(kernels.load_ms[launch.entry], 1)}
    for launch in ours.launches if real and types is None else ():
        if launch.entry not in taken and go_on():
            yield {"op": op.name, "entry": launch.entry, "ok": False, "why": f"no case takes it: {launch.when}"}


def check_launch(driver: Driver, function: Function, asked: Problem, launch: Launch, wanted: list[np.ndarray]) -> Row:
    """Run one launch twice and judge it."""
    with closing(Buffers(driver, asked)) as buffers:
        first = buffers.run(driver, function, launch, FIRST_GARBAGE)
        complaints = buffers.complaints()
        second = buffers.run(driver, function, launch, SECOND_GARBAGE)
        complaints += [text for text in buffers.complaints() if text not in complaints]
        results = compare(asked, buffers.typed(first), wanted, LIMITS[asked.t])
    if not all(np.array_equal(one, other) for one, other in zip(first, second, strict=True)):
        complaints.append("two runs differ: an output is not written everywhere, or threads race")
    complaints += [f"{row['output']}: {row.get('error', row.get('equal'))}, limit {row['limit']}"
                   for row in results if not row["ok"]]  # fmt: skip
    return {"ok": not complaints, "why": "; ".join(complaints), "outputs": results}


def smallest_cases(op: FusedOp, kernels: OpKernels) -> Iterator[tuple[Launch, Problem]]:
    """Every launch with the smallest problem that takes it: what slow tools are given."""
    found: dict[str, tuple[Launch, Problem]] = {}
    for case in sorted(CASES.get(op.name, []), key=lambda case: case.real):
        if case.real and len(found) == len(kernels.launches):
            break
        arrays = case.arrays()
        for t in compiled_types(kernels):
            asked = problem(op.schema, t, arrays, case.attributes)
            for launch in chosen(kernels.launches, t, asked.names):
                known = found.get(launch.entry)
                if known is None or asked.bytes_moved() < known[1].bytes_moved():
                    found[launch.entry] = launch, asked
    yield from found.values()


def compiled_types(kernels: OpKernels) -> tuple[str, ...]:
    """The types that have a kernel, in the order of the pack."""
    return tuple(dict.fromkeys(launch.type for launch in kernels.launches))
