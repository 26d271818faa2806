"""A bundle that was opened and checked -> the key that signed it, where a keyring was given."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from . import counters
from .keyring import Key, read_keyring
from .signature import Signature, signed_by

if TYPE_CHECKING:
    from ..bundle import Bundle


def believe(bundle: Bundle, keyring: str | os.PathLike[str], allow_older: bool = False) -> tuple[Signature, Key]:
    """The signature and its key; the hashes of the bundle have to be checked before (``open_bundle``).

    Raises:
        BundleRefused: it is not signed, not by a key of the keyring, not as it is now, or older than one that was taken here.
        UserMistake: the keyring or the counters cannot be read, or ``cryptography`` is missing.
    """
    signature, key = signed_by(bundle.path, bundle.manifest, read_keyring(keyring))
    counters.take(signature, allow_older)
    return signature, key
