"""Who may come in, asked of every request before anything else looks at it.

    Host            a server of this machine alone answers to names of this machine: a page elsewhere whose name leads here (DNS
                    rebinding) gets nothing
    Origin          a browser that shows somebody else's page gets nothing; there is no CORS
    Authorization   "Bearer TOKEN" where the server has a token, compared in constant time

Open without a token are the page itself, which holds no data, and /v2/health/live and ready, which tell a supervisor one bit.

Before all that a connection has to say what it wants, within some seconds and in not too many words (``impatient``).
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from .words import PROTOCOL, is_loopback

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN = frozenset(["/", "/page.css", "/page.js", "/v2/health/live", "/v2/health/ready"])
NAMES = frozenset(["localhost"])
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
ALWAYS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


class Gate:
    """Around the application; ``alone``: the server listens where this machine alone can reach it."""

    def __init__(self, app: App, token: bytes | None, alone: bool) -> None:
        self.app, self.alone = app, alone
        self._digest = hashlib.sha256(token).digest() if token is not None else None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *ALWAYS]
            await send(message)

        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if (refused := self._refused(scope["path"], headers)) is None:
            await self.app(scope, receive, sealed)
            return
        status, why = refused
        body = json.dumps({"error": why if scope["path"].startswith(PROTOCOL) else {"what": why}}).encode()
        more = [(b"www-authenticate", b"Bearer")] if status == 401 else []
        start = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *more]
        await sealed({"type": "http.response.start", "status": status, "headers": start})
        await sealed({"type": "http.response.body", "body": body})

    def _refused(self, path: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if self.alone and not names_this_machine(host):
            return 403, "this server answers to names of this machine alone, such as localhost"
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            return 403, "this server answers to its own page and to programs, not to pages of others"
        if headers.get("sec-fetch-site") == "cross-site" and path not in OPEN:
            return 403, "this server answers to its own page and to programs, not to pages of others"
        if self._digest is not None and path not in OPEN and not self._knows(headers.get("authorization", "")):
            return 401, "this server asks for its token: Authorization: Bearer TOKEN"
        return None

    def _knows(self, authorization: str) -> bool:
        kind, _, given = authorization.partition(" ")
        assert self._digest is not None
        digest = hashlib.sha256(given.strip().encode("latin-1")).digest()  # of one length, whatever was given
        return hmac.compare_digest(digest, self._digest) and kind.lower() == "bearer"


@functools.lru_cache(256)  # clients say the same with every request
def names_this_machine(host: str) -> bool:
    """Whether a Host header, with a port or without, is localhost or an address of the loopback."""
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    return name.lower() in NAMES or is_loopback(name)


def impatient(head_s: float, most_bytes: int) -> type:
    """uvicorn's protocol on httptools, which closes a connection whose request does not begin, or whose lines before the body do not end.

    ``head_s`` seconds for those lines; ``most_bytes`` that may come without a line of them, a piece of a body or an end (httptools has no limit).
    """
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class Impatient(HttpToolsProtocol):
        _head: asyncio.TimerHandle | None = None
        _begun = _ended = False  # the lines before the body have come; the body too
        _moved = False  # something came to its end in the bytes that were just read
        _vain = 0  # bytes since then

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            self._moved = False
            super().data_received(data)
            self._vain = 0 if self._moved else self._vain + len(data)
            if self._vain > most_bytes and not self.transport.is_closing():
                self.send_400_response(f"more than {most_bytes} bytes of headers")
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._unwatch()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._begun = self._ended = False

        def on_headers_complete(self) -> None:
            super().on_headers_complete()
            self._begun = self._moved = True

        def on_body(self, body: bytes) -> None:
            super().on_body(body)
            self._moved = True

        def on_message_complete(self) -> None:
            super().on_message_complete()
            self._ended = self._moved = True

        def _watch(self) -> None:
            works = self.cycle is not None and not self.cycle.response_complete
            if works or (self._begun and not self._ended):
                self._unwatch()
            elif self._head is None:
                self._head = self.loop.call_later(head_s, self.transport.close)

        def _unwatch(self) -> None:
            if self._head is not None:
                self._head.cancel()
                self._head = None

    return Impatient
