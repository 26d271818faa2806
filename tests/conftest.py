"""What all tests share: caches in a folder of the run, never the account's; a checkout of any name; no clock, no deaf child.

Modules that several tests import stand in helpers/.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# how long an example takes tells how busy the machine is, and nothing of what is tested
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


class _AnyFolder:
    """Our package is the root of the checkout. pytest would import it by the name of that folder, which may be any."""

    def pytest_collect_directory(self, path: Path, parent: pytest.Collector) -> pytest.Dir | None:
        return pytest.Dir.from_parent(parent, path=path) if path == Path(__file__).parents[1] else None


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_AnyFolder())


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder: Path = tmp_path_factory.mktemp("cache")
    os.environ["EDGESMITH_CACHE"] = str(folder)


_leaving_out = {"allowed": False}


@pytest.fixture(autouse=True, scope="session")
def _every_pass_holds() -> Iterator[None]:
    """An export that heals itself would hide a fault of a pass: in a test it is one, unless the test is about that."""
    try:
        from edgesmith.exporter.bundle import sound
    except ImportError:  # no exporter where the runtime is tested alone
        yield
        return
    guilty = sound._Search.guilty

    def told(search: sound._Search, without: list[str], failed: sound._Attempt) -> object:
        assert _leaving_out["allowed"], f"a pass of ours is wrong on {search.exported.name}: {failed.why()}"
        return guilty(search, without, failed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sound._Search, "guilty", told)
        yield


@pytest.fixture(autouse=True)
def _may_leave_out(request: pytest.FixtureRequest) -> Iterator[None]:
    _leaving_out["allowed"] = request.node.get_closest_marker("may_leave_out") is not None
    yield
    _leaving_out["allowed"] = False


@pytest.fixture
def interrupts_heard() -> Iterator[None]:
    """Processes started inside hear SIGINT and SIGHUP. A shell and nohup have what they start ignore them, and so would they."""
    heard = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in heard.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
