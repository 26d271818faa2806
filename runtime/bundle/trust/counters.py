"""The newest bundle of each name and key that this account has taken, so that an older one, signed as rightly, is not taken again.

``counters.json`` lies beside the secret of this account. It is never lowered; whoever deletes it starts anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import BundleRefused, UserMistake
from ...ground.files import replacing
from ...ground.regular import read_regular
from ...ground.scratch import alone, sweep
from .seal import read_json
from .signature import MOST_COUNTER, Signature

FORMAT = 1
MOST_BYTES = 16 * 1024 * 1024


def counters_path() -> Path:
    """$XDG_CONFIG_HOME/edgesmith/counters.json, or that in ~/.config."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "edgesmith" / "counters.json"


def take(signature: Signature, allow_older: bool = False) -> None:
    """Remember the counter of a signature that holds.

    Raises:
        BundleRefused: a newer one of this name and key was taken before, unless ``allow_older``.
        UserMistake: the file of the counters cannot be read or written, so nobody knows.
    """
    row = f"{signature.key.hex()} {signature.name}"
    with _kept() as path:
        highest = _read(path)
        known = highest.get(row, -1)
        if signature.counter < known and not allow_older:
            raise BundleRefused(
                f"{signature.name} is older than one that was taken here",
                found=f"counter {signature.counter}",
                expected=f"{known} or more",
                because="an old bundle has the faults that a newer one was made for",
                attempt="get the newer one, or --allow-older (load(..., allow_older=True)) if you mean to go back",
            )
        if signature.counter > known:
            content = {"counters": FORMAT, "highest": {**highest, row: signature.counter}}
            with replacing(path, mode=0o600, to_disk=True) as file:
                file.write((json.dumps(content, indent=1) + "\n").encode())


@contextmanager
def _kept() -> Iterator[Path]:
    try:
        path = counters_path()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with alone(path):
            sweep(path.parent)
            yield path
    except (OSError, RuntimeError) as error:  # the second: an account without a home
        raise UserMistake(
            "the counters of signed bundles cannot be kept",
            found=f"{getattr(error, 'strerror', None) or error}",
            because="without them nobody knows whether an older bundle is played again",
            attempt="make the folder of $XDG_CONFIG_HOME (~/.config) writable for this account",
        ) from None


def _read(path: Path) -> dict[str, int]:
    try:
        values = read_json(read_regular(path, MOST_BYTES).decode())
        highest = values["highest"] if values["counters"] == FORMAT else None
        if not isinstance(highest, dict) or not all(
            type(one) is int and 0 <= one <= MOST_COUNTER for one in highest.values()
        ):
            raise ValueError("other values than names and counters")
        return highest
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserMistake(
            f"{path} is damaged",
            found=str(error)[:200],
            because="without it nobody knows whether an older bundle is played again",
            attempt="delete it, if you accept the bundles at hand as the newest",
        ) from None
