"""A kernel pack straight from the declarations, without compiling: everything that a launch needs but the machine code.

Its PTX is an entry with its parameters. With it the whole check runs on a CPU (fake_cuda.py), always in step with the sources.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgesmith.exporter.plugins.declaration import FusedOp, Kernel, Variant
from edgesmith.runtime.plugins.pack import KernelPack, OpKernels
from edgesmith.runtime.plugins.schema import Launch

WARP = 32


def stand_in_pack(ops: Iterable[FusedOp]) -> KernelPack:
    """The pack of these ops as kernel_pack.py would make it, save for code, shared memory and names of entries."""
    made: dict[str, OpKernels] = {}
    ptx: dict[str, str] = {}
    for op in ops:
        if op.kernel is None:
            continue
        launches = []
        for index, variant in enumerate(op.kernel.variants):
            entry = f"stand_in_{op.name}_{index}"
            launches.append(_launch(op.kernel, variant, entry))
            ptx[entry] = _ptx(op, op.kernel, entry)
        made[op.name] = OpKernels(op.schema, tuple(launches))
    return KernelPack(made, ptx, {"target": "none", "source_sha256": "stand-in"})


def _launch(kernel: Kernel, variant: Variant, entry: str) -> Launch:
    scalars = tuple(kernel.scalars.values())
    return Launch(entry, variant.type, variant.when, kernel.grid_for(variant), scalars, variant.warps * WARP, 0)


def _ptx(op: FusedOp, kernel: Kernel, entry: str) -> str:
    kinds = ["u64"] * len(op.schema.inputs) + ["u32"] * len(kernel.scalars) + ["u64"] * len(op.schema.outputs)
    parameters = ",\n".join(f".param .{kind} {entry}_param_{index}" for index, kind in enumerate(kinds))
    return f".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry {entry}(\n{parameters}\n)\n{{\nret;\n}}\n"
