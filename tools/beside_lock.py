"""Runs pytest in an environment that the lock did not make, and says which versions differ when something breaks.

    python tools/beside_lock.py requirements.lock -q -m "not slow"

The words after the lock are pytest's, and so is the exit status. `make test-latest` calls it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path

PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)


def locked(text: str) -> dict[str, set[str]]:
    """{package: its versions}; more than one where Pythons or systems differ."""
    found: dict[str, set[str]] = {}
    for name, version in PIN.findall(text):
        found.setdefault(_plain(name), set()).add(version)
    return found


def differing(lock: Mapping[str, set[str]], here: Mapping[str, str]) -> list[str]:
    """One line a package whose version is none of the lock's, or that the lock does not name."""
    return [
        f"{name:24} {version:16} lock: {' or '.join(sorted(lock[name])) if name in lock else 'none'}"
        for name, version in sorted(here.items())
        if version not in lock.get(name, ())
    ]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main(lock: str, *options: str) -> int:
    here = {_plain(found.metadata["Name"]): found.version for found in distributions()}
    for ours in ("edgesmith", "pip"):
        here.pop(ours, None)
    lines = differing(locked(Path(lock).read_text(encoding="utf-8")), here)
    status = subprocess.run([sys.executable, "-m", "pytest", *options], check=False).returncode
    print(f"\n{'passed' if status == 0 else 'broken, see the summary above,'} with", end=" ")
    print(
        "\n  ".join([f"{len(lines)} versions that differ from {lock}:", *lines]) if lines else f"the versions of {lock}"
    )
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
