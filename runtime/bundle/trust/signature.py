"""Who made a bundle: an Ed25519 signature (RFC 8032) over the hash of its manifest, which vouches for every other file.

    signature.json    {"signature": 1, "name", "counter", "manifest_sha256", "key": 32 bytes in hex, "ed25519": 64 bytes in hex}

It stands beside the manifest and not in it, so a bundle is signed without another being made. ``counter`` rises from one release to
the next: a device takes no bundle of a name that is older than one it has taken (counters.py). The key in the file says which of
the keyring's is meant, and is believed by nobody.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import BundleRefused, UserMistake
from ...ground.files import replacing
from ...ground.regular import read_regular
from ...ground.scratch import sweep
from ..vet import SIGNATURE
from .keyring import Key, Signer
from .seal import HASH, read_json

FORMAT = 1
MOST_BYTES = 64 * 1024
MOST_COUNTER = 2**53 - 1  # what every reader of JSON keeps whole
LEAST_TIME = 1_700_000_000  # seconds since 1970 at which no version of ours could sign yet
HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Signature:
    """What signature.json says; nothing of it is true before ``signed_by``."""

    name: str
    counter: int
    manifest_sha256: str
    key: bytes
    ed25519: bytes

    @property
    def text(self) -> bytes:
        """The bytes that are signed; the first line keeps them apart from all else that a key may sign."""
        lines = ("edgesmith bundle signature 1", json.dumps(self.name), str(self.counter), self.manifest_sha256)
        return "\n".join(lines).encode()


def sign(folder: Path, manifest: Mapping[str, Any], signer: Signer, counter: int | None = None) -> Signature:
    """Write signature.json of a bundle that was opened and checked, in place of one that was there.

    ``counter``: the seconds since 1970 unless it is given, so that what is signed later counts more.

    Raises:
        UserMistake: the counter is none, or the clock stands before our time, the manifest is of a version without a hash, or nothing can be written there.
    """
    if counter is None and (counter := int(time.time())) < LEAST_TIME:
        raise UserMistake(
            "the clock of this machine is wrong, and the counter of a signature is its time",
            found=time.strftime("%Y-%m-%d", time.gmtime(counter)),
            because="devices take no bundle whose counter is lower than one that they have taken",
            attempt="set the clock, or --counter with a number of your own",
        )
    if type(counter) is not int or not 0 <= counter <= MOST_COUNTER:
        raise UserMistake("no counter of a signature", found=repr(counter), expected=f"0 to {MOST_COUNTER:,}")
    if HASH not in manifest:
        raise UserMistake(
            f"{folder} cannot be signed",
            found=f"no {HASH}: it was written by version 0.1.0",
            because="the signature is over the hash of the manifest",
            attempt="export it again",
        )
    plain = Signature(str(manifest["name"]), counter, str(manifest[HASH]), signer.key, b"")
    made = Signature(plain.name, counter, plain.manifest_sha256, signer.key, signer.sign(plain.text))
    values = {
        "signature": FORMAT, "name": made.name, "counter": counter, HASH: made.manifest_sha256,
        "key": made.key.hex(), "ed25519": made.ed25519.hex(),
    }  # fmt: skip
    sweep(folder)
    try:
        with replacing(folder / SIGNATURE, hidden=True, to_disk=True) as file:
            file.write((json.dumps(values, indent=1) + "\n").encode())
    except OSError as error:
        raise UserMistake(f"cannot sign {folder}", found=f"{error.strerror or error}") from None
    return made


def read_signature(folder: Path) -> Signature:
    """signature.json of a bundle, not believed yet; BundleRefused where there is none, or none that can be read."""
    try:
        text = read_regular(folder / SIGNATURE, MOST_BYTES).decode()
    except FileNotFoundError:
        raise BundleRefused(
            f"{folder} is not signed",
            found=f"no {SIGNATURE}",
            expected="a signature of a key in the keyring",
            attempt="edgesmith sign BUNDLE --key KEY, where it was made",
        ) from None
    except (OSError, UserMistake, ValueError) as error:
        raise _unreadable(folder, str(error)) from None
    try:
        values = read_json(text)
    except (ValueError, RecursionError) as error:
        raise _unreadable(folder, f"no JSON: {error}") from None
    if not isinstance(values, dict) or values.get("signature") != FORMAT:
        raise _unreadable(folder, "another format", f"signature {FORMAT}")
    name, counter, digest = values.get("name"), values.get("counter"), values.get(HASH)
    if not isinstance(name, str) or type(counter) is not int or not 0 <= counter <= MOST_COUNTER:
        raise _unreadable(folder, f"name {name!r}, counter {counter!r}"[:200])
    return Signature(
        name, counter, _hex(folder, digest, 32).hex(), _hex(folder, values.get("key"), 32),
        _hex(folder, values.get("ed25519"), 64),
    )  # fmt: skip


def signed_by(folder: Path, manifest: Mapping[str, Any], keys: Mapping[bytes, Key]) -> tuple[Signature, Key]:
    """The signature of an opened bundle and the key of the keyring that made it; BundleRefused where that does not hold."""
    found = read_signature(folder)
    if (found.name, found.manifest_sha256) != (manifest["name"], manifest.get(HASH)):
        raise BundleRefused(
            f"the signature of {folder} is of another bundle",
            found=f"{found.name}, manifest {found.manifest_sha256[:16]}",
            expected=f"{manifest['name']}, manifest {str(manifest.get(HASH))[:16]}",
            because="the bundle was changed or made again since it was signed",
            attempt="edgesmith sign it again, where it was made",
        )
    if found.key not in keys:
        known = ", ".join(sorted(key.name for key in keys.values()))
        raise BundleRefused(
            f"{folder} is signed with a key that is not in the keyring",
            found=f"key {found.key.hex()[:16]}",
            expected=f"one of {known}",
            because="anybody can sign with a key of their own",
            attempt="if you trust its maker, put their public key into the keyring",
        )
    if not keys[found.key].made(found.ed25519, found.text):
        raise BundleRefused(
            f"the signature of {folder} does not hold",
            found=f"a signature that {keys[found.key].name} did not make",
            because="it was changed, or forged",
            attempt="get the bundle again from who made it",
        )
    return found, keys[found.key]


def _hex(folder: Path, value: object, length: int) -> bytes:
    if not isinstance(value, str) or len(value) != 2 * length or not HEX.issuperset(value):
        raise _unreadable(folder, repr(value)[:100], f"{length} bytes as small hexadecimal digits")
    return bytes.fromhex(value)


def _unreadable(folder: str | os.PathLike[str], found: str, expected: str | None = None) -> BundleRefused:
    return BundleRefused(f"{folder}/{SIGNATURE} cannot be read", found=found[:300], expected=expected or "a signature")
