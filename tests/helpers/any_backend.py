"""A session on every backend that runs here; where one does not, its refusal must be what it should be."""

from __future__ import annotations

from typing import Any

import pytest
from floor import workstation

from edgesmith.runtime.backends import MODULES
from edgesmith.runtime.backends.load import load
from edgesmith.runtime.errors import BackendUnavailable
from edgesmith.runtime.session.session import Session

BACKENDS = [pytest.param(name, marks=workstation if name == "openvino" else ()) for name in sorted(MODULES)]


def open_or_skip(bundle: Any, name: str, **options: Any) -> Session:
    """A session, or a skip with the reason once the refusal itself is what it must be."""
    try:
        return load(bundle, backend=name, **options)
    except BackendUnavailable as refusal:
        assert refusal.exit_code == 2 and refusal.found and refusal.attempt, (
            "a refusal says what is missing and what to do"
        )
        assert len(str(refusal).splitlines()) < 8
        assert name.startswith("tensorrt"), f"{name} must run here: {refusal}"
        pytest.skip(f"{name}: {refusal.found}")
