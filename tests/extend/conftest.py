"""What an extension adds is gone after its test: other tests of the process count what is there."""

from __future__ import annotations

import pytest

from edgesmith.exporter.patterns.order import PATTERNS
from edgesmith.models.registry import FAMILIES, MODELS


@pytest.fixture
def own_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    for table in (MODELS, FAMILIES, PATTERNS):
        monkeypatch.setattr(table, "_things", dict(table._things))
