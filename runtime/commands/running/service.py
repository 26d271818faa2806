"""What stands around a run that stays: the ladder of its start, and how it fares, told outside (device/)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..device.health import HERE, Health, Reporter
from ..device.notify import Notify
from ..device.startup import Found, Wish, start

if TYPE_CHECKING:
    from ...session.session import Session


@contextmanager
def service(
    place: str, wish: Wish, found: Found, where: tuple[Path | None, int | None]
) -> Iterator[tuple[Session, Health]]:
    """An open session of the bundle at a place, by the ladder, and its health, which is told within the block where somebody asks.

    ``found`` is what ``startup.find`` gave; ``where``: file or port of --health.
    """
    health, notify = Health(found.bundle.name), Notify()
    with ExitStack() as stack:
        reporter = None
        if where != (None, None) or notify.listens:
            reporter = stack.enter_context(Reporter(health, where[0], where[1], notify))
            if reporter.port is not None:
                print(f"health: http://{HERE}:{reporter.port}/", file=sys.stderr)
        started = start(place, wish, health.stage, found)
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
