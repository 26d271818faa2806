"""How long each kernel took on this device, as the builder measured it: kept, so that the next build need not measure it again.

One file a library, version and device. It is data and no program, but what reads it is C++ that trusts it: so it carries the seal
of this account (engine_seal.py), and a file that is damaged or from elsewhere is as good as none.

    LIBRARY-DIGEST.timing:  "EDGT" | seal, 32 bytes | the library's own bytes
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from contextlib import suppress
from pathlib import Path

from ...ground.files import replacing
from ...ground.scratch import sweep
from ..engine_seal import PROOF_BYTES, NoSecret, proof, secret
from ..user_cache import user_cache
from .cuda import Device

MAGIC = b"EDGT"
FOLDER = "timing"
MOST_BYTES = 256 << 20  # a few MB are usual
log = logging.getLogger("edgesmith")


def timing_file(library: str, version: str, device: Device) -> Path | None:
    """Where the timings of this library and version on this device are; None for an account without a home."""
    facts = [library, version, device.arch, device.multiprocessors, device.memory_bytes, device.driver, device.runtime]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]
    with suppress(RuntimeError):
        return user_cache() / FOLDER / f"{library}-{digest}.timing"
    return None


def load_timings(path: Path | None) -> bytes:
    """What the builder left there; empty where there is nothing to be believed."""
    if path is None:
        return b""
    with suppress(OSError, NoSecret):
        if path.is_symlink() or path.stat().st_size > MOST_BYTES:
            return b""
        content = path.read_bytes()
        seal, data = content[len(MAGIC) : len(MAGIC) + PROOF_BYTES], content[len(MAGIC) + PROOF_BYTES :]
        if content[: len(MAGIC)] == MAGIC and hmac.compare_digest(proof(_facts(path, data), secret()), seal):
            return data
        log.warning("%s is damaged or of another account: kernels are measured again", path)
    return b""


def save_timings(path: Path | None, data: bytes) -> None:
    """Keep them, or not where that cannot be: a build without is right too, and slower."""
    if path is None or not data or len(data) > MOST_BYTES - len(MAGIC) - PROOF_BYTES:
        return
    with suppress(OSError, NoSecret):
        sealed = MAGIC + proof(_facts(path, data), secret()) + data
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        with replacing(path, mode=0o600, to_disk=True) as file:
            file.write(sealed)


def _facts(path: Path, data: bytes) -> bytes:
    """The name is sealed too: a file of another version, renamed, is none of this one."""
    return b"timing cache " + path.name.encode() + b" " + hashlib.sha256(data).hexdigest().encode()
