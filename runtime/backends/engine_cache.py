"""Engines that were built on this device: found again by a key, trusted only with this machine's seal.

An engine is a program. One that was built here is sealed with a secret of this account, so that a bundle from elsewhere
cannot smuggle in its own. The key covers all that makes an engine right: graph, library, driver, chip, shapes.

    "EDGE" | length of the header, 4 bytes | header, JSON: key, sha256 of the engine | seal, 32 bytes | engine
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
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
from .cuda import Device
from .user_cache import user_cache

MAGIC = b"EDGE"
FORMAT = 1
SEAL_BYTES = 32


def engine_key(bundle: Bundle, library: str, version: str, device: Device, graph: GraphSpec | None = None) -> str:
    """Hex key of the engine that a graph of this bundle (its first) has on this device with this library."""
    own = graph or bundle.main
    chip = {name: value for name, value in asdict(device).items() if name != "free_bytes"}
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
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def load_engine(bundle: Bundle, key: str) -> bytes | None:
    """The cached engine for the key, or None; a file that is damaged or not sealed here is as good as none."""
    for folder in folders(bundle):
        path = folder / f"{DEVICE_ENGINE}{key[:24]}.engine"
        with suppress(OSError, ValueError, KeyError):
            if not path.is_symlink() and (engine := unseal(path.read_bytes(), key, secret())) is not None:
                return engine
    return None


def save_engine(bundle: Bundle, key: str, engine: bytes) -> Path | None:
    """Keep an engine in the bundle's ``engines/``, or in the user's cache where the bundle is read-only; None if neither."""
    for folder in folders(bundle):
        try:
            sealed = seal(engine, key, secret())
            folder.mkdir(parents=True, exist_ok=True)
            sweep(folder)
            path = folder / f"{DEVICE_ENGINE}{key[:24]}.engine"
            with replacing(path, mode=0o600, to_disk=True) as file:  # half of one still begins with DEVICE_ENGINE
                file.write(sealed)
            return path
        except OSError:
            continue
    return None


def seal(engine: bytes, key: str, with_secret: bytes) -> bytes:
    """The content of an engine file."""
    header = json.dumps({"key": key, "sha256": hashlib.sha256(engine).hexdigest()}).encode()
    proof = hmac.digest(with_secret, header, "sha256")
    return MAGIC + len(header).to_bytes(4, "little") + header + proof + engine


def unseal(content: bytes, key: str, with_secret: bytes) -> bytes | None:
    """The engine, if it is for this key, whole, and sealed with this secret; None otherwise."""
    end = 8 + int.from_bytes(content[4:8], "little")
    header, proof, engine = content[8:end], content[end : end + SEAL_BYTES], content[end + SEAL_BYTES :]
    if content[:4] != MAGIC or not hmac.compare_digest(hmac.digest(with_secret, header, "sha256"), proof):
        return None
    facts: Mapping[str, Any] = json.loads(header)
    return engine if facts["key"] == key and facts["sha256"] == hashlib.sha256(engine).hexdigest() else None


def folders(bundle: Bundle) -> tuple[Path, Path]:
    """Where engines are kept: in the bundle, or in the cache of the user."""
    return bundle.path / ENGINES, user_cache() / ENGINES


def secret() -> bytes:
    """32 bytes that only this account can read, made on first use."""
    path = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "edgesmith" / "engine.seal"
    with suppress(FileNotFoundError):
        return path.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileExistsError):  # another process was faster: then its secret counts
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(SEAL_BYTES))
    return path.read_bytes()


def _board() -> str:
    """The board of a Jetson; modules with the same GPU name differ."""
    with suppress(OSError):
        return Path("/proc/device-tree/model").read_text(errors="replace").strip("\0\n ")
    return ""
