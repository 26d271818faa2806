"""Damage to a JSON document: values of other kinds and sizes in other places, and bytes that are no JSON any more."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

WHOLE = (0, 1, -1, 2, 3, 17, 255, 2**31 - 1, 2**31, -(2**31) - 1, 2**53 + 1, 10**17, -(10**17))
BROKEN = (0.0, -0.0, 0.5, -1.5, 1e-300, 5e-324, 1e300, -1e300, 1.7e308)
TEXTS = (
    "", " ", "x", "main", "inf", "nan", "-inf", "1e999", "true", "fp32", "int8", "detection", "classification", "batch", "images", "float16", "bfloat16",
    "int64", "bool", "graph", "none", "aot", "native", "weights", "nbits", "agreement", "random", "edgesmith",
    "../outside", "/etc/passwd", "a/b", "a\\b", "model.onnx", "golden.npz", "labels.json", "manifest.json", "\u0000", "\u202e\u200b",
    "line\nline", "\x1b[2J", "x" * 999, "y" * 5000, "é" * 200, "\U0001f600", "%s %d {0} {name}", "<script>alert(1)</script>", "[red]x[/]",
)  # fmt: skip


def value(random: random.Random, depth: int = 0) -> Any:
    """Any JSON value."""
    kind = random.randrange(9 if depth < 3 else 6)
    if kind == 0:
        return random.choice((None, True, False))
    if kind in (1, 2):
        return random.choice(WHOLE) if random.random() < 0.7 else random.randrange(-(2**20), 2**20)
    if kind == 3:
        return random.choice(BROKEN) if random.random() < 0.7 else random.uniform(-1000, 1000)
    if kind in (4, 5):
        return random.choice(TEXTS)
    if kind == 6:
        return [value(random, depth + 1) for _ in range(random.randrange(5))]
    if kind == 7:
        return {random.choice(TEXTS)[:100]: value(random, depth + 1) for _ in range(random.randrange(4))}
    nested: Any = value(random, 3)
    for _ in range(random.randrange(1, 28)):
        nested = [nested] if random.random() < 0.5 else {"x": nested}
    return nested


def places(document: Any, deepest: int = 12) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value below."""
    if deepest and isinstance(document, (dict, list)):
        for key in document if isinstance(document, dict) else range(len(document)):
            yield document, key
            yield from places(document[key], deepest - 1)


def damaged(random: random.Random, document: Any, changes: int) -> Any:
    """A copy with so many changes, each at a place chosen level by level: a long list does not draw all of them."""
    document = copy.deepcopy(document)
    for _ in range(changes):
        place = _place(random, document)
        if place is None:
            return value(random)
        _change(random, document, *place)
    return document


def _place(random: random.Random, document: Any) -> tuple[Any, Any] | None:
    if not isinstance(document, (dict, list)) or not document:
        return None
    key = random.choice(list(document) if isinstance(document, dict) else range(len(document)))
    inner = document[key]
    if isinstance(inner, (dict, list)) and inner and random.random() < 0.75:
        return _place(random, inner)
    return document, key


def _change(random: random.Random, document: Any, box: Any, key: Any) -> None:
    kind, old = random.randrange(10), box[key]
    if kind == 0:
        del box[key]
    elif kind == 1 and isinstance(box, list):
        box.insert(key, copy.deepcopy(old))
    elif kind == 1:
        box[random.choice(TEXTS)[:100]] = box.pop(key)
    elif kind == 2:  # a value from elsewhere
        other, at = random.choice(list(places(document)))
        box[key] = copy.deepcopy(other[at])
    elif kind == 3 and isinstance(old, (int, float)):
        box[key] = random.choice((-old, old + 1, old - 1, old * 1000, str(old), bool(old), [old], old + 0.5))
    elif kind == 3 and isinstance(old, str):
        box[key] = random.choice((old * 50, old[:-1], old[::-1], old + "\u202e", old.upper(), [old], {old[:50]: old}))
    elif kind == 3:
        box[key] = random.choice((None, [], {}, [old], {"x": old}, str(old)[:300]))
    elif kind == 4 and isinstance(box, dict):
        box[random.choice(TEXTS)[:100]] = value(random)
    else:
        box[key] = value(random)


def damaged_text(random: random.Random, text: bytes) -> bytes:
    """The bytes of a document, damaged as a copy or an editor damages them."""
    at = random.randrange(len(text) + 1)
    kind = random.randrange(12)
    if kind == 0:
        return text[:at]
    if kind == 1:
        return b"\xef\xbb\xbf" + text
    if kind == 2:
        return text.decode(errors="replace").encode(random.choice(("utf-16", "utf-16-le", "utf-32")))
    if kind == 3:
        return text[:at] + bytes([random.randrange(256)]) + text[at + 1 :]
    if kind == 4:
        return text[:at] + random.randbytes(random.randrange(1, 40)) + text[at:]
    if kind == 5:
        return text + text
    if kind == 6:
        return b"[" * 100_000 + b"]" * 100_000
    if kind == 7:
        return b'{"a":' * 20_000 + b"1" + b"}" * 20_000
    if kind == 8:
        return random.choice((b"", b"null", b"[]", b"{}", b'"x"', b"1", b"NaN", b"\0" * 100, b"1" * 20_000, b"-", b"{"))
    if kind == 9:
        return text.replace(b"1", random.choice((b"1" * 5000, b"NaN", b"Infinity", b"1e999", b"-1", b"01")), 1)
    if kind == 10:
        return text.replace(b'"', random.choice((b"'", b'"\\ud800', b'"\\u0000', b'"\\')), random.randrange(1, 5))
    return text.replace(b",", b"," + text[1:200], 1)


def text_of(document: Any) -> bytes:
    return json.dumps(document).encode()
