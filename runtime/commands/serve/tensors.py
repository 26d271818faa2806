"""Arrays of the Open Inference Protocol, version 2, in JSON and in its binary extension.

    {"inputs": [{"name", "datatype", "shape", "data"}]}                                     numbers in row-major order, nested or not
    {"inputs": [{"name", "datatype", "shape", "parameters": {"binary_data_size": n}}]} + n bytes   little endian, behind the JSON

Source: kserve/open-inference-protocol, specification/protocol/inference_rest.md; triton-inference-server/server,
docs/protocol/extension_binary_data.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...bundle.manifest import MAX_ELEMENTS, MAX_RANK, TensorSpec
from ...errors import UserMistake, one_line

SHORT = {"float": "FP", "bfloat": "BF"}  # what the protocol calls kinds that it does not call as numpy does
NESTED, BINARY, SIZE = "data", "binary_data", "binary_data_size"


def datatype(dtype: str) -> str:
    """numpy's name of a type as the protocol has it: float32 -> FP32, int64 -> INT64, bool -> BOOL."""
    kind = dtype.rstrip("0123456789")
    return SHORT.get(kind, kind.upper()) + dtype[len(kind) :]


def described(spec: TensorSpec) -> dict[str, Any]:
    """A tensor as metadata has it; -1 where a size is open."""
    shape = [-1 if isinstance(size, str) else size for size in spec.shape]
    return {"name": spec.name, "datatype": datatype(spec.dtype), "shape": shape}


@dataclass(frozen=True)
class Question:
    """A request that was read: arrays by name, and which outputs are wanted how (name -> whether as bytes)."""

    id: str | None
    feeds: dict[str, np.ndarray]
    outputs: dict[str, bool]


