"""From a request to its answer, the same way for programs and people: room, body, crew, answer; or a refusal with its reason.

Every request that comes in ends with one answer. 400: the request cannot be answered, 404: there is no such thing, 413: it is too large,
503: not now (``Retry-After`` says when), 500: the engine gave up.
"""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...errors import BackendUnavailable, BundleRefused, EdgesmithError, EngineFailed, UserMistake
from ...errors.addresses import shown_in
from .crew import Ask
from .figures import Figures
from .model import Refused, Served
from .words import PROTOCOL, Asked

ENDS = {200: "answered", 500: "failed", 503: "refused"}  # all others are mistakes of who asked
PATIENCE = 4  # so many times the largest body are read and dropped, so that its sender gets to read why


class House:
    """All that a server has."""

    def __init__(self, models: Sequence[Served], asked: Asked, figures: Figures) -> None:
        self.models = {model.name: model for model in models}
        self.graphs = {name: (model, graph) for model in models for name, graph in model.graphs.items()}
        self.asked, self.figures = asked, figures
        self.started = time.monotonic()
        self.stopping = False

    @property
    def is_ready(self) -> bool:
        return not self.stopping and all(model.is_ready for model in self.models.values())

    def health(self) -> dict[str, Any]:
        rows = [model.health() for model in self.models.values()]
        states = [row["state"] for row in rows]
        worst = next((state for state in ("failed", "loading", "degraded") if state in states), "ready")
        uptime_s = round(time.monotonic() - self.started, 1)
        return {"state": "stopping" if self.stopping else worst, "uptime_s": uptime_s, "models": rows}


class TooLarge(Exception):
    """The body of a request is larger than ``--max-mb``."""


def refusal(
    request: Request, status: int, error: EdgesmithError | str, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer to a request that gets no other."""
    if request.scope["path"].startswith(PROTOCOL):
        return JSONResponse({"error": error if isinstance(error, str) else in_one(error)}, status, headers)
    told = {"error": {"what": error}} if isinstance(error, str) else error.to_json()
    return JSONResponse(told, status, headers)


def in_one(error: EdgesmithError) -> str:
    """What, found and expected as one sentence."""
    parts = [error.what, error.found and f"found {error.found}", error.expected and f"expected {error.expected}"]
    return "; ".join(part for part in parts if part)


async def answer(
    house: House,
    request: Request,
    model: Served,
    ask: Callable[[bytes], Ask],
    respond: Callable[[Any], Response],
) -> Response:
    """Take a request in and answer it; ``ask`` makes of its body what the crew is asked, ``respond`` of the result a response."""
    response = await _answer(house, request, model, ask, respond)
    house.figures.ended(model.name, response.status_code)
    model.told[ENDS.get(response.status_code, "mistaken")] += 1
    return response


async def _answer(house: House, request: Request, model: Served, ask: Any, respond: Any) -> Response:
    try:
        model.enter()
    except Refused as full:
        house.figures.refused(model.name, "queue" if model.is_ready else "state")
        return _later(request, str(full), full.after_s)
    try:
        with anyio.fail_after(house.asked.timeout_s):
            body = await body_of(request, house.asked.most_bytes)
            started = time.perf_counter()
            result = await _worked_on(request, model, ask(body))
        took_s = time.perf_counter() - started
        model.latencies_s.append(took_s)
        house.figures.answered(model.name, took_s)
        return respond(result)
    except TimeoutError:
        house.figures.refused(model.name, "time")
        return _later(request, f"there was no answer within {house.asked.timeout_s:g} s", model.after_s())
    except TooLarge:
        most = f"the request is larger than {house.asked.max_mb:g} MB, which is all this server takes (--max-mb)"
        return refusal(request, 413, most, {"connection": "close"})
    except Gone:
        return refusal(request, 503, "the client has left")
    except Exception as error:  # noqa: BLE001 every request gets an answer
        return _failed(request, model, error)
    finally:
        model.leave()


def _later(request: Request, why: str, after_s: int) -> Response:
    return refusal(request, 503, why, {"retry-after": str(after_s)})


def _failed(request: Request, model: Served, error: Exception) -> Response:
    if isinstance(error, BundleRefused):  # its text may hold a place of this machine
        return refusal(
            request, 500, f"a file of the bundle {model.name} has changed: the server has to be started again"
        )
    if isinstance(error, (EngineFailed, BackendUnavailable)):
        return refusal(request, 500, error.what)
    if isinstance(error, UserMistake):
        return refusal(request, 400, error)
    print(shown_in("".join(traceback.format_exception(error))), end="", file=sys.stderr, flush=True)
    print("edgesmith: this is a bug of ours; the server goes on. Please report the lines above.", file=sys.stderr)
    return refusal(request, 500, "this is a bug of the server, which has told it on its standard error")


class Gone(Exception):
    """Nobody waits for the answer any more."""


async def _worked_on(request: Request, model: Served, ask: Ask) -> Any:
    """The result of the crew; what nobody waits for any more is not begun."""
    assert model.crew is not None, "a model that is entered is ready"
    job = model.crew.submit(ask)
    told = asyncio.wrap_future(job)
    left = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({told, left}, return_when=asyncio.FIRST_COMPLETED)
        if not told.done():
            raise Gone
        return told.result()
    finally:
        job.cancel()  # at once: the other would be handed on by the loop, after the answer
        told.cancel()
        left.cancel()


async def _left(request: Request) -> None:
    """Returns when the client closes the connection before it has its answer."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def body_of(request: Request, most: int) -> bytes:
    """The whole body. TooLarge where it has more than ``most`` bytes; what is little more is read to its end first."""
    length = request.headers.get("content-length", "")
    says = int(length) if length.isdigit() and len(length) < 16 else 0
    if says > PATIENCE * most or (says > most and "expect" in request.headers):
        raise TooLarge
    parts: list[bytes] = []
    seen = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Gone
        part = message.get("body", b"")
        seen += len(part)
        if seen > most:
            parts.clear()
            if seen > PATIENCE * most:
                raise TooLarge
        else:
            parts.append(part)
        if not message.get("more_body", False):
            break
    if seen > most:
        raise TooLarge
    return b"".join(parts)
