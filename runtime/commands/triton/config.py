"""config.pbtxt: fields of Triton's ModelConfig as text, written without protobuf, which a device does not have.

    {"name": "smt", "input": [{"name": "IMAGE", "data_type": Word("TYPE_STRING"), "dims": [1]}]}   ->   text

Schema: model_config.proto of Triton's common repository. Text: the text format of Protocol Buffers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...bundle.manifest import TensorSpec
from ...errors import UserMistake
from ...tasks.task import TEXT

CONFIG = "config.pbtxt"
TYPES = {  # ours -> Triton's
    "bool": "TYPE_BOOL",
    **{f"{sign}int{bits}": f"TYPE_{sign.upper()}INT{bits}" for sign in ("u", "") for bits in (8, 16, 32, 64)},
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    "bfloat16": "TYPE_BF16",
    TEXT: "TYPE_STRING",
}


class Word(str):
    """A value of an enumeration: it stands without quotes."""


@dataclass(frozen=True)
class Tensor:
    """An input or output as a config has it: ``dims`` without the batch, -1 where a size is open."""

    name: str
    dtype: str  # numpy's, bfloat16, or TEXT
    dims: tuple[int, ...]

    def fields(self, reshape: bool = False) -> dict[str, Any]:
        """``reshape``: Triton has no dims without a number in it; its own backends are told that there is none in the graph."""
        told: dict[str, Any] = {"name": self.name, "data_type": Word(TYPES[self.dtype]), "dims": list(self.dims) or [1]}
        return told | ({"reshape": {"shape": []}} if reshape and not self.dims else {})


def tensor_of(spec: TensorSpec, batched: bool) -> Tensor:
    """A tensor of the graph; with ``batched`` its first axis is the one that Triton adds."""
    sizes = spec.shape[1:] if batched else spec.shape
    return Tensor(spec.name, spec.dtype, tuple(size if isinstance(size, int) else -1 for size in sizes))


def most_in_a_batch(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], asked: int) -> int:
    """``max_batch_size`` of a graph: 0 where it has no batch as Triton means it.

    That is a first axis, open and the same in every input and output, which may be 1 and is bounded by the graph's largest.
    """
    firsts = {spec.shape[0] if spec.shape else 0 for spec in (*inputs, *outputs)}
    if len(firsts) != 1 or not isinstance(firsts.pop(), str):
        return 0
    limits = [spec.limits(0) for spec in inputs]
    if any(least > 1 for least, _ in limits):
        return 0  # the server may send one picture alone
    return min([asked, *(most for _, most in limits if most is not None)])


def text_of(fields: Mapping[str, Any], comment: str = "") -> str:
    """The whole file; ``comment`` stands above it."""
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    return head + "\n".join(_lines(fields, "")) + "\n"


def _lines(fields: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in fields.items():
        if isinstance(value, Mapping):
            yield from _message(key, value, indent)
        elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
            for one in value:
                yield from _message(key, one, indent)
        elif isinstance(value, list):
            yield f"{indent}{key}: [{', '.join(map(_scalar, value))}]"
        else:
            yield f"{indent}{key}: {_scalar(value)}"


def _message(key: str, fields: Mapping[str, Any], indent: str) -> Iterator[str]:
    inside = list(_lines(fields, indent + "  "))
    yield from [f"{indent}{key} {{", *inside, f"{indent}}}"] if inside else [f"{indent}{key} {{ }}"]


def _scalar(value: Any) -> str:
    if isinstance(value, Word):
        return str(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    return quoted(str(value))


def quoted(text: str) -> str:
    """Any text as a string of the text format: what is no plain letter stands there as its bytes."""
    try:
        data = text.encode()
    except UnicodeEncodeError:  # half a character
        raise UserMistake("a name cannot be written for Triton", found=ascii(text)[:200], expected="UTF-8") from None
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}" for byte in data)
    return f'"{"".join(plain)}"'
