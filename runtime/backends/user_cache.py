"""The folder of this account where things are kept that can be made again: engines, statistics of calibration."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """$EDGESMITH_CACHE, else ``edgesmith`` in $XDG_CACHE_HOME or ~/.cache; RuntimeError for an account without a home."""
    if own := os.environ.get("EDGESMITH_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgesmith"
