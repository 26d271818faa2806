"""Bundle -> session: find the backend that the bundle was exported for, and open it."""

from __future__ import annotations

import os
from typing import Any

from ..bundle.bundle import OPEN_TRIES, Bundle, open_bundle
from ..errors import BundleChanged, UserMistake
from ..plugins.engine import check_engine
from ..session.session import Session
from . import default_backend, find_backend


def load(
    bundle: str | os.PathLike[str] | Bundle,
    backend: str | None = None,
    threads: int | None = None,
    pool_mb: float | None = None,
    rests: bool = False,
    **options: Any,
) -> Session:
    """Open a bundle for inference on ``backend``, by default the one it was exported for.

    ``pool_mb`` is for bundles that keep screens open: the most that is kept of them. ``rests`` is for servers:
    between calls no thread of the engine keeps a core busy. ``options`` belong to a backend, such as ``precision="bf16"``
    for openvino.

    Raises:
        BundleRefused: the bundle does not hold, or its fused ops are none that this backend can compute.
        BackendUnavailable: the engine's library or device is not here; the text says what is missing.
        UserMistake: no such backend or option.
    """
    if not isinstance(bundle, (str, os.PathLike, Bundle)):
        raise UserMistake(
            "this is no bundle", found=f"{bundle!r}"[:80], expected="a path, or a Bundle", attempt='load("smt.edge")'
        )
    if isinstance(bundle, Bundle):
        return _start(bundle, backend, threads, pool_mb, rests, options)
    for left in reversed(range(OPEN_TRIES)):
        try:
            return _start(open_bundle(bundle), backend, threads, pool_mb, rests, options)
        except BundleChanged:  # replaced since it was opened, a moment ago: then the new one is meant
            if not left:
                raise
    raise AssertionError("the last try returns or raises")


def _start(
    opened: Bundle,
    backend: str | None,
    threads: int | None,
    pool_mb: float | None,
    rests: bool,
    options: dict[str, Any],
) -> Session:
    cls = find_backend(backend or default_backend(opened.target, opened.manifest.get("engine")))
    check_engine(opened, cls.backend)
    try:
        session = cls(opened, threads, **options)
    except TypeError:
        if not options:
            raise
        raise UserMistake(f"the backend {cls.backend} has no such option", found=", ".join(options)) from None
    session = session.resting() if rests else session
    return (session if pool_mb is None else session.keeping(pool_mb)).start()
