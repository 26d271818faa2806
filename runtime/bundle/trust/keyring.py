"""Keys of Ed25519, as OpenSSL writes them (PEM), and the folder of those that a device believes.

The arithmetic is that of the package ``cryptography``, which the extra ``sign`` brings.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UserMistake
from ...ground.files import replacing
from ...ground.regular import read_regular
from ...ground.scratch import sweep

PUBLIC = ".pub"
MOST_BYTES = 64 * 1024  # of a file with a key
MOST_KEYS = 1_000
MAKE = "edgesmith sign --new-key KEY, or openssl genpkey -algorithm ed25519 -out KEY"


@dataclass(frozen=True)
class Key:
    """A public key and the name of its file."""

    name: str
    raw: bytes  # 32 bytes

    def made(self, signature: bytes, text: bytes) -> bool:
        """Whether its owner signed the text."""
        ed25519, invalid = _ed25519(), _exceptions().InvalidSignature
        try:
            ed25519.Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, text)
        except invalid:
            return False
        return True


@dataclass(frozen=True)
class Signer:
    """A private key; ``key`` is the public half, 32 bytes."""

    key: bytes
    sign: Callable[[bytes], bytes]


def read_keyring(path: str | os.PathLike[str]) -> dict[bytes, Key]:
    """A folder of NAME.pub, or one such file -> the keys by their 32 bytes.

    Raises:
        UserMistake: it is not there, holds no key or one that is none of Ed25519, or ``cryptography`` is missing.
    """
    place = Path(path)
    try:
        files = sorted(one for one in place.iterdir() if one.suffix == PUBLIC) if place.is_dir() else [place]
        if not files or len(files) > MOST_KEYS:
            raise UserMistake(
                f"{place} is no keyring",
                found=f"{len(files)} files named *{PUBLIC}",
                expected=f"one or more public keys, at most {MOST_KEYS:,}",
                attempt="openssl pkey -in KEY -pubout -out NAME.pub",
            )
        found = [_public(one) for one in files]
    except OSError as error:
        raise UserMistake(f"the keyring {place} cannot be read", found=error.strerror or str(error)) from None
    return {key.raw: key for key in found}


def read_signer(path: str | os.PathLike[str]) -> Signer:
    """A private key without a password -> what signs with it; UserMistake where the file is none."""
    ed25519, place = _ed25519(), Path(path)
    serialization, unsupported = _serialization(), _exceptions().UnsupportedAlgorithm
    try:
        key = serialization.load_pem_private_key(read_regular(place, MOST_BYTES), password=None)
    except OSError as error:
        raise UserMistake(f"the key {place} cannot be read", found=error.strerror or str(error), attempt=MAKE) from None
    except TypeError:
        raise UserMistake(
            f"the key {place} has a password",
            because="the command asks for none, so that it can run where nobody sits",
            attempt="openssl pkey -in KEY -out PLAIN_KEY, kept where only you can read it",
        ) from None
    except (ValueError, unsupported) as error:
        found = str(error)[:200]
        raise UserMistake(f"{place} holds no private key", found=found, expected="PEM", attempt=MAKE) from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise UserMistake(f"{place} is no key of Ed25519", found=type(key).__name__, attempt=MAKE)
    return Signer(_raw(key.public_key()), key.sign)


def new_key(path: str | os.PathLike[str]) -> Path:
    """Write a private key, which only this account can read, and its public half beside it; the path of the latter.

    Raises:
        UserMistake: one of the two is there already, or cannot be written.
    """
    ed25519, serialization, place = _ed25519(), _serialization(), Path(path)
    public = place.with_suffix(PUBLIC)
    sweep(place.absolute().parent)
    for one in (place, public):
        if os.path.lexists(one):
            raise UserMistake(
                f"{one} is there already",
                because="a key that is lost cannot be had again",
                attempt="another name"
                if os.path.lexists(public)
                else f"another name, or its public half alone: openssl pkey -in {place} -pubout -out {public}",
            )
    key = ed25519.Ed25519PrivateKey.generate()
    pem, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        for one, content, mode in (
            (place, private, 0o600), (public, key.public_key().public_bytes(pem, form), 0o644),
        ):  # fmt: skip
            with replacing(one, mode=mode, to_disk=True) as file:
                file.write(content)
    except OSError as error:
        with suppress(OSError):
            place.unlink()
        raise UserMistake(f"cannot write the key {place}", found=error.strerror or str(error)) from None
    return public


def _public(path: Path) -> Key:
    key, found = None, ""
    try:
        key = _serialization().load_pem_public_key(read_regular(path, MOST_BYTES))
        found = type(key).__name__
    except (ValueError, _exceptions().UnsupportedAlgorithm) as error:
        found = str(error)[:200]
    if not isinstance(key, _ed25519().Ed25519PublicKey):
        raise UserMistake(
            f"{path} is no public key of Ed25519",
            found=found,
            expected="PEM, as openssl pkey -pubout writes it",
            attempt="take it out of the keyring, or write it anew",
        )
    return Key(path.stem, _raw(key))


def _raw(public: Any) -> bytes:
    serialization = _serialization()
    return bytes(public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw))


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise UserMistake(
            "signatures need the package cryptography", found=str(error), attempt="pip install 'edgesmith[sign]'"
        ) from None
    return ed25519


def _serialization() -> Any:
    _ed25519()
    from cryptography.hazmat.primitives import serialization

    return serialization


def _exceptions() -> Any:
    _ed25519()
    from cryptography import exceptions

    return exceptions