def read_question(
    body: bytes, json_bytes: int | None, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> Question:
    """The body of a request; ``json_bytes`` of it are JSON, or all of it.

    Raises:
        UserMistake: no such request; which value is wrong, and what was expected.
    """
    told, binary = _json(body, json_bytes), memoryview(body)[json_bytes:] if json_bytes is not None else memoryview(b"")
    specs = {spec.name: spec for spec in inputs}
    feeds: dict[str, np.ndarray] = {}
    for row in _rows(told, "inputs", needed=True):
        name = row["name"]
        if name not in specs or name in feeds:
            raise UserMistake(
                f"there is no input {one_line(name)!r}" if name not in specs else f"input {name!r} is there twice",
                expected=", ".join(specs),
            )
        feeds[name], used = _array(row, specs[name], binary)
        binary = binary[used:]
    if len(binary):
        raise UserMistake("there are bytes that belong to no input", found=f"{len(binary):,} bytes too many")
    as_bytes = bool(_parameters(told, "the request").get("binary_data_output", False))
    return Question(_id(told), feeds, _wanted(told, [spec.name for spec in outputs], as_bytes))


def write_answer(
    head: Mapping[str, Any], results: Mapping[str, np.ndarray], wanted: Mapping[str, bool]
) -> tuple[bytes, int | None]:
    """(body, bytes of it that are JSON; None for all of it). UserMistake for numbers that JSON cannot spell."""
    rows: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for name, as_bytes in wanted.items():
        array = np.ascontiguousarray(results[name])
        row = {"name": name, "datatype": datatype(str(array.dtype)), "shape": list(results[name].shape)}
        if as_bytes:
            tail.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
            rows.append({**row, "parameters": {SIZE: len(tail[-1])}})
        else:
            rows.append({**row, NESTED: array.ravel().tolist()})
    try:
        text = json.dumps({**head, "outputs": rows}, allow_nan=False).encode()
    except ValueError:
        raise UserMistake(
            "JSON cannot spell what the graph gives",
            found="NaN or infinity among the outputs",
            expected=f'the parameter "{BINARY}": true for such outputs',
        ) from None
    return (b"".join([text, *tail]), len(text)) if tail else (text, None)


def _json(body: bytes, json_bytes: int | None) -> dict[str, Any]:
    if json_bytes is not None and json_bytes > len(body):
        raise UserMistake(
            "the JSON is longer than the request",
            found=f"Inference-Header-Content-Length {json_bytes}, {len(body):,} bytes",
        )
    try:
        told = json.loads(body[:json_bytes].decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise UserMistake(
            "the request is no JSON",
            found=one_line(str(error))[:200],
            expected='{"inputs": [...]}, and bytes behind it where Inference-Header-Content-Length says so',
        ) from None
    if not isinstance(told, dict):
        raise UserMistake("the request is no JSON object", found=type(told).__name__, expected='{"inputs": [...]}')
    return told


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is not in JSON")


def _rows(told: Mapping[str, Any], key: str, needed: bool = False) -> list[dict[str, Any]]:
    rows = told.get(key, None if needed else [])
    right = isinstance(rows, list) and all(isinstance(row, dict) and isinstance(row.get("name"), str) for row in rows)
    if not right:
        raise UserMistake(f'the request has no list "{key}"', expected=f'"{key}": [{{"name": ..., ...}}]')
    return list(rows)


def _parameters(told: Mapping[str, Any], where: str) -> dict[str, Any]:
    found = told.get("parameters") or {}
    if not isinstance(found, dict):
        raise UserMistake(f'"parameters" of {where} are no object', found=type(found).__name__)
    if odd := [name for name in found if name.startswith("sequence_") and found[name]]:
        raise UserMistake(f"{odd[0]} asks for a memory of earlier requests", expected="requests that stand alone")
    return found


def _only(parameters: Mapping[str, Any], known: str, where: str) -> None:
    """Memory that is shared, classes instead of numbers: what would change the answer is not passed over."""
    if odd := [name for name in parameters if name != known]:
        raise UserMistake(f"{where} has a parameter that is not served", found=one_line(odd[0]), expected=known)


def _id(told: Mapping[str, Any]) -> str | None:
    found = told.get("id")
    if found is not None and not isinstance(found, str):
        raise UserMistake('"id" is no text', found=type(found).__name__)
    return found


def _wanted(told: Mapping[str, Any], names: Sequence[str], as_bytes: bool) -> dict[str, bool]:
    wanted: dict[str, bool] = {}
    for row in _rows(told, "outputs"):
        if row["name"] not in names:
            raise UserMistake(f"there is no output {one_line(row['name'])!r}", expected=", ".join(names))
        parameters = _parameters(row, f"output {row['name']!r}")
        _only(parameters, BINARY, f"output {row['name']!r}")
        wanted[row["name"]] = bool(parameters.get(BINARY, as_bytes))
    return wanted or dict.fromkeys(names, as_bytes)


def _array(row: Mapping[str, Any], spec: TensorSpec, binary: memoryview) -> tuple[np.ndarray, int]:
    """(the array, how many of the bytes are its)."""
    where = f"input {spec.name!r}"
    if row.get("datatype") != datatype(spec.dtype):
        told = row.get("datatype")
        raise UserMistake(
            f"{where} has the wrong datatype",
            found=one_line(told)[:80] if isinstance(told, str) else "none",
            expected=datatype(spec.dtype),
        )
    shape = _shape(row.get("shape"), where)
    parameters = _parameters(row, where)
    _only(parameters, SIZE, where)
    if SIZE in parameters:
        return _from_bytes(parameters[SIZE], shape, _type(spec, where), binary, where)
    if NESTED not in row:
        raise UserMistake(f"{where} has no values", expected=f'"{NESTED}", or the parameter "{SIZE}"')
    return _from_json(row[NESTED], _type(spec, where), where).reshape(_fitting(row[NESTED], shape, spec, where)), 0


def _shape(told: Any, where: str) -> tuple[int, ...]:
    right = isinstance(told, list) and len(told) <= MAX_RANK and all(type(size) is int and size >= 0 for size in told)
    if not right or math.prod(told) > MAX_ELEMENTS:
        raise UserMistake(
            f"{where} has no shape that can be",
            found=one_line(json.dumps(told))[:80],
            expected=f"a list of at most {MAX_RANK} sizes, {MAX_ELEMENTS:,} values at most",
        )
    return tuple(told)


def _type(spec: TensorSpec, where: str) -> np.dtype[Any]:
    try:
        if spec.dtype.startswith("bf"):
            import ml_dtypes  # noqa: F401 numpy learns the type from it
        return np.dtype(spec.dtype)
    except (ImportError, TypeError):
        raise UserMistake(
            f"{where} is of a type that numpy does not know here",
            found=datatype(spec.dtype),
            expected="a server that has the package ml_dtypes",
        ) from None


def _from_bytes(
    told: Any, shape: tuple[int, ...], dtype: np.dtype[Any], binary: memoryview, where: str
) -> tuple[np.ndarray, int]:
    size = math.prod(shape) * dtype.itemsize
    if type(told) is not int or told != size:
        raise UserMistake(
            f"the bytes of {where} do not fill its shape",
            found=f"{SIZE} {told}"[:80],
            expected=f"{size:,} for {list(shape)}",
        )
    if size > len(binary):
        raise UserMistake(f"bytes of {where} are missing", found=f"{len(binary):,} bytes", expected=f"{size:,}")
    if dtype == np.bool_:
        flags = np.frombuffer(binary[:size], np.uint8)
        if (flags > 1).any():
            raise UserMistake(
                f"{where} holds bytes that are no BOOL", found=f"{flags.max()}", expected="0 and 1, a byte each"
            )
    array = np.frombuffer(binary[:size], dtype.newbyteorder("<")).astype(dtype)  # a copy: aligned, and its own
    return array.reshape(shape), size


def _from_json(values: Any, dtype: np.dtype[Any], where: str) -> np.ndarray:
    """Values, nested or not, as one row of ``dtype``; nothing is rounded to a whole number or wrapped around."""
    wanted = datatype(str(dtype))
    flat = _flat(values, where)
    kinds = {type(one) for one in flat}
    whole = dtype.kind in "iu"
    known = {bool} if dtype == np.bool_ else {int} if whole else {int, float}
    if not kinds <= known:
        odd = next(one for one in flat if type(one) not in known)
        raise UserMistake(f"{where} holds a value that is no {wanted}", found=one_line(json.dumps(odd))[:80])
    if whole and flat:
        limits = np.iinfo(dtype)
        if min(flat) < limits.min or max(flat) > limits.max:
            raise UserMistake(
                f"{where} holds a number that no {wanted} can hold",
                found=str(min(flat) if min(flat) < limits.min else max(flat))[:80],
                expected=f"{limits.min} to {limits.max}",
            )
    try:
        with np.errstate(over="ignore"):
            array = (
                np.array(flat, np.float64).astype(dtype) if not whole and dtype != np.bool_ else np.array(flat, dtype)
            )
    except OverflowError:
        array = np.array([np.inf], np.float32)
    if not whole and dtype != np.bool_ and not np.isfinite(array.astype(np.float64)).all():
        raise UserMistake(f"{where} holds a number that is too large for {wanted}")
    return array


def _flat(values: Any, where: str) -> list[Any]:
    if not isinstance(values, list):
        raise UserMistake(f'"{NESTED}" of {where} is no list', found=type(values).__name__)
    depth = 0
    while values and isinstance(values[0], list):
        depth += 1
        length = len(values[0])
        if depth > MAX_RANK or not all(isinstance(one, list) and len(one) == length for one in values):
            raise UserMistake(
                f'"{NESTED}" of {where} is nested unevenly', expected="rows of one length, or one flat list"
            )
        values = [one for row in values for one in row]
    return list(values)


def _fitting(values: Any, shape: tuple[int, ...], spec: TensorSpec, where: str) -> tuple[int, ...]:
    """The shape, where so many values fill it and nested lists have just that form."""
    found: list[int] = []
    inner = values
    while isinstance(inner, list):
        found.append(len(inner))
        inner = inner[0] if inner else None
    if math.prod(found) != math.prod(shape) or (len(found) > 1 and tuple(found) != shape):
        raise UserMistake(f"the values of {where} do not fill its shape", found=str(found), expected=str(list(shape)))
    return shape
