"""manifest.json: what a bundle says about itself, schema 2.

One JSON object. ``files`` lists every other file of the bundle with its sha256 and size; what is not listed is not part of
the bundle. ``manifest_sha256`` is the hash of all the other keys (trust/seal.py); schema 1, of version 0.1.0, had none. The keys
that the runtime needs are checked here and in contents.py, all others are for the report and travel as they are.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from ..errors import BundleRefused
from ..ground.places import MANIFEST, MAX_MANIFEST_BYTES
from ..ground.regular import read_regular
from .contents import check_contents
from .trust.seal import HASH, hash_of, read_json, sealed

SCHEMA = 2
SEALED = 2  # the first schema whose manifests have a hash
REQUIRED: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "task": str,
    "target": str,
    "precision": str,
    "files": dict,
}
DTYPE = re.compile("bool|bfloat16|float(16|32|64)|u?int(8|16|32|64)")
MAX_RANK = 16
MAX_ELEMENTS = 2**28  # of one tensor at its largest: a gigabyte of float32
GRAPH_KEYS: dict[str, type | tuple[type, ...]] = {"inputs": list, "outputs": list}  # of the one graph, or of each


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of the graph. ``shape`` holds a name where a size is open; min/opt/max bound the open ones."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    min: tuple[int, ...] | None = None
    opt: tuple[int, ...] | None = None
    max: tuple[int, ...] | None = None

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> TensorSpec:
        """Raises BundleRefused for a spec that is not usable."""
        try:
            shape = tuple(fields["shape"])
            bounds = [tuple(fields[key]) if fields.get(key) is not None else None for key in ("min", "opt", "max")]
            right = all((isinstance(size, str) and size) or (type(size) is int and size >= 0) for size in shape)
            right &= isinstance(fields["name"], str) and DTYPE.fullmatch(fields["dtype"]) is not None
            right &= isinstance(fields["shape"], list) and len(shape) <= MAX_RANK
            right = right and all(_fits(sizes, shape) for sizes in bounds) and _rising(bounds)
        except (KeyError, TypeError, AttributeError):
            right = False
        if not right or math.prod(_largest(shape, bounds[2] or bounds[1] or bounds[0])) > MAX_ELEMENTS:
            raise BundleRefused(
                "the bundle describes a tensor that cannot be",
                found=json.dumps(fields)[:300],
                expected='{"name": ..., "dtype": "float32", "shape": [...], "min", "opt", "max": shapes or null}, '
                f"min <= opt <= max, at most {MAX_ELEMENTS:,} values in all",
            )
        return cls(fields["name"], fields["dtype"], shape, *bounds)

    def limits(self, axis: int) -> tuple[int, int | None]:
        """Smallest and largest size of an axis; None where nothing bounds it."""
        size = self.shape[axis]
        if isinstance(size, int):
            return size, size
        return (self.min[axis] if self.min else 1), (self.max[axis] if self.max else None)


def _fits(bound: tuple[Any, ...] | None, shape: tuple[int | str, ...]) -> bool:
    """Whether a bound gives a size to each axis, and to a fixed axis its own."""
    if bound is None:
        return True
    return len(bound) == len(shape) and all(
        type(limit) is int and (limit == size if isinstance(size, int) else limit >= 1)
        for limit, size in zip(bound, shape, strict=True)
    )


def _rising(bounds: list[tuple[int, ...] | None]) -> bool:
    """Whether min, opt and max do not fall, axis by axis, as far as they are given."""
    columns = zip(*[bound for bound in bounds if bound is not None], strict=True)
    return all(list(column) == sorted(column) for column in columns)


def _largest(shape: tuple[int | str, ...], most: tuple[int, ...] | None) -> Iterator[int]:
    """The largest size of each axis; 1 where nothing bounds it."""
    for axis, size in enumerate(shape):
        yield size if isinstance(size, int) else most[axis] if most else 1


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle folder, its schema, hash and the needed keys checked; BundleRefused otherwise."""
    path = folder / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise BundleRefused(
            f"{folder} is not a bundle",
            found=f"no {MANIFEST} in it",
            expected="a folder written by edgesmith export",
        )
    size = path.stat().st_size
    if size > MAX_MANIFEST_BYTES:
        raise BundleRefused(f"{path} is too large", found=f"{size:,} bytes", expected=f"at most {MAX_MANIFEST_BYTES:,}")
    try:
        manifest = read_json(read_regular(path, MAX_MANIFEST_BYTES).decode())
        digest = hash_of(manifest) if isinstance(manifest, dict) else ""
    except (ValueError, RecursionError) as error:
        raise BundleRefused(
            f"{path} cannot be read",
            found=f"no JSON: {error}"[:300],
            because="the copy is damaged, or it was edited by hand",
            attempt="copy the bundle again, or export it again",
        ) from None
    if not isinstance(manifest, dict):
        raise BundleRefused(f"{path} cannot be read", found=type(manifest).__name__, expected="a JSON object")
    _check_schema(manifest, folder)
    if (HASH in manifest or manifest["schema"] >= SEALED) and manifest.get(HASH) != digest:
        raise BundleRefused(
            f"{path} is not what was written",
            found=f"{HASH} {manifest.get(HASH)!r}"[:200],
            expected=f"{digest}, the hash of all its other values",
            because="the copy is damaged, or a value was edited by hand",
            attempt="copy the bundle again, or export it again",
        )
    graphs = manifest.get("graphs")
    _check_keys(path, manifest, REQUIRED | (GRAPH_KEYS if graphs is None else {}))
    if graphs is not None:
        _check_keys(path, manifest, {"graphs": dict})
        if not graphs:
            raise BundleRefused(f"{path} lacks what the runtime needs", found="graphs: none", expected="one or more")
        for name, graph in graphs.items():
            _check_keys(path, {name: graph}, {name: dict})
            _check_keys(path, graph, {"file": str, **GRAPH_KEYS})
    check_contents(folder, manifest)
    return manifest


