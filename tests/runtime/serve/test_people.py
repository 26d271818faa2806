"""A picture over HTTP is answered as ``edgesmith run --json`` answers it; what the page shows beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")
pytest.importorskip("prometheus_client", reason="the extra serve is not installed")
from command_line import on_device
from detection_bundle import paint, write_detection_bundle
from grounding_bundle import encode, screenshot, write_grounding_bundle
from segmentation_bundle import write_segmentation_bundle
from served import Server, served
from small_bundle import write_small_bundle
from typed_bundle import write_typed_bundle

NAMES = {
    "small": "small.edge",
    "small_detector": "detector.edge",
    "segmenter": "segmenter.edge",
    "colours": "colours.edge",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("served")
    write_small_bundle(made / "small.edge")
    write_detection_bundle(made / "detector.edge", batch="batch")
    write_segmentation_bundle(made / "segmenter.edge")
    write_grounding_bundle(made / "colours.edge", [(224, 140)])
    write_typed_bundle(made / "typed.edge")
    picture = paint((0, 0, 8, 8, "red"), (24, 16, 32, 24, "blue"))
    cv2.imwrite(str(made / "patches.png"), picture[..., ::-1])
    cv2.imwrite(str(made / "patches.jpg"), cv2.resize(picture, (320, 240), interpolation=cv2.INTER_NEAREST)[..., ::-1])
    cv2.imwrite(str(made / "screen.png"), screenshot(red=(2, 1), blue=(5, 3))[..., ::-1])
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        try:
            import tokenizers  # noqa: F401
        except ImportError:
            from edgesmith.runtime.tasks.grounding import words

            patch.setattr(words, "encoder", lambda *_: encode, raising=False)
        with served(*(folder / name for name in (*NAMES.values(), "typed.edge")), batch=4) as found:
            yield found


@pytest.mark.parametrize("model", ["small", "small_detector", "segmenter"])
@pytest.mark.parametrize("picture", ["patches.png", "patches.jpg"])
def test_the_answer_is_that_of_run(server: Server, folder: Path, model: str, picture: str):
    place = folder / picture
    (expected,) = json.loads(on_device("run", str(folder / NAMES[model]), str(place), "--json").out)
    reply = server.post(f"/v1/models/{model}/answers?{urlencode({'image': str(place)})}", place.read_bytes())
    assert reply.status == 200
    assert reply.json() == expected


def test_choices_are_those_of_run(server: Server, folder: Path):
    place = folder / "patches.png"
    flags = ("--score", "0.9", "--iou", "0.1", "--max-detections", "1", "--agnostic-nms")
    (expected,) = json.loads(on_device("run", str(folder / "detector.edge"), str(place), "--json", *flags).out)
    asked = urlencode({"image": str(place), "score": 0.9, "iou": 0.1, "max_detections": 1, "agnostic_nms": "true"})
    found = server.post(f"/v1/models/small_detector/answers?{asked}", place.read_bytes()).json()
    assert found == expected
    assert len(found["detections"]) == 1


def test_a_screenshot_and_instructions_give_clicks(server: Server, folder: Path):
    pytest.importorskip("tokenizers")
    place = folder / "screen.png"
    words = ("--instruction", "click the red button", "--instruction", "blue")
    (expected,) = json.loads(on_device("run", str(folder / "colours.edge"), str(place), "--json", *words).out)
    asked = urlencode([("image", str(place)), ("instruction", "click the red button"), ("instruction", "blue")])
    found = server.post(f"/v1/models/colours/answers?{asked}", place.read_bytes()).json()
    assert found == expected
    assert [click["pixels"] for click in found["clicks"]] == [[70, 42], [154, 98]]


@pytest.mark.parametrize(
    ("model", "asked", "body", "why"),
    [
        ("small", "", b"", "not a JPEG or PNG"),
        ("small", "", b"GIF89a", "not a JPEG or PNG"),
        ("small", "", b"/etc/passwd", "not a JPEG or PNG"),
        ("small", "", b"\x89PNG\r\n\x1a\n", "cut off"),
        ("small", "score=0.5", None, "belongs to detectors"),
        ("small", "save=out.jpg", None, "save is no choice"),
        ("small", "source=/etc/passwd", None, "source is no choice"),
        ("small", "top=zero", None, "top has no value"),
        ("small", "top=0", None, "--top counts from 1"),
        ("small", "top=1&top=2", None, "there twice"),
        ("small", "instruction=it", None, "takes no --instruction"),
        ("small_detector", "score=2", None, "--score is a share"),
        ("colours", "", None, "needs an instruction"),
        ("colours", "instruction=" + "x" * 3000, None, "too much to ask"),
        ("typed", "", None, "takes arrays, not pictures"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_words(
    server: Server, folder: Path, model: str, asked: str, body: bytes | None, why: str
):
    body = (folder / "patches.png").read_bytes() if body is None else body
    reply = server.post(f"/v1/models/{model}/answers?{asked}", body)
    assert (reply.status, why in reply.error["what"]) == (400, True), reply.error


def test_a_picture_that_unfolds_to_more_than_is_read_is_refused(server: Server):
    import struct
    import zlib

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    reply = server.post("/v1/models/small/answers", png)
    assert (reply.status, "too large" in reply.error["what"]) == (400, True)


def test_for_people_the_answer_is_drawn_told_in_lines_and_kept(server: Server, folder: Path):
    body = (folder / "patches.png").read_bytes()
    told = server.post("/v1/models/segmenter/shown", body).json()
    kind, _, data = told["drawn"].partition("base64,")
    drawn = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert (kind, drawn.shape) == ("data:image/jpeg;", (32, 32, 3))
    assert told["file"]["suffix"] == ".png" and base64.b64decode(told["file"]["data"]).startswith(b"\x89PNG")
    assert told["short"].startswith("red ") and len(told["lines"]) == len(told["answer"]["classes"])
    assert set(told["ms"]) == {"preprocess", "infer", "postprocess"}


def test_the_page_knows_what_each_bundle_takes(server: Server):
    told = {one["name"]: one for one in server.get("/v1/models").json()["models"]}
    assert [name for name, one in told.items() if one["asks"]] == ["colours"]
    assert [name for name, one in told.items() if not one["pictures"]] == ["typed"]
    assert told["small"]["options"] == ["top"]
    assert told["small_detector"]["options"] == ["score", "iou", "max_detections", "agnostic_nms"]
    assert (told["small_detector"]["batch"], told["small"]["batch"]) == (4, 1)
    assert "fixed number" in told["small"]["run_alone"]


def test_nobody_has_this_bundle(server: Server):
    reply = server.post("/v1/models/nobody/answers", b"x")
    assert (reply.status, "no model 'nobody'" in reply.error["what"]) == (404, True)


def test_health_and_figures_count_what_came(server: Server, folder: Path):
    body = (folder / "patches.png").read_bytes()
    before = {one["name"]: one for one in server.get("/health").json()["models"]}["small"]
    assert server.post("/v1/models/small/answers", body).status == 200
    assert server.post("/v1/models/small/answers", b"").status == 400
    told = server.get("/health").json()
    after = {one["name"]: one for one in told["models"]}["small"]
    assert told["state"] == "ready" and after["degraded"] is None
    assert (after["answered"], after["mistaken"]) == (before["answered"] + 1, before["mistaken"] + 1)
    assert 0 < after["p50_ms"] <= after["p99_ms"]
    reply = server.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    lines = dict(line.rsplit(" ", 1) for line in reply.body.decode().splitlines() if not line.startswith("#"))
    assert float(lines['edgesmith_requests_total{code="200",model="small"}']) == after["answered"]
    assert float(lines['edgesmith_request_seconds_count{model="small"}']) == after["answered"]
    assert float(lines['edgesmith_ready{model="small"}']) == 1
