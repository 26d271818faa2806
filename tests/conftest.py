"""What all tests share: statistics and engines are cached in a folder of the run, never in the account's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder: Path = tmp_path_factory.mktemp("cache")
    os.environ["EDGESMITH_CACHE"] = str(folder)
