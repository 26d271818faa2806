"""A kernel pack before TensorRT sees it: names that can be names, types that there are, expressions that read what they know.

The pack is whole and its hashes hold (pack.py); what its table says may still be anything. TensorRT asks for it half-way
through a build, where an exception of ours would end it without words.
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Iterable
from itertools import pairwise

from ..errors import BundleRefused
from .expressions import parse
from .pack import PACK, KernelPack, OpKernels
from .schema import MAX_SHARED_BYTES, TYPES, Launch, Tensor

FIXED = (*TYPES, "int32")  # of a tensor that is not T
KINDS = {"int": int, "float": float}
MAX_AXES, MAX_TEXT, MAX_THREADS = 8, 300, 1024
LARGEST = 2**31


def check_pack(pack: KernelPack) -> None:
    """BundleRefused for the first entry that no plugin can be made of."""
    for name, kernels in pack.ops.items():
        if wrong := _wrong(name, kernels):
            raise BundleRefused(
                f"the kernel pack {PACK} cannot be used",
                found=f"{name!r:.60}: {wrong}"[:300],
                expected="a pack written by make kernels",
                because="kernels run on the GPU unchecked, so only an intact pack is used",
                attempt="export the bundle again",
            )


def _wrong(name: object, kernels: OpKernels) -> str:
    schema = kernels.schema
    if not _is_name(name) or schema.name != name:
        return f"its schema is called {schema.name!r:.60}"
    if not schema.inputs or not schema.outputs:
        return "no inputs or no outputs"
    names = [*(tensor.name for tensor in schema.inputs), *(attribute.name for attribute in schema.attributes)]
    odd = [one for one in (*names, *(tensor.name for tensor in schema.outputs)) if not _is_name(one)]
    if odd or len(set(names)) < len(names) or {"outputs", "tactic"} & set(names):
        return f"inputs and attributes are called {names}"
    if not schema.types or not all(one in TYPES for one in schema.types):
        return f"types {list(schema.types)!r}"
    for attribute in schema.attributes:
        default = attribute.default
        if attribute.kind not in KINDS or not (default is None or _is_number(default, attribute.kind)):
            return f"attribute {attribute.name} of kind {attribute.kind!r:.40} with the default {default!r:.60}"
    symbols = {size for tensor in schema.inputs for size in tensor.shape if _is_name(size)}
    known = symbols | {attribute.name for attribute in schema.attributes}
    return (
        _first(_wrong_tensor(tensor, known) for tensor in (*schema.inputs, *schema.outputs))
        or _first(_wrong_launch(launch, known) for launch in kernels.launches)
    )  # fmt: skip


def _wrong_tensor(tensor: Tensor, known: set[str]) -> str:
    if tensor.type not in ("T", *FIXED):
        return f"{tensor.name} is of type {tensor.type!r:.60}"
    if len(tensor.shape) > MAX_AXES:
        return f"{tensor.name} has {len(tensor.shape)} axes"
    return _first(_wrong_text(text, known) for text in tensor.shape)


def _wrong_launch(launch: Launch, known: set[str]) -> str:
    if not isinstance(launch.entry, str) or not launch.entry.isidentifier() or launch.type not in TYPES:
        return f"a kernel {launch.entry!r:.60} of type {launch.type!r:.60}"
    for what, value, low, high in (
        ("threads", launch.threads, 1, MAX_THREADS),
        ("shared_bytes", launch.shared_bytes, 0, MAX_SHARED_BYTES),
    ):
        if type(value) is not int or not low <= value <= high:
            return f"{launch.entry} has {what} {value!r:.60}"
    return _first(_wrong_text(text, known) for text in (launch.when, *launch.grid, *launch.scalars))


def _wrong_text(text: object, known: set[str]) -> str:
    """What is wrong with an expression; it is neither long nor deep, so that reading it is quick."""
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        return f"the expression {text!r:.60}"
    try:
        expression = parse(text)
    except (ValueError, RecursionError, MemoryError) as error:
        return f"{error!s:.200}"
    if any(pair in ((0, "//"), (0, "cdiv")) for pair in pairwise(expression.postfix)):
        return f"{text!r} divides by 0"
    if unknown := [name for name in expression.names if name not in known]:
        return f"{text!r} reads {', '.join(unknown)}, which no input and no attribute gives"
    if any(isinstance(token, int) and token >= LARGEST for token in expression.postfix):
        return f"{text!r} has a number that no kernel can take"
    return ""


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value.isidentifier() and not keyword.iskeyword(value) and len(value) < MAX_TEXT


def _is_number(value: object, kind: str) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return -LARGEST <= value < LARGEST and (kind == "float" or isinstance(value, int)) and math.isfinite(value)


def _first(found: Iterable[str]) -> str:
    return next((one for one in found if one), "")
