"""A manifest changed by hand and sealed again, so that what is behind the seal can be tested."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgesmith.runtime.bundle.trust.seal import HASH, hash_of


def edit_manifest(bundle: Path, change: Callable[[dict[str, Any]], object] | None = None, **values: Any) -> None:
    """``change`` gets the values to alter in place, ``values`` replace keys; then the hash is made to fit."""
    path = bundle / "manifest.json"
    manifest = {**json.loads(path.read_text()), **values}
    if change is not None:
        change(manifest)
    manifest.pop(HASH, None)
    path.write_text(json.dumps({**manifest, HASH: hash_of(manifest)}))
