"""Is a bundle as it was written (seal.py), and who wrote it (signature.py, keyring.py, counters.py)?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ...errors import UserMistake

if TYPE_CHECKING:
    from ..bundle import Bundle


def check_older(allow_older: bool, keyring: object) -> None:
    """UserMistake for the one word without the other."""
    if allow_older and keyring is None:
        raise UserMistake(
            "older than what? Only a keyring asks for the age of a bundle",
            found="--allow-older (allow_older=True) alone",
            expected="--keyring beside it",
        )


def check_signed(bundle: Bundle, keyring: str | os.PathLike[str] | None, allow_older: bool = False) -> None:
    """Nothing where no keyring is given; else raises as ``believe.believe``, whose library is imported for those who ask."""
    if keyring is not None:
        from .believe import believe

        believe(bundle, keyring, allow_older)
