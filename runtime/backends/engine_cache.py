"""Engines that were built on this device: found again by a key, trusted only with this machine's seal.

An engine is a program. One that was built here is sealed with a secret of this account (engine_seal.py), so that a bundle
from elsewhere cannot smuggle in its own. The key covers all that makes an engine right: graph, library, driver, chip, shapes.
A new engine takes the place of the one before: that of the same graph, for the same chip and library.

    device-SLOT-KEY.engine:  "EDGE" | length of the header, 4 bytes | header, JSON | seal, 32 bytes | engine
    header:                  key, sha256 of the engine, path of the bundle, how long it took to build
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..bundle.bundle import Bundle
from ..bundle.graphs import GraphSpec
from ..bundle.vet import DEVICE_ENGINE, ENGINES, graph_rows
from ..ground.files import replacing
from ..ground.scratch import sweep
from .engine_seal import PROOF_BYTES, NoSecret, proof, secret
from .gpu.cuda import Device
from .user_cache import user_cache

MAGIC = b"EDGE"
FORMAT = 2
MOST_HEADER_BYTES = 10_000
BEFORE = re.compile(re.escape(DEVICE_ENGINE) + r"[0-9a-f]{24}\.(engine|.*part|partial)")  # of format 1: no key finds it
log = logging.getLogger("edgesmith")


def engine_key(
    bundle: Bundle,
    library: str,
    version: str,
    device: Device,
    graph: GraphSpec | None = None,
    dla_core: int | None = None,
) -> str:
    """SLOT-KEY of the engine that a graph of this bundle (its first) has on this device with this library.

    SLOT stays the same when the library, the driver or the graph is replaced by a newer one.
    """
    own = graph or bundle.main
    chip = {name: value for name, value in asdict(device).items() if name not in ("free_bytes", "integrated")}
    content = {
        name: record["sha256"] for name, record in bundle.manifest["files"].items() if not name.endswith(".html")
    }
    facts = [
        FORMAT,
        library,
        version,
        chip,
        graph_rows(bundle.manifest)[own.name]["inputs"],
        bundle.precision,
        content,
        _board(),
    ]
    if len(bundle.graphs) > 1:
        facts.append(own.name)
    if dla_core is not None:
        facts.append(f"DLA {dla_core}")
    place = [bundle.name, own.name, library, device.arch, device.multiprocessors, device.memory_bytes, _board()]
    if dla_core is not None:
        place.append(f"DLA {dla_core}")
    return f"{_digest(place)[:12]}-{_digest(facts)}"


def _digest(facts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def load_engine(bundle: Bundle, key: str) -> bytes | None:
    """The cached engine for the key, or None; a file that is damaged or not sealed here is as good as none.

    What killed processes left where engines are kept is removed.
    """
    try:
        with_secret = secret()
    except NoSecret as refused:
        log.warning("engines built here before are not believed: %s", refused)
        return None
    for folder in folders(bundle):
        path = folder / _name(key)
        sweep(folder)
        with suppress(OSError, ValueError, KeyError, TypeError):
            if not path.is_symlink() and (engine := unseal(path.read_bytes(), key, with_secret)) is not None:
                return engine
    return None


def save_engine(bundle: Bundle, key: str, engine: bytes, build_seconds: float = 0.0) -> Path | None:
    """Keep an engine in the bundle's ``engines/``, or in the user's cache where the bundle is read-only; None if neither.

    The one that it replaces is removed.
    """
    try:
        sealed = seal(engine, key, secret(), bundle.path, build_seconds)
    except NoSecret as refused:
        log.warning("%s", refused)
        return None
    for folder in folders(bundle):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / _name(key)
            with replacing(path, mode=0o600, to_disk=True) as file:  # half of one still begins with DEVICE_ENGINE
                file.write(sealed)
            _prune(folder, path, bundle.path)
            return path
        except OSError:
            continue
    return None


def drop_engine(bundle: Bundle, key: str) -> None:
    """Remove the engine of this key wherever it is kept; none is no mistake."""
    for folder in folders(bundle):
        with suppress(OSError):
            (folder / _name(key)).unlink()


def seal(engine: bytes, key: str, with_secret: bytes, bundle: Path, build_seconds: float = 0.0) -> bytes:
    """The content of an engine file."""
    facts: dict[str, Any] = {
        "key": key,
        "sha256": hashlib.sha256(engine).hexdigest(),
        "bundle": os.path.abspath(bundle),
    }
    if build_seconds:
        facts["build_seconds"] = round(build_seconds, 1)
    header = json.dumps(facts).encode()
    return MAGIC + len(header).to_bytes(4, "little") + header + proof(header, with_secret) + engine


def unseal(content: bytes, key: str, with_secret: bytes) -> bytes | None:
    """The engine, if it is for this key, whole, and sealed with this secret; None otherwise."""
    end = 8 + int.from_bytes(content[4:8], "little")
    header, given, engine = content[8:end], content[end : end + PROOF_BYTES], content[end + PROOF_BYTES :]
    if content[:4] != MAGIC or not hmac.compare_digest(proof(header, with_secret), given):
        return None
    facts: Mapping[str, Any] = json.loads(header)
    return engine if facts["key"] == key and facts["sha256"] == hashlib.sha256(engine).hexdigest() else None


def last_build_s(bundle: Bundle, key: str) -> float | None:
    """How long the engine took to build in whose place this one comes; None where nobody knows."""
    slot = _name(key).rsplit("-", 1)[0] + "-"
    for folder in folders(bundle):
        with suppress(OSError):
            for path in folder.iterdir():
                took_s = _header(path).get("build_seconds") if path.name.startswith(slot) else None
                if isinstance(took_s, float) and 0 < took_s < 1e6:
                    return took_s
    return None


def builder_place(key: str) -> Path | None:
    """What stands for the engine of this key while one process builds it; None for an account without a home."""
    with suppress(RuntimeError):
        return user_cache() / ENGINES / f"building-{key.split('-')[0]}"
    return None


def folders(bundle: Bundle) -> list[Path]:
    """Where engines are kept: in the bundle, or in the cache of the user."""
    found = [bundle.path / ENGINES]
    with suppress(RuntimeError):  # an account without a home
        found.append(user_cache() / ENGINES)
    return found


def _name(key: str) -> str:
    slot, digest = key.split("-")
    return f"{DEVICE_ENGINE}{slot}-{digest[:24]}.engine"


def _prune(folder: Path, kept: Path, bundle: Path) -> None:
    """Remove the engines in whose place ``kept`` is.

    In the user's cache there may be those of another bundle of the same name: they go when that bundle is not there any more.
    """
    slot = kept.name.rsplit("-", 1)[0]
    for path in folder.iterdir():
        if path == kept or not (path.name.startswith(slot + "-") or BEFORE.fullmatch(path.name)):
            continue
        own = _built_for(path)
        if folder.parent == bundle or own is None or own == bundle or not own.exists():
            with suppress(OSError):
                path.unlink()


def _built_for(path: Path) -> Path | None:
    """The bundle of an engine file, None where it does not say."""
    with suppress(KeyError, TypeError):
        return Path(_header(path)["bundle"])
    return None


def _header(path: Path) -> dict[str, Any]:
    """What an engine file says of itself, not checked; empty where it says nothing."""
    with suppress(OSError, ValueError), path.open("rb") as file:
        size = int.from_bytes(file.read(8)[4:], "little")
        if isinstance(found := json.loads(file.read(min(size, MOST_HEADER_BYTES))), dict):
            return found
    return {}


def _board() -> str:
    """The board of a Jetson; modules with the same GPU name differ."""
    with suppress(OSError):
        return Path("/proc/device-tree/model").read_text(errors="replace").strip("\0\n ")
    return ""
