"""The Open Inference Protocol, version 2, over HTTP: what clients of KServe and Triton speak.

Source: kserve/open-inference-protocol, specification/protocol/inference_rest.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...bundle.graphs import GraphSpec
from ...errors import one_line
from ...ground.version import __version__
from . import door, tensors
from .asks import ArraysAsk
from .model import Served

VERSION = "1"  # of every model: a bundle that was replaced is another server's
LENGTH = "inference-header-content-length"
Endpoint = Callable[[Request], Awaitable[Response]]


def routes(house: door.House) -> list[Route]:
    """All of them, to be put into one application."""

    async def server(request: Request) -> Response:
        return JSONResponse({"name": "edgesmith", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def live(request: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(request: Request) -> Response:
        return JSONResponse({"ready": house.is_ready}, 200 if house.is_ready else 503)

    async def metadata(request: Request, name: str, model: Served, graph: GraphSpec) -> Response:
        backend = model.session.backend if model.session is not None else "loading"
        told = {
            "name": name, "versions": [VERSION], "platform": f"edgesmith_{backend}",
            "inputs": [tensors.described(spec) for spec in graph.inputs],
            "outputs": [tensors.described(spec) for spec in graph.outputs],
        }  # fmt: skip
        return JSONResponse(told)

    async def model_ready(request: Request, name: str, model: Served, graph: GraphSpec) -> Response:
        is_ready = model.is_ready and not house.stopping
        return JSONResponse({"name": name, "ready": is_ready}, 200 if is_ready else 503)

    async def infer(request: Request, name: str, model: Served, graph: GraphSpec) -> Response:
        if (coding := request.headers.get("content-encoding", "identity")) != "identity":
            return door.refusal(request, 400, f"a body that is packed is not taken; found {one_line(coding)[:40]}")
        told = request.headers.get(LENGTH)
        if told is not None and not (told.isdigit() and len(told) < 12):
            return door.refusal(request, 400, "Inference-Header-Content-Length is no number of bytes")
        json_bytes = None if told is None else int(told)
        return await door.answer(
            house, request, model, lambda body: ArraysAsk(model, name, graph, body, json_bytes), _response
        )

    def of_model(endpoint: Callable[[Request, str, Served, GraphSpec], Awaitable[Response]]) -> Endpoint:
        async def found(request: Request) -> Response:
            name, version = request.path_params["model"], request.path_params.get("version", VERSION)
            if name not in house.graphs:
                there = ", ".join(house.graphs)
                return door.refusal(request, 404, f"there is no model {one_line(name)[:80]!r}; expected {there}")
            if version != VERSION:
                return door.refusal(request, 404, f"{name} has no version {one_line(version)[:20]}; expected {VERSION}")
            return await endpoint(request, name, *house.graphs[name])

        return found

    models = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
    return [
        *(
            Route(path + "/infer", of_model(infer), methods=["POST"]) for path in models
        ),  # first: they are tried in turn
        Route("/v2", server),
        Route("/v2/health/live", live),
        Route("/v2/health/ready", ready),
        *(Route(path, of_model(metadata)) for path in models),
        *(Route(path + "/ready", of_model(model_ready)) for path in models),
    ]


def _response(result: tuple[bytes, int | None]) -> Response:
    body, json_bytes = result
    if json_bytes is None:
        return Response(body, media_type="application/json")
    headers: dict[str, Any] = {LENGTH: str(json_bytes)}
    return Response(body, media_type="application/octet-stream", headers=headers)