def _check_keys(path: Path, fields: Mapping[str, Any], needed: Mapping[str, type | tuple[type, ...]]) -> None:
    for key, kind in needed.items():
        if not isinstance(fields.get(key), kind):
            found = "nothing" if key not in fields else type(fields[key]).__name__
            raise BundleRefused(f"{path} lacks what the runtime needs", found=f"{key}: {found}", expected=f"{kind}")


def _check_schema(manifest: Mapping[str, Any], folder: Path) -> None:
    schema = manifest.get("schema")
    if type(schema) is not int or schema < 1:
        raise BundleRefused(f"{folder} is not a bundle", found=f"schema {schema!r}", expected=f"schema {SCHEMA}")
    if schema > SCHEMA:
        raise BundleRefused(
            f"{folder} was written by a newer Edgesmith",
            found=f"schema {schema}, written by edgesmith {manifest.get('edgesmith', 'of unknown version')}",
            expected=f"schema {SCHEMA} or older",
            because="a newer schema may mean things that this version would silently leave out",
            attempt="pip install --upgrade edgesmith",
        )


def sealed_text(manifest: Mapping[str, Any]) -> str:
    """The whole manifest as it is written, with its hash."""
    return to_text(sealed(plain(manifest)))


def to_text(manifest: Mapping[str, Any]) -> str:
    """Values as JSON that every parser reads: numpy values become numbers, NaN and infinity become words."""
    return json.dumps(plain(manifest), indent=1, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """Nested mappings and sequences of anything printable -> plain JSON values."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy arrays and scalars
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, str):  # a file name that is no UTF-8 has half characters in it, which no other parser reads
        return value if value.isascii() else value.encode(errors="replace").decode()
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise TypeError(f"{type(value).__name__} has no place in a manifest")
