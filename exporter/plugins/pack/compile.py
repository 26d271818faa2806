"""Triton kernels -> portable PTX, ahead of time and without a GPU; run in a process of its own by kernel_pack.py.

One PTX for all: ``.target sm_80``, ISA 8.0, which every GPU from Ampere on assembles. TensorRT passes inputs, scalars and
outputs only, so the two scratch pointers that Triton appends are taken out of the text; a kernel that needs them is
refused. Names get the hash of the specialisation: TensorRT tells kernels of one plugin apart by their name alone.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
from dataclasses import dataclass
from typing import Any

from ....runtime.plugins.schema import MAX_SHARED_BYTES, Launch
from ..declaration import FusedOp, Kernel, Variant

CAPABILITY = 80  # sm_80
PTX_VERSION = 80  # 8.0: CUDA 12.0, so JetPack 6 and later assemble it
POINTERS = {"float32": "*fp32", "float16": "*fp16", "bfloat16": "*bf16", "int32": "*i32"}
SCRATCH_POINTERS = 2  # global and profile scratch
ALIGNMENT = 16  # bytes; tensors of an engine start at such addresses


@dataclass(frozen=True)
class Compiled:
    """One kernel as it goes into the pack."""

    op: str
    variant: Variant
    launch: Launch
    ptx: str


def compile_op(op: FusedOp) -> list[Compiled]:
    """Every variant of an op's kernel, in the order of the declaration."""
    return [] if op.kernel is None else [compile_variant(op, op.kernel, variant) for variant in op.kernel.variants]


def compile_variant(op: FusedOp, kernel: Kernel, variant: Variant) -> Compiled:
    """Compile one specialisation.

    Raises:
        ValueError: the kernel needs scratch memory, too much shared memory, or arguments in another order.
    """
    os.environ["TRITON_DISABLE_LINE_INFO"] = "1"  # half to a quarter of the PTX, and no paths of this machine in it
    import triton
    from triton.backends.compiler import GPUTarget

    function = kernel_function(kernel)
    signature = signature_of(op, kernel, variant, function)
    pointers = [index for index, type_ in enumerate(signature.values()) if type_.startswith("*")]
    source = triton.compiler.ASTSource(
        fn=function,
        signature=signature,
        constexprs=dict(variant.constants),
        # scalars get no such hint: they change with the shape
        attrs={(index,): [["tt.divisibility", ALIGNMENT]] for index in pointers},
    )
    options = {
        "num_warps": variant.warps,
        "num_stages": variant.stages,
        "ptx_version": PTX_VERSION,
        "enable_fp_fusion": True,
    }
    built = triton.compile(source, target=GPUTarget("cuda", CAPABILITY, 32), options=options)
    found = built.metadata
    where = f"{op.name}, {variant.type}, {dict(variant.constants)}"
    if found.global_scratch_size or found.profile_scratch_size:
        raise ValueError(f"{where} needs scratch memory, which TensorRT does not pass")
    if found.shared > MAX_SHARED_BYTES:
        raise ValueError(f"{where} needs {found.shared} bytes of shared memory, at most {MAX_SHARED_BYTES} are sure")
    arguments = sum(type_ != "constexpr" for type_ in signature.values())
    ptx = without_scratch(without_comments(built.asm["ptx"]), found.name, arguments)
    entry = f"edgesmith_{found.name}_{hashlib.sha256(ptx.encode()).hexdigest()[:12]}"
    ptx = re.sub(rf"\b{re.escape(found.name)}(?=\b|_param_)", entry, ptx)
    launch = Launch(
        entry,
        variant.type,
        variant.when,
        kernel.grid_for(variant),
        tuple(kernel.scalars.values()),
        variant.warps * 32,
        found.shared,
        f"{entry}.ptx",
        hashlib.sha256(ptx.encode()).hexdigest(),
    )
    return Compiled(op.name, variant, launch, ptx)


def kernel_function(kernel: Kernel) -> Any:
    """The Triton function that ``source`` names."""
    module, name = kernel.source.split(":")
    return getattr(importlib.import_module(f"..kernels.{module}", __package__), name)


def signature_of(op: FusedOp, kernel: Kernel, variant: Variant, function: Any) -> dict[str, str]:
    """{argument: Triton type} in the kernel's order, which must be inputs, scalars, outputs, constants."""
    inputs = [(f"{tensor.name}_ptr", POINTERS[tensor.type_for(variant.type)]) for tensor in op.schema.inputs]
    outputs = [(f"{tensor.name}_ptr", POINTERS[tensor.type_for(variant.type)]) for tensor in op.schema.outputs]
    scalars = [(name, "i32") for name in kernel.scalars]
    wanted = dict([*inputs, *scalars, *outputs, *((name, "constexpr") for name in variant.constants)])
    arguments = len(inputs) + len(scalars) + len(outputs)
    if list(wanted)[:arguments] != function.arg_names[:arguments] or set(wanted) != set(function.arg_names):
        raise ValueError(f"{kernel.source} takes {function.arg_names}, the declaration says {list(wanted)}")
    return {name: wanted[name] for name in function.arg_names}


def entry_parameters(ptx: str, entry: str) -> list[tuple[str, str]]:
    """(type, name) of every parameter of an entry: ``("u64", "f_param_0")``."""
    found = re.search(rf"\.entry\s+{re.escape(entry)}\s*\((.*?)\)", ptx, re.DOTALL)
    if found is None:
        raise ValueError(f"the PTX has no entry {entry}")
    return re.findall(r"\.param\s+\.(\w+)[^,\n]*?(\w+_param_\d+)", found[1])


def without_scratch(ptx: str, entry: str, arguments: int) -> str:
    """The PTX without the two pointers that Triton appends after ``arguments`` parameters; ValueError when they are read."""
    extra = entry_parameters(ptx, entry)[arguments:]
    if len(extra) != SCRATCH_POINTERS:
        raise ValueError(f"{entry} has {len(extra)} parameters after its own, expected {SCRATCH_POINTERS}")
    head, body = ptx.split("\n{", 1)
    for _, name in extra:
        if re.search(rf"\b{name}\b", body):
            raise ValueError(f"{entry} reads its scratch pointer {name}")
        head, count = re.subn(rf",\s*\.param[^,\n]*?\b{name}\b", "", head)
        if count != 1:
            raise ValueError(f"{entry} has no parameter {name} to take out")
    return head + "\n{" + body


def without_comments(ptx: str) -> str:
    """The PTX without ``//`` comments and empty lines: a third of it, and nothing an assembler reads."""
    lines = (re.sub(r"\s*//.*$", "", line) for line in ptx.splitlines())
    return "\n".join(line for line in lines if line.strip()) + "\n"
