"""What a task reads of a bundle; tasks stand below bundles, so they see this much of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol


class Described(Protocol):
    """What a task reads of a bundle (runtime/bundle/bundle.py)."""

    @property
    def path(self) -> Path: ...
    @property
    def manifest(self) -> dict[str, Any]: ...
    @property
    def name(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def labels(self) -> list[str]: ...
    @property
    def contract(self) -> Any: ...
    @property
    def outputs(self) -> tuple[Any, ...]: ...
