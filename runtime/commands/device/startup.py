"""The ladder of a start: open -> driver, library, cached engine or build -> self-test, which also warms up -> ready.

Where the GPU's engine cannot be had, another that is slower and right takes its place, loudly, unless that is forbidden; and where a
bundle does not hold its self-test, the last one of its place that did (last_good.py). What happened stands in ``Started``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...backends import default_backend
from ...backends.load import load
from ...bundle.bundle import Bundle, open_bundle
from ...bundle.engines import ENGINES
from ...bundle.golden import GOLDEN
from ...bundle.trust import check_signed
from ...errors import BundleRefused, EdgesmithError
from ...session.session import Session

Tell = Callable[[str, float | None], None]  # stage; how much of it is done, None where nobody knows


class SelfTestFailed(EdgesmithError):
    """The bundle does not compute on this device what it computed where it was made."""


@dataclass(frozen=True)
class Wish:
    """How to start; ``check``: only after its self-test, which an engine that was
    built just now has to hold in any case; ``require``: on the bundle's own engine or not at all;
    ``keyring``: only what one of its keys signed."""

    backend: str | None = None
    threads: int | None = None
    pool_mb: float | None = None
    spin: bool = True
    require: bool = False
    check: bool = False
    rollback: bool = False
    keyring: str | None = None
    allow_older: bool = False


@dataclass(frozen=True)
class Started:
    """An open session; ``degraded`` says why it is not on its own engine, ``rolled_back`` why it is of an older bundle."""

    session: Session
    degraded: str = ""
    rolled_back: str = ""


@dataclass(frozen=True)
class Found:
    """An open bundle; ``rolled_back`` says why it is an older one than what stands at its place."""

    bundle: Bundle
    rolled_back: str = ""


def find(place: str, wish: Wish) -> Found:
    """The first rung: the bundle at a place, or the last good one where that cannot be opened and ``wish`` says so; each is opened once.

    Raises BundleRefused: it does not hold, is not signed as asked, and nothing takes its place.
    """
    try:
        bundle = open_bundle(place)
        check_signed(bundle, wish.keyring, wish.allow_older)
        return Found(bundle)
    except BundleRefused as error:
        return _older(place, wish, error, None)


def start(place: str, wish: Wish, tell: Tell, found: Found | None = None) -> Started:
    """Open the bundle at a place by the ladder; ``found`` is what ``find`` gave, where it was asked already.

    Raises:
        SelfTestFailed: it does not hold here, and no other bundle of its place did before.
        BundleRefused, BackendUnavailable, EngineFailed, BuildFailed: as ``load``, where nothing takes its place.
    """
    tell("opening", None)
    found = found or find(place, wish)
    try:
        started = _start(found.bundle, wish, tell)
    except SelfTestFailed as error:
        if found.rolled_back:
            raise
        found = _older(place, wish, error, found.bundle)
        started = _start(found.bundle, wish, tell)
    if found.rolled_back:
        return Started(started.session, started.degraded, found.rolled_back)
    if wish.check and wish.rollback:
        from .last_good import keep  # what copies is imported by those who want it

        keep(found.bundle, place)
    return started


def _start(bundle: Bundle, wish: Wish, tell: Tell) -> Started:
    session, degraded = _load(bundle, wish, tell)
    if wish.check or (session.builds and GOLDEN in bundle.manifest["files"]):
        try:
            tell("testing", None)
            _check(session)
        except BaseException as error:
            if session.builds and isinstance(error, SelfTestFailed):
                session.forget_engine()
            session.close()
            raise
    return Started(session, degraded)


def _load(bundle: Bundle, wish: Wish, tell: Tell) -> tuple[Session, str]:
    how: dict[str, Any] = {"threads": wish.threads, "pool_mb": wish.pool_mb, "spin": wish.spin, "tell": tell}
    tell("loading", None)
    try:
        return load(bundle, wish.backend, **how), ""
    except BundleRefused:
        raise
    except EdgesmithError as error:
        engine = ENGINES.get(wish.backend or default_backend(bundle.target, bundle.manifest.get("engine")))
        stand_in = engine.stand_in if engine else ""
        if wish.backend or wish.require or not stand_in:
            raise
        try:
            session = load(bundle, stand_in, **how)
        except EdgesmithError:
            raise error from None  # what was wrong first is what has to be known
        why = f"{error.what}: {error.found}".replace("\n", "; ")
        _warn("DEGRADED: %s runs on %s, which is slower, since %s", bundle.name, stand_in, why)
        return session, why


def _warn(text: str, *words: object) -> None:
    import logging  # here: it takes long to import, and most starts have nothing to tell

    logging.getLogger("edgesmith").warning(text, *words)


def _check(session: Session) -> None:
    rows = [row for row in session.self_test() if not row.passed]
    if rows:
        raise SelfTestFailed(
            f"{session.bundle.name} does not hold its self-test on {session.backend}",
            found="\n".join(f"{row.output}: {row.told or 'nothing to compare'}, limit {row.limit}" for row in rows),
            expected="what the bundle computed where it was made, within its limit",
            attempt="edgesmith test BUNDLE; an older bundle, or another precision",
        )


def _older(place: str, wish: Wish, error: EdgesmithError, failed: Bundle | None) -> Found:
    """The last good bundle in place of one that cannot be used; the error where there is no other."""
    if not wish.rollback:
        raise error
    from .last_good import last_good, stamp_of

    good = last_good(place)
    if good is None or (failed is not None and stamp_of(good) == stamp_of(failed)):
        raise error
    why = f"{error.what}: {error.found}".replace("\n", "; ")
    _warn("ROLLED BACK: the last good bundle of %s takes its place, since %s", place, why)
    check_signed(good, wish.keyring, allow_older=True)  # it is, and that is what was asked for
    return Found(good, why)
