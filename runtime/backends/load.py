"""Bundle -> session: find the backend that the bundle was exported for, and open it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ..bundle.bundle import OPEN_TRIES, Bundle, open_bundle
from ..bundle.trust import check_older, check_signed
from ..errors import BundleChanged, UserMistake
from ..plugins.engine import check_engine
from ..session.session import Session
from . import default_backend, find_backend


def load(
    bundle: str | os.PathLike[str] | Bundle,
    backend: str | None = None,
    threads: int | None = None,
    pool_mb: float | None = None,
    spin: bool = True,
    keyring: str | os.PathLike[str] | None = None,
    allow_older: bool = False,
    tell: Callable[[str, float | None], None] | None = None,
    **options: Any,
) -> Session:
    """Open a bundle for inference on ``backend``, by default the one it was exported for.

    ``pool_mb`` is for bundles that keep screens open: the most that is kept of them. ``spin``: threads of the engine wait for
    the next call awake, which makes calls that follow at once faster; ``False`` for calls with pauses between them, as of a
    camera or a server, lets them sleep. ``keyring``: only a bundle that one of these keys signed is opened, and none older than one
    that was, unless ``allow_older``. ``tell(stage, share)`` hears of what takes long: "building", and how much of it is
    done, from 0 to 1, None where nobody knows. ``options`` belong to a backend, such as ``precision="bf16"`` for openvino, or
    ``memory``, ``graphs``, ``streams`` and ``dla_core`` for tensorrt (docs/jetson.md).

    Raises:
        BundleRefused: the bundle does not hold, is not signed as asked, or its fused ops are none that this backend can compute.
        BackendUnavailable: the engine's library or device is not here; the text says what is missing.
        UserMistake: no such backend or option.
    """
    if not isinstance(spin, bool):
        raise UserMistake("spin is yes or no", found=repr(spin)[:40], expected="True or False")
    if not isinstance(bundle, (str, os.PathLike, Bundle)):
        raise UserMistake(
            "this is no bundle", found=f"{bundle!r}"[:80], expected="a path, or a Bundle", attempt='load("smt.edge")'
        )
    check_older(allow_older, keyring)
    if isinstance(bundle, Bundle) and keyring is None:
        return _start(bundle, backend, threads, pool_mb, spin, tell, options)
    place = bundle.path if isinstance(bundle, Bundle) else bundle  # with a keyring, its hashes are checked now
    for left in reversed(range(OPEN_TRIES)):
        try:
            opened = open_bundle(place)
            check_signed(opened, keyring, allow_older)
            return _start(opened, backend, threads, pool_mb, spin, tell, options)
        except BundleChanged:  # replaced since it was opened, a moment ago: then the new one is meant
            if not left:
                raise
    raise AssertionError("the last try returns or raises")


def _start(
    opened: Bundle,
    backend: str | None,
    threads: int | None,
    pool_mb: float | None,
    spin: bool,
    tell: Callable[[str, float | None], None] | None,
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
    session.spin, session.tell = spin, tell or session.tell
    return (session if pool_mb is None else session.keeping(pool_mb)).start()
