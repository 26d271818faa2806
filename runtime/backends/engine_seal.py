"""Which engines may run here: those that were sealed with the secret of this account.

An engine is a program. A hash in a manifest shows that nobody changed it since, not who made it; so one that travels in a
bundle is held to the same rule as one that was built on this device. Machines that share the file of the secret take each
other's engines.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from ..errors import EdgesmithError
from ..ground.files import replacing
from ..ground.scratch import sweep

SECRET_BYTES = 32
PROOF_BYTES = 32  # of HMAC-SHA256


class NoSecret(EdgesmithError):
    """The secret cannot be had, so no engine can be sealed or believed."""


def proof(text: bytes, with_secret: bytes) -> bytes:
    """32 bytes that only who has the secret can make of this text."""
    if len(with_secret) != SECRET_BYTES:
        raise NoSecret("this is no secret to seal engines with", found=f"{len(with_secret)} bytes", expected="32")
    return hmac.digest(with_secret, text, "sha256")


def seal_of(engine: bytes) -> str:
    """What the manifest says beside an engine that travels in its bundle; "" where this account has no secret."""
    with suppress(NoSecret):
        return proof(_travelling(engine), secret()).hex()
    return ""


def is_sealed(engine: bytes, seal: str) -> bool:
    """Whether this account, or one that shares its secret, built it. NoSecret as ``secret`` says."""
    return hmac.compare_digest(proof(_travelling(engine), secret()).hex().encode(), seal.encode())


def _travelling(engine: bytes) -> bytes:
    return b"engine in a bundle, sha256 " + hashlib.sha256(engine).hexdigest().encode()


def secret() -> bytes:
    """32 bytes that only this account can read, made on first use; NoSecret where the file is another or cannot be."""
    try:
        path = secret_path()
        if not path.exists():
            _make(path)
        elif path.stat().st_nlink > 1:  # who made it was killed before it removed the first name
            sweep(path.parent)
        content = path.read_bytes()
    except (OSError, RuntimeError) as error:  # the second: an account without a home
        raise NoSecret("the secret that seals engines cannot be kept", found=str(error)) from None
    if len(content) != SECRET_BYTES:
        raise NoSecret(
            "the secret that seals engines is damaged",
            found=f"{path} has {len(content)} bytes",
            expected=f"{SECRET_BYTES} bytes",
            because="with a shorter one anybody could seal an engine",
            attempt="delete that file: a new one is made, and engines are built again",
        )
    if not any(content):  # what some file systems leave of a file after a power cut, and everybody knows
        raise NoSecret(
            "the secret that seals engines is damaged",
            found=f"{path} holds nothing but zeros",
            expected=f"{SECRET_BYTES} random bytes",
            attempt="delete that file: a new one is made, and engines are built again",
        )
    return content


def secret_path() -> Path:
    """$XDG_CONFIG_HOME/edgesmith/engine.seal, or that in ~/.config."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "edgesmith" / "engine.seal"


def _make(path: Path) -> None:
    """The secret appears under its name with all its bytes on the disk, and only where there is none yet."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    sweep(path.parent)
    with replacing(
        path, hidden=True, mode=0o600, to_disk=True, only_new=True
    ) as file:  # another process may be faster: its counts
        file.write(secrets.token_bytes(SECRET_BYTES))
