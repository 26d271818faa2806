"""For people, and programs that have a picture and no tensors: the page, and a picture -> what ``edgesmith run --json`` prints of it.

    POST /v1/models/NAME/answers   the bytes of a JPEG or PNG -> its entry of ``edgesmith run --json``
    POST /v1/models/NAME/shown     the same, with its lines, a drawn picture and the times: what the page shows

What is chosen stands behind the ``?`` by the names of the flags of ``edgesmith run``: ``?score=0.5``, ``?instruction=open+the+settings``.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...errors import UserMistake, one_line
from ...ground.version import __version__
from ..run import Asked
from . import door
from .asks import PictureAsk
from .model import SAMPLES, WORDS, Served

PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
KINDS: dict[str, type] = {name: type(value) for name, value in SAMPLES.items()}
NUMBERS = {int: re.compile(r"-?\d{1,9}"), float: re.compile(r"-?\d{1,9}(\.\d{1,9})?")}
YES, NO = ("true", "1"), ("false", "0")
NAME = "image"  # what the picture is called in the answer
MOST_WORDS, MOST_LETTERS = 32, 2000


def routes(house: door.House) -> list[Route]:
    """All of them, to be put into one application. The files of the page are read here and now."""
    folder = Path(__file__).parent / "page"

    async def models(request: Request) -> Response:
        return JSONResponse({"version": __version__, "models": [one.about() for one in house.models.values()]})

    async def health(request: Request) -> Response:
        return JSONResponse(house.health())

    async def metrics(request: Request) -> Response:
        body, kind = house.figures.text(house.models.values())
        return Response(body, headers={"content-type": kind})

    return [
        *(Route(path, _file((folder / name).read_bytes(), kind)) for path, (name, kind) in PAGE.items()),
        Route("/health", health),
        Route("/metrics", metrics),
        Route("/v1/models", models),
        Route("/v1/models/{model}/answers", _looking(house, for_people=False), methods=["POST"]),
        Route("/v1/models/{model}/shown", _looking(house, for_people=True), methods=["POST"]),
    ]


def _file(content: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def give(request: Request) -> Response:
        return Response(content, media_type=kind)

    return give


def _looking(house: door.House, for_people: bool) -> Callable[[Request], Awaitable[Response]]:
    async def look(request: Request) -> Response:
        name = request.path_params["model"]
        if (model := house.models.get(name)) is None:
            there = ", ".join(house.models)
            return door.refusal(request, 404, f"there is no model {one_line(name)[:80]!r}; expected {there}")
        try:
            image, told = read_choices(model, request.query_params.multi_items())
        except UserMistake as mistake:
            return door.refusal(request, 400, mistake)
        return await door.answer(
            house, request, model, lambda body: PictureAsk(model, body, told, image, for_people), JSONResponse
        )

    return look


def read_choices(model: Served, pairs: list[tuple[str, str]]) -> tuple[str, Asked]:
    """(the name of the picture, what is chosen); UserMistake for a name or a value that is none."""
    chosen: dict[str, Any] = {}
    words: list[str] = []
    image = "picture"
    for name, text in pairs:
        if name == NAME:
            image = text[:MOST_LETTERS]
        elif name == WORDS:
            words.append(text)
        elif name in KINDS and name not in chosen:
            chosen[name] = _value(name, text)
        else:
            raise UserMistake(
                f"{one_line(name)[:80]} is no choice" if name not in KINDS else f"{name} is there twice",
                expected=", ".join((NAME, WORDS, *KINDS)),
            )
    if len(words) > MOST_WORDS or any(len(one) > MOST_LETTERS for one in words):
        raise UserMistake(
            "that is too much to ask at once",
            found=f"{len(words)} times {WORDS}, the longest of {max(map(len, words))} letters",
            expected=f"at most {MOST_WORDS}, of at most {MOST_LETTERS:,} letters",
        )
    return image, Asked(model.name, (NAME,), instruction=tuple(words), **chosen)


def _value(name: str, text: str) -> Any:
    kind = KINDS[name]
    if kind is bool and text.lower() in (*YES, *NO):
        return text.lower() in YES
    if kind in NUMBERS and NUMBERS[kind].fullmatch(text):
        return kind(text)
    expected = "true or false" if kind is bool else "a whole number" if kind is int else "a number"
    raise UserMistake(f"{name} has no value that can be", found=one_line(text)[:80], expected=expected)
