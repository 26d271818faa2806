"""OpenVINO by our one import of it, or a skip: ``pytest.importorskip`` would import it with its telemetry."""

from __future__ import annotations

from typing import Any

import pytest

from edgesmith.runtime.backends.openvino_library import openvino
from edgesmith.runtime.errors import BackendUnavailable


def openvino_or_skip() -> Any:
    """The module."""
    try:
        return openvino()
    except BackendUnavailable as absent:
        pytest.skip(f"openvino: {absent.found}")
