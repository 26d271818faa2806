"""What x86 made of the same pictures and bundles (tests/helpers/arm_cases.py), and why it cannot be compared elsewhere."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FOLDER = os.environ.get("EDGESMITH_X86")


@pytest.fixture(scope="session")
def x86() -> Path:
    """The folder that x86 wrote, by the same versions of the libraries."""
    import arm_cases

    if FOLDER is None:
        pytest.skip("compares Arm with x86, and make test-arm writes what x86 makes")
    made = json.loads(Path(FOLDER, "made.json").read_text(encoding="utf-8"))
    assert made["machine"] == "x86_64" and arm_cases.made_by() == {**made, "machine": "aarch64"}
    return Path(FOLDER)


@pytest.fixture(scope="session")
def read_there(x86: Path) -> dict[str, np.ndarray]:
    return dict(np.load(x86 / "read.npz"))


@pytest.fixture(scope="session")
def ready_there(x86: Path) -> dict[str, np.ndarray]:
    return dict(np.load(x86 / "ready.npz"))


@pytest.fixture(scope="session")
def shown_there(x86: Path) -> dict[str, np.ndarray]:
    return dict(np.load(x86 / "shown.npz"))


@pytest.fixture(scope="session")
def told_there(x86: Path) -> dict[str, Any]:
    return json.loads((x86 / "told.json").read_text(encoding="utf-8"))
