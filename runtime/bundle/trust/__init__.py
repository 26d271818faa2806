"""Is a bundle as it was written (seal.py), and who wrote it (signature.py, keyring.py, counters.py)?"""

from __future__ import annotations

from ...errors import UserMistake


def check_older(allow_older: bool, keyring: object) -> None:
    """UserMistake for the one word without the other."""
    if allow_older and keyring is None:
        raise UserMistake(
            "older than what? Only a keyring asks for the age of a bundle",
            found="--allow-older (allow_older=True) alone",
            expected="--keyring beside it",
        )
