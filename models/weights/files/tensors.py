"""How PyTorch writes a tensor into a pickle: the call of a rebuilding function with a storage, a shape and steps.

    torch._utils._rebuild_tensor_v2(Storage, offset, size, stride, ...) -> Stored

One builder for each such function, by its name; kinds that hold no plain numbers (sparse, quantised, nested, without values)
become a Stored that says so. No torch is imported here, and no value is read.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from .stored import MOST_VALUES, SIZES, Stored, possible, unreadable
from .zipped import NotWhole

if TYPE_CHECKING:
    from torch import Tensor

# names that say nothing about what the file keeps beside its tensors, and do nothing when they are read
KNOWN = re.compile(
    r"torch\.(\w+Storage|storage\.\w+Storage|Size|device|dtype|[a-z]+\d+\w*|bool|half|float|double|int|long|short|per_\w+)"
    r"|torch\.serialization\._get_layout|torch\.nn\.parameter\.(Parameter|Buffer)|torch\._?[Tt]ensor(\.Tensor)?"
    r"|collections\.(OrderedDict|Counter)|argparse\.Namespace|_codecs\.encode|copyreg\._reconstructor|copy_reg\._reconstructor"
    r"|numpy\.(ndarray|dtype|dtypes\.\w+|(_core|core)\.multiarray\.(scalar|_reconstruct))"
)
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2",
}


@dataclass(frozen=True)
class Storage:
    """Values of a file under a key, ``numel`` of them from ``start`` on; ``read(storage)`` gives them as a flat tensor."""

    dtype: str
    key: str
    numel: int
    start: int
    read: Callable[[Storage, str], Tensor]


def storage_of(pid: Any, read: Callable[[Storage, str], Tensor]) -> Storage | None:
    """What PyTorch calls a storage: ("storage", type, key, device, numel[, view]); None where the file says something else."""
    if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
        return None
    kind, key, numel = getattr(pid[1], "name", ""), str(pid[2])[:200] if isinstance(pid[2], (str, int)) else "", pid[4]
    dtype = STORAGES.get(str(kind).rpartition(".")[2])
    if dtype is None or type(numel) is not int or not 0 <= numel <= MOST_VALUES:
        return None
    start = 0
    if len(pid) > 5 and isinstance(pid[5], tuple):  # a piece of another, in files of before PyTorch 1.6
        _, start, numel = pid[5]
    return Storage(dtype, key, numel, start, read)


def _strided(storage: Any, offset: Any, size: Any, stride: Any, *more: Any, dtype: str = "") -> Stored:
    """A plain tensor: ``size`` values at ``stride`` from ``offset`` on; ValueError where the storage has not as many."""
    if not isinstance(storage, Storage):
        return unreadable("a tensor without a storage", size)
    size, stride = tuple(size), tuple(stride)
    dtype = dtype or storage.dtype
    steps = (storage.start, offset, *stride)
    if (
        not possible(size)
        or len(stride) != len(size)
        or not all(type(n) is int and 0 <= n <= MOST_VALUES for n in steps)
    ):
        raise ValueError(f"a tensor of shape {size[:8]} in steps of {stride[:8]}"[:160])
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    held = storage.numel * SIZES.get(storage.dtype, 1) // SIZES.get(dtype, 1)
    if 0 not in size and last >= held and dtype in SIZES:
        raise ValueError(f"a tensor of shape {size[:8]} in a storage of {held} values"[:160])
    negated = any(isinstance(part, Mapping) and part.get("neg") is True for part in more)
    if dtype not in SIZES:
        return unreadable(f"of type {dtype or 'unknown'}", size)
    if negated and not dtype.startswith(("float", "bfloat", "complex")):
        raise ValueError(f"a negative view of {dtype}")

    def values() -> Tensor:
        flat = storage.read(storage, dtype)
        if 0 not in size and storage.start + last >= flat.numel():  # where the pickle says more than the file has
            raise NotWhole(f"a tensor of shape {size[:8]} in {flat.numel()} values")
        found = flat.as_strided(size, stride, storage.start + offset)
        return -found if negated else found

    return Stored(size, dtype, "", values, (storage.key, storage.start + offset, size, stride, negated))


def _of_dtype(
    storage: Any, offset: Any, size: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, *more: Any
) -> Stored:
    return _strided(storage, offset, size, stride, *more, dtype=dtype_word(dtype))


def dtype_word(named: Any) -> str:
    return str(getattr(named, "name", "")).removeprefix("torch.")[:40]


def _same(data: Any, *_: Any) -> Any:
    """A parameter is the tensor that it is made of."""
    return data


def _with_type(function: Any, _type: Any, arguments: Any, _state: Any) -> Any:
    """A tensor of a class of its own: the tensor."""
    return function(*arguments) if callable(function) else None


def _odd(kind: str, place: int | None, *arguments: Any) -> Stored:
    """A tensor that holds no plain numbers, with its shape where the argument at ``place`` says it."""
    size = arguments[place] if place is not None and len(arguments) > place else ()
    return unreadable(kind, tuple(size) if isinstance(size, (tuple, list)) else ())


def _sparse(layout: Any, data: Any) -> Stored:
    sizes = [part for part in data if isinstance(part, tuple) and possible(part)] if isinstance(data, tuple) else []
    return unreadable(str(layout).removeprefix("torch.") if isinstance(layout, str) else "sparse", *sizes[-1:])


def _quantised(storage: Any, _offset: Any, size: Any, *_: Any) -> Stored:
    return unreadable(f"quantised, {storage.dtype if isinstance(storage, Storage) else 'of unknown type'}", tuple(size))


def _size(sides: Any = ()) -> tuple[Any, ...]:
    return tuple(sides)


def _ordered(pairs: Any = ()) -> OrderedDict[Any, Any]:
    """Python 2 wrote the pairs into the call."""
    if isinstance(pairs, dict):
        return OrderedDict(pairs)
    return OrderedDict((key, value) for key, value in pairs if isinstance(key, (str, int)))


def _layout(name: Any) -> str:
    return str(name)[:40] if isinstance(name, str) else "sparse"


def _text_as_bytes(text: Any, *_: Any) -> bytes:
    return text.encode("latin1") if isinstance(text, str) else b""


_U = "torch._utils."
BUILDERS: dict[str, Callable[..., Any]] = {
    f"{_U}_rebuild_tensor": _strided,
    f"{_U}_rebuild_tensor_v2": _strided,
    f"{_U}_rebuild_tensor_v3": _of_dtype,
    f"{_U}_rebuild_parameter": _same,
    f"{_U}_rebuild_parameter_with_state": _same,
    f"{_U}_rebuild_device_tensor_from_cpu_tensor": _same,
    "torch._tensor._rebuild_from_type_v2": _with_type,
    "torch._tensor._rebuild_from_type": _with_type,
    "torch.nn.parameter.Parameter": _same,
    f"{_U}_rebuild_sparse_tensor": _sparse,
    f"{_U}_rebuild_sparse_csr_tensor": _sparse,
    f"{_U}_rebuild_nested_tensor": partial(_odd, "nested", None),
    "torch.nested._internal.nested_tensor._rebuild_njt": partial(_odd, "nested", None),
    f"{_U}_rebuild_qtensor": _quantised,
    f"{_U}_rebuild_mkldnn_tensor": partial(_odd, "of oneDNN's own layout", None),
    f"{_U}_rebuild_meta_tensor_no_storage": partial(_odd, "a shape without values (device meta)", 1),
    f"{_U}_rebuild_wrapper_subclass": partial(_odd, "of a class that is not read", 2),
    f"{_U}_rebuild_device_tensor_from_numpy": partial(_odd, "of a device that is not read", None),
    "torch.serialization._get_layout": _layout,
    "torch.Size": _size,
    "collections.OrderedDict": _ordered,
    "_codecs.encode": _text_as_bytes,
}
