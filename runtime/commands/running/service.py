"""What stands around a run that stays: the ladder of its start, and how it fares, told outside (device/)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from ...device.health import Health, Reporter
from ...device.notify import Notify
from ...device.startup import Wish, start

if TYPE_CHECKING:
    from ...bundle.bundle import Bundle
    from ...session.session import Session
    from .asked import Asked, Where


@contextmanager
def service(
    asked: Asked, where: Where, bundle: Bundle, threads: int | None, live: bool
) -> Iterator[tuple[Session, Health]]:
    """An open session of the bundle, by the ladder, and its health; both are told of within the block where somebody asks.

    ``bundle`` is that at the place that is asked for, or the last good one where that could not be opened.
    """
    health, notify = Health(bundle.name), Notify()
    wish = Wish(
        asked.backend,
        threads,
        asked.pool_mb,
        spin=not live,
        require=asked.require_tensorrt,
        check=asked.rollback or asked.health is not None,
        rollback=asked.rollback,
        keyring=asked.keyring,
        allow_older=asked.allow_older,
    )
    with ExitStack() as stack:
        reporter = None
        if asked.health is not None or notify.listens:
            reporter = stack.enter_context(Reporter(health, where[0], where[1], notify))
            if reporter.port is not None:
                print(f"health: http://127.0.0.1:{reporter.port}/", file=sys.stderr)
        there = bundle if asked.bundle_is(bundle) else None
        started = start(asked.bundle, wish, health.stage, there)
        session = stack.enter_context(started.session)
        health.facts(
            bundle=session.bundle.name,
            backend=session.backend,
            degraded=started.degraded,
            rolled_back=started.rolled_back,
            rebuilds=session.builds,
        )
        health.stage("ready")
        if reporter:
            reporter.ready()
        yield session, health
