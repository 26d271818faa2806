"""Is a bundle what it says it is? Names, links, sizes, hashes, and where the graph points to.

A bundle is data that may come from anywhere. Nothing in it may make the runtime read a file outside its folder, and
nothing is loaded whose bytes are not those that were written.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import BundleRefused
from ..ground.regular import is_clutter
from ..ground.scratch import PART
from .manifest import MANIFEST
from .onnx_scan import NotOnnx, scan

SIGNATURE = "signature.json"  # who made it (trust/signature.py): over the manifest, so not in it
SIGNING = re.compile(r"\.signature\.[a-z0-9_]{8}" + re.escape(PART))  # one on its way, or of a process that was killed
GRAPH, MAIN = "model.onnx", "main"  # file and name of the one graph of most bundles
ENGINES = "engines"
_told: set[str] = set()  # bundles of whose clutter this process has told
DEVICE_ENGINE = "device-"  # engines built here are named so; they carry their own seal (engine_cache.py)


def check_name(name: object) -> str:
    """A relative path with forward slashes that stays inside the folder; BundleRefused otherwise."""
    text = str(name)
    parts = text.split("/")
    wrong = not isinstance(name, str) or any(part in ("", ".", "..") for part in parts)
    if (
        wrong
        or "\\" in text
        or ":" in text
        or text in (MANIFEST, SIGNATURE)
        or not text.isprintable()
        or len(text) > 255
    ):
        raise BundleRefused(
            "the bundle names a file that may lie outside of it",
            found=repr(name)[:200],
            expected="a plain relative path, such as engines/sm89.engine",
            because="a bundle may only read its own files",
        )
    return text


def check_folder(folder: Path, manifest: Mapping[str, Any], hashes: bool = True) -> None:
    """Every listed file is there, regular, whole and the same as when written; nothing else is; the graph stays inside."""
    listed = manifest["files"]
    present = set(walk(folder))
    for name, record in listed.items():
        check_name(name)
        if name not in present:
            raise BundleRefused(
                f"{folder} is not complete",
                found=f"no file {name}",
                because="the manifest lists it",
                attempt="copy the bundle again, with all its files",
            )
        _check_file(folder, name, record, hashes)
    others = sorted(name for name in present - set(listed) - {MANIFEST} if not is_beside(name))
    extra = [name for name in others if not is_clutter(name)]
    if len(extra) < len(others):
        _tell(folder, [name for name in others if is_clutter(name)])
    if extra:
        raise BundleRefused(
            f"{folder} holds files that are not part of the bundle",
            found=", ".join(extra[:5]) + (f" and {len(extra) - 5} more" if len(extra) > 5 else ""),
            because="only files with a hash in the manifest are trusted",
            attempt="move them elsewhere",
        )
    for row in graph_rows(manifest).values():
        if check_name(row["file"]) not in listed:
            found = f"no {row['file']} in the manifest"
            raise BundleRefused(f"{folder} is not complete", found=found, expected="the graph")
        check_graph(folder, row["file"], set(listed))


def _tell(folder: Path, clutter: list[str]) -> None:
    """Once a bundle and process: what is in it and not of it, and is passed over."""
    place = os.path.realpath(folder)
    if place not in _told:
        _told.add(place)
        more = f" and {len(clutter) - 5} more" if len(clutter) > 5 else ""
        import logging  # here: it takes long to import, and few bundles have something to tell

        told = ", ".join(map(repr, clutter[:5])) + more
        logging.getLogger("edgesmith").warning("%s: %s left by a file manager, passed over", folder, told)


def graph_rows(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """{name: {"file", "inputs", "outputs", "engines"}}; a manifest that names no graphs has one."""
    return manifest.get("graphs") or {MAIN: {**manifest, "file": GRAPH}}


def is_beside(name: str) -> bool:
    """Whether a path may lie in a bundle without a hash in its manifest: it vouches for itself."""
    return name == SIGNATURE or SIGNING.fullmatch(name) is not None or is_device_engine(name)


def is_whole_beside(name: str) -> bool:
    """The same, and not a file on its way to its name."""
    return is_beside(name) and not name.endswith(PART)


def is_device_engine(name: str) -> bool:
    """Whether a path is an engine that the runtime built on this device, and so is not in the manifest."""
    head, _, tail = name.partition("/")
    return head == ENGINES and tail.startswith(DEVICE_ENGINE) and "/" not in tail


def walk(folder: Path) -> Iterator[str]:
    """Relative names of all files below; BundleRefused at anything that is neither a file nor a folder."""
    for base, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(base) / name
            relative = path.relative_to(folder).as_posix()
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                yield relative
            elif not stat.S_ISDIR(mode):
                raise BundleRefused(
                    f"{folder} holds something that is no plain file",
                    found=f"{relative} is a {'link' if stat.S_ISLNK(mode) else 'special file'}",
                    because="a link can lead out of the bundle",
                    attempt="replace it by the file itself",
                )


def _check_file(folder: Path, name: str, record: Any, hashes: bool) -> None:
    size = (folder / name).stat().st_size
    if (
        not isinstance(record, Mapping)
        or not isinstance(record.get("sha256"), str)
        or type(record.get("bytes")) is not int
    ):
        raise BundleRefused(f"the manifest of {folder} is damaged", found=f"{name}: {record!r}"[:200])
    if size != record["bytes"]:
        found, expected = f"{name} has {size:,} bytes", f"{record['bytes']:,} bytes"
    elif hashes and (digest := sha256(folder / name)) != record["sha256"]:
        found, expected = f"{name} has sha256 {digest}", record["sha256"]
    else:
        return
    raise BundleRefused(
        f"{folder} is damaged",
        found=found,
        expected=expected,
        because="the file is not the one that was written and verified",
        attempt="copy the bundle again, or export it again",
    )


def check_graph(folder: Path, file: str, listed: set[str]) -> None:
    """A graph is whole, and all its external data are files of this bundle, within their size."""
    try:
        outside = scan(folder / file)
    except NotOnnx as error:
        raise BundleRefused(f"{folder}/{file} is no whole ONNX model", found=str(error)) from None
    for data in outside:
        check_name(data.location)
        if data.location not in listed:
            raise BundleRefused(
                f"{folder}/{file} keeps weights outside of the bundle",
                found=f"external data {data.location!r}",
                expected="a file that the manifest lists",
            )
        size = (folder / data.location).stat().st_size
        end = size if data.length is None else data.offset + data.length
        if not 0 <= data.offset <= end <= size:
            found = f"bytes {data.offset:,} to {end:,} of {data.location}, which has {size:,}"
            raise BundleRefused(f"{folder}/{file} reads past the end of its weights", found=found)


def sha256(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
