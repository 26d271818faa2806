"""rewritten graph -> what the target loads."""

from __future__ import annotations

from .rtx import build_rtx, build_rtx_engine

__all__ = ["build_rtx", "build_rtx_engine"]
