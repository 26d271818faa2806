"""Where the runtime's tests run: beside the exporter, or on the floors of a device (make test-floor), which have no torch."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

ON_THE_FLOOR = find_spec("torch") is None
workstation = pytest.mark.skipif(
    ON_THE_FLOOR, reason="needs the exporter or OpenVINO, which this environment is without"
)
