"""``edgesmith serve``: bind, listen, load and test the bundles, answer until a signal comes, finish what runs, and leave.

The port answers from the start: /v2/health/live says yes at once, /v2/health/ready when every bundle has passed its self-test. With
``--json`` one line on standard output tells the address then.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ...bundle.bundle import Bundle, open_bundle
from ...errors import BackendUnavailable, UserMistake
from ...errors.addresses import shown
from .model import Served
from .words import Asked, is_loopback, listen_at, read_token

LIBRARIES = ("starlette", "uvicorn", "httptools", "prometheus_client")  # the extra
MOST_CONNECTIONS = 512
HEAD_S = 10  # for the lines before the body of a request
MOST_HEAD = 2**16  # bytes of them
GRACE_S = 5  # beyond the longest time of a request, until what hangs is cut off


def serve(asked: Asked) -> int:
    """Serve until a signal comes, which is then raised; the exit code where all went down by itself.

    Raises:
        UserMistake: a word, a bundle, an address or a token that cannot be used.
        SelfTestFailed: a bundle does not compute here what it promises.
    """
    asked.check()
    check_libraries()
    bundles = opened(asked.bundles)
    token = read_token(asked.token_file)
    with listen_at(asked) as bound:
        return _Run(asked, bundles, token, bound).to_the_end()


def check_libraries() -> None:
    """BackendUnavailable where the extra is not installed."""
    for name in LIBRARIES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise BackendUnavailable(
                "edgesmith serve needs the extra named serve",
                found=f"no Python module {name}" if isinstance(error, ModuleNotFoundError) else str(error)[:300],
                expected=", ".join(LIBRARIES),
                attempt="pip install 'edgesmith[serve]'",
            ) from None


def opened(places: Sequence[str]) -> list[Bundle]:
    """The bundles; UserMistake where two have one name, by which clients ask for them."""
    found: dict[str, tuple[str, Bundle]] = {}
    for place in places:
        bundle = open_bundle(place)
        if bundle.name in found:
            raise UserMistake(
                f"two bundles are called {bundle.name}",
                found=f"{shown(found[bundle.name][0])} and {shown(place)}",
                expected="a name of its own for each, since clients ask for them by name",
                attempt="a server for each, with --port",
            )
        found[bundle.name] = place, bundle
    return [bundle for _, bundle in found.values()]


class _Run:
    """One server from its start to its end."""

    def __init__(self, asked: Asked, bundles: Sequence[Bundle], token: bytes | None, bound: socket.socket) -> None:
        from .door import House
        from .figures import Figures

        self.asked, self.bound = asked, bound
        figures = Figures()
        self.models = [Served(bundle, asked, figures) for bundle in bundles]
        self.house = House(self.models, asked, figures)
        address = bound.getsockname()
        self.url = f"http://{f'[{address[0]}]' if ':' in address[0] else address[0]}:{address[1]}"
        self.server = _server(self.house, token, is_loopback(address[0]))
        self.error: BaseException | None = None
        self.signals: list[int] = []

    def to_the_end(self) -> int:
        _tell(f"listening at {self.url}, loading {', '.join(model.name for model in self.models)}")
        loading = threading.Thread(target=self._load, name="loading", daemon=True)
        loading.start()
        with self._stopping():
            _loop()(self.server.serve([self.bound]))
        loading.join()
        for model in self.models:
            model.close()
        if self.error is not None:
            raise self.error
        counts = {key: sum(model.told[key] for model in self.models) for key in self.models[0].told}
        _tell(", ".join(f"{count:,} {key}" for key, count in counts.items()))
        for number in self.signals[:1]:
            signal.raise_signal(number)  # the command tells it, and leaves with its code
        return 0

    def _load(self) -> None:
        try:
            for model in self.models:
                if self.server.should_exit:
                    return
                model.open()
                _tell(f"{model.name} is ready" + (f"; it runs alone: {model.why_alone}" if model.why_alone else ""))
        except BaseException as error:  # noqa: BLE001 raised by the main thread
            self.error = error
            self.server.should_exit = True
            return
        if self.server.should_exit:
            return
        if self.asked.as_json:
            told = {
                "url": self.url,
                "port": self.bound.getsockname()[1],
                "pid": os.getpid(),
                "models": [*self.house.models],
            }
            print(json.dumps(told), flush=True)
        else:
            _tell(f"ready at {self.url}/")

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """Within the block a signal ends the server once what runs has ended; a second one ends it now."""

        def stop(number: int, _frame: object) -> None:
            self.server.force_exit = bool(self.signals) and number == signal.SIGINT
            self.signals.append(number)
            self.house.stopping = True
            self.server.should_exit = True

        if threading.current_thread() is not threading.main_thread():  # a test, or a program that calls us
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.getsignal(number) for number in numbers}
        ours = [number for number in numbers if before[number] != signal.SIG_IGN]
        for number in ours:
            signal.signal(number, stop)
        try:
            yield
        finally:
            for number in ours:
                signal.signal(number, before[number])


def application(house: Any, token: bytes | None, alone: bool) -> Any:
    """The routes of programs and people behind the gate, as an ASGI application."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import Response

    from . import people, protocol
    from .door import refusal
    from .gate import Gate

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        what = {404: "there is nothing at this address", 405: "this address takes another method"}
        return refusal(request, error.status_code, what.get(error.status_code, error.detail), error.headers)

    app = Starlette(
        routes=[*protocol.routes(house), *people.routes(house)], exception_handlers={HTTPException: refused}
    )
    app.router.redirect_slashes = False
    return Gate(app, token, alone)


def _server(house: Any, token: bytes | None, alone: bool) -> Any:
    """uvicorn: quiet, its signals left to us, believing no header that says who asks, impatient with what does not begin."""
    import uvicorn

    from .gate import impatient

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    config = uvicorn.Config(
        application(house, token, alone), http=impatient(HEAD_S, MOST_HEAD), loop="none", ws="none", lifespan="off", log_config=None, log_level="error",
        access_log=False, proxy_headers=False, server_header=False, limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=int(house.asked.timeout_s) + GRACE_S,
    )  # fmt: skip
    return Server(config)


def _loop() -> Callable[[Coroutine[Any, Any, None]], None]:
    """What runs the server: uvloop's loop, which spends less on each request, and asyncio's own where there is none (Windows)."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run


def _tell(text: str) -> None:
    with suppress(OSError):
        print(f"edgesmith: {shown(text)}", file=sys.stderr, flush=True)
