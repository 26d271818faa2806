"""ONNX file -> the outside files it points to, read from the protobuf wire format without the onnx package.

Older ONNX Runtimes follow ``../``, absolute and symlinked locations of external data without a word, so a bundle's graph
is looked through before any engine sees it. Weights are skipped, not read: the cost is that of the nodes.

A model may define functions that call each other, and engines write each call out: thirty functions that call the next
one ten times are a few kilobytes and more nodes than any memory holds. So they are counted here, not written out.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserMistake
from ..ground.regular import open_regular

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
NODE_OP, NODE_DOMAIN, NODE_OVERLOAD = 4, 7, 8  # fields of a node; the function of that name
FUNCTION_NAME, FUNCTION_DOMAIN, FUNCTION_OVERLOAD = 1, 10, 13
MAX_DEPTH = 100
MAX_NODES = 1_000_000  # with every function written out; the largest of our exports has some thousands
Name = tuple[bytes, bytes, bytes]  # domain, name, overload
Calls = Counter[Name]


class NotOnnx(ValueError):
    """The bytes are no whole ONNX model."""


@dataclass(frozen=True)
class ExternalData:
    """Where one tensor keeps its values: a file name as written in the model, and bytes from..to (None: to the end)."""

    location: str
    offset: int = 0
    length: int | None = None


def scan(path: Path) -> tuple[ExternalData, ...]:
    """All external data of an ONNX file; NotOnnx when it is cut off or something else, UserMistake when it is no file."""
    with open_regular(path) as file:
        if path.stat().st_size == 0:
            raise NotOnnx("the file is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return scan_bytes(data)


def check_foreign(path: Path) -> None:
    """Look through an ONNX file from anywhere before a library reads it; UserMistake says what it is instead."""
    try:
        scan(path)
    except NotOnnx as error:
        raise UserMistake(
            f"{path} is not an ONNX model",
            found=f"{path.stat().st_size} bytes; {error}",
            expected="a whole ONNX file",
            because="a download or a copy that was cut off looks like this",
        ) from None


def scan_bytes(data: Buffer) -> tuple[ExternalData, ...]:
    """All external data of a serialised ModelProto."""
    found: list[ExternalData] = []
    calls: Calls = Counter()  # of the graphs
    functions: dict[Name, Calls] = {}
    inside = MESSAGES["model"]
    parts = [(inside[number], value) for number, value in _fields(data, 0, len(data)) if number in inside]
    kinds = {kind for kind, value in parts if isinstance(value, tuple)}
    for kind, value in parts:
        if isinstance(value, tuple):
            own = calls if "function" in kinds else None  # names cost as much as all else, and most models need none
            if kind == "function":
                name = _name(data, *value, FUNCTION_DOMAIN, FUNCTION_NAME, FUNCTION_OVERLOAD)
                own = functions.setdefault(name, Counter())
            _visit(data, *value, kind, found, own, 1)
    if "graph" not in kinds:
        raise NotOnnx("there is no graph inside")
    _written_out(calls, functions, {}, 1)
    return tuple(found)


def _written_out(calls: Calls, functions: dict[Name, Calls], known: dict[Name, int], depth: int) -> int:
    """How many nodes these calls are with every function in the place of its call; NotOnnx for too many."""
    if depth > MAX_DEPTH:  # a function that calls itself, too
        raise NotOnnx(f"functions call each other more than {MAX_DEPTH} deep")
    total = 0
    for name, count in calls.items():
        if name in functions and name not in known:
            known[name] = _written_out(functions[name], functions, known, depth + 1)
        total += count * known.get(name, 1)
    if total > MAX_NODES:
        raise NotOnnx(f"its functions multiply to more than {MAX_NODES:,} nodes")
    return total


def _name(data: Buffer, start: int, end: int, *numbers: int) -> Name:
    """The last value of each of these three fields; "ai.onnx" is the domain without a name."""
    texts = dict.fromkeys(numbers, b"")
    for number, value in _fields(data, start, end):
        if number in texts and isinstance(value, tuple):
            texts[number] = bytes(data[value[0] : value[1]])
    domain, name, overload = texts.values()
    return (b"" if domain == b"ai.onnx" else domain, name, overload)


def _visit(
    data: Buffer, start: int, end: int, message: str, found: list[ExternalData], calls: Calls | None, depth: int
) -> None:
    if depth > MAX_DEPTH:
        raise NotOnnx(f"graphs are nested more than {MAX_DEPTH} deep")
    if message == "node" and calls is not None:
        calls[_name(data, start, end, NODE_DOMAIN, NODE_OP, NODE_OVERLOAD)] += 1
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
            _visit(data, *value, children[number], found, calls, depth + 1)
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
        if (tag := data[at]) < 0x80:  # nearly all are of one byte
            at += 1
        else:
            tag, at = _varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at, end)
            yield number, value
            continue
        if wire == 2 and at < end and (size := data[at]) < 0x80:
            at += 1
        elif wire == 2:
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
