"""Edgesmith: from a PyTorch vision checkpoint to a verified bundle for an edge device.

The story, left to right: checkpoint -> torch model -> exported graph -> rewritten graph -> bundle -> runtime -> report.
Importing this module is free: torch, onnx and the engines are imported by the call that needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .runtime.version import __version__

if TYPE_CHECKING:
    from .runtime.session.session import Session

__all__ = ["__version__", "export", "load"]


def export(model: str, **options: Any) -> Any:
    """Export a model to a verified bundle; the options are those of ``edgesmith export`` (see exporter/pipeline.py)."""
    from .exporter.pipeline import export as run

    return run(model, **options)


def load(bundle: str, backend: str | None = None, threads: int | None = None) -> Session:
    """Open a bundle for inference: ``load("smt.edge")("photo.jpg")`` gives the classes of the picture, best first."""
    from .runtime.backends.load import load as open_session

    return open_session(bundle, backend=backend, threads=threads)
