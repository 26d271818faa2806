"""ONNX file -> the outside files it points to, read from the protobuf wire format without the onnx package.

Older ONNX Runtimes follow ``../``, absolute and symlinked locations of external data without a word, so a bundle's graph
is looked through before any engine sees it. Weights are skipped, not read: the cost is that of the nodes.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Buffer = bytes | mmap.mmap

# message -> {field number: message inside}; the places of onnx.proto (IR 3 to 13) where a tensor can be
MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # fields of a tensor; location 1 means "in another file"
MAX_DEPTH = 100


class NotOnnx(ValueError):
    """The bytes are no whole ONNX model."""


@dataclass(frozen=True)
class ExternalData:
    """Where one tensor keeps its values: a file name as written in the model, and bytes from..to (None: to the end)."""

    location: str
    offset: int = 0
    length: int | None = None


def scan(path: Path) -> tuple[ExternalData, ...]:
    """All external data of an ONNX file; NotOnnx when it is cut off or something else."""
    if path.stat().st_size == 0:
        raise NotOnnx("the file is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return scan_bytes(data)


def scan_bytes(data: Buffer) -> tuple[ExternalData, ...]:
    """All external data of a serialised ModelProto."""
    found: list[ExternalData] = []
    graphs = 0
    for number, value in _fields(data, 0, len(data)):
        child = MESSAGES["model"].get(number)
        if child and isinstance(value, tuple):
            graphs += child == "graph"
            _visit(data, *value, child, found, 1)
    if not graphs:
        raise NotOnnx("there is no graph inside")
    return tuple(found)


def _visit(data: Buffer, start: int, end: int, message: str, found: list[ExternalData], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise NotOnnx(f"graphs are nested more than {MAX_DEPTH} deep")
    children, entries, outside = MESSAGES[message], {}, False
    for number, value in _fields(data, start, end):
        if message == "tensor" and number == DATA_LOCATION:
            outside = outside or value == 1
        elif message == "tensor" and number == EXTERNAL_DATA and isinstance(value, tuple):
            key, text = _entry(data, *value)
            if key in entries:  # readers differ in which of the two they take
                raise NotOnnx(f"a tensor names its external {key} twice")
            entries[key] = text
        elif number in children and isinstance(value, tuple):
            _visit(data, *value, children[number], found, depth + 1)
    if outside or entries:
        try:
            length = int(entries["length"]) if "length" in entries else None
            found.append(ExternalData(entries["location"], int(entries.get("offset", "0")), length))
        except (KeyError, ValueError):
            raise NotOnnx(f"a tensor's external data cannot be read: {entries}") from None


def _entry(data: Buffer, start: int, end: int) -> tuple[str, str]:
    """StringStringEntryProto: key = 1, value = 2."""
    texts = {1: "", 2: ""}
    for number, value in _fields(data, start, end):
        if number in texts and isinstance(value, tuple):
            try:
                texts[number] = bytes(data[value[0] : value[1]]).decode()
            except UnicodeDecodeError:
                raise NotOnnx("a name in it is no text") from None
    return texts[1], texts[2]


def _fields(data: Buffer, at: int, end: int) -> Iterator[tuple[int, int | tuple[int, int]]]:
    """(field number, number or (start, end) of the bytes) of each field of one message."""
    while at < end:
        tag, at = _varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at, end)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(data, at, end)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise NotOnnx(f"wire type {wire} at byte {at}")
        if at + size > end:
            raise NotOnnx(f"a field of {size:,} bytes at byte {at:,} passes the end: the file is cut off")
        yield number, (at, at + size)
        at += size


def _varint(data: Buffer, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise NotOnnx(f"a number at byte {at:,} does not end: the file is cut off or no ONNX")
