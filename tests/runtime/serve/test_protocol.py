"""The Open Inference Protocol over HTTP: metadata, both forms of tensors, every type, and what is refused in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")
pytest.importorskip("prometheus_client", reason="the extra serve is not installed")
from grounding_bundle import write_grounding_bundle
from served import Server, binary_request, outputs_of, served, tensor
from small_bundle import write_small_bundle
from typed_bundle import TYPES, extremes, write_typed_bundle

from edgesmith.runtime.commands.serve.tensors import datatype

PICTURES = np.random.default_rng(3).random((1, 3, 8, 8), dtype=np.float32)
ROW = tensor("images", PICTURES)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    made = [write_small_bundle(folder / "small.edge"), write_typed_bundle(folder / "typed.edge")]
    made.append(write_grounding_bundle(folder / "colours.edge", [(224, 140)]))
    with served(*made) as found:
        yield found


def test_the_server_tells_what_it_is(server: Server):
    told = server.get("/v2").json()
    assert (told["name"], told["extensions"]) == ("edgesmith", ["binary_tensor_data"])
    assert server.get("/v2/health/live").status == server.get("/v2/health/ready").status == 200


@pytest.mark.parametrize("path", ["/v2/models/small", "/v2/models/small/versions/1"])
def test_metadata_is_that_of_the_manifest(server: Server, path: str):
    assert server.get(path).json() == {
        "name": "small",
        "versions": ["1"],
        "platform": "edgesmith_onnxruntime",
        "inputs": [{"name": "images", "datatype": "FP32", "shape": [1, 3, 8, 8]}],
        "outputs": [{"name": "logits", "datatype": "FP32", "shape": [1, 3]}],
    }
    assert server.get(path + "/ready").json() == {"name": "small", "ready": True}


def test_every_graph_of_several_has_a_name_and_open_sizes_are_minus_one(server: Server):
    told = server.get("/v2/models/colours.instruction").json()
    assert {one["name"]: (one["datatype"], one["shape"]) for one in told["inputs"]}["keys"] == (
        "FP16",
        [-1, 1, 1, -1, 4],
    )
    assert server.get("/v2/models/colours").json()["inputs"][0]["name"] == "pixels"
    pixels = np.random.default_rng(0).random((1, 3, 140, 224), dtype=np.float32)
    body, headers = binary_request({"pixels": (pixels, "FP32")})
    embeds = outputs_of(server.post("/v2/models/colours.vision_224x140/infer", body, headers))["image_embeds"]
    means = pixels.reshape(3, 5, 28, 8, 28).mean(axis=(2, 4)).reshape(3, -1).T
    np.testing.assert_allclose(embeds[0], means, rtol=1e-5)
    body, headers = binary_request({"image_embeds": (embeds, "FP32")})
    kept = outputs_of(server.post("/v2/models/colours.prefix_224x140/infer", body, headers))
    assert kept["keys"].shape == (1, 1, 1, 43, 4)


@pytest.mark.parametrize("nested", [False, True])
def test_json_in_json_out(server: Server, nested: bool):
    row = {**ROW, "data": PICTURES.tolist()} if nested else ROW
    reply = server.infer("small", {"id": "seven", "inputs": [row]})
    assert reply.status == 200 and reply.headers["content-type"] == "application/json"
    told = reply.json()
    assert (told["model_name"], told["model_version"], told["id"]) == ("small", "1", "seven")
    np.testing.assert_allclose(outputs_of(reply)["logits"], PICTURES.mean(axis=(2, 3)), rtol=1e-6)


@pytest.mark.parametrize(
    "asked",
    [
        {"outputs": [{"name": "logits", "parameters": {"binary_data": True}}]},
        {"parameters": {"binary_data_output": True}},
    ],
)
def test_bytes_in_bytes_out(server: Server, asked: dict[str, Any]):
    body, headers = binary_request({"images": (PICTURES, "FP32")}, **asked)
    reply = server.post("/v2/models/small/versions/1/infer", body, headers)
    assert reply.headers["content-type"] == "application/octet-stream"
    assert (
        outputs_of(reply)["logits"].tobytes()
        == outputs_of(server.infer("small", {"inputs": [ROW]}))["logits"].tobytes()
    )


@pytest.mark.parametrize("as_bytes", [False, True])
def test_every_type_comes_back_as_it_went_in(server: Server, as_bytes: bool):
    arrays = {f"in_{name}": (extremes(name), datatype(name)) for name in TYPES}
    body, headers = binary_request(arrays, parameters={"binary_data_output": as_bytes})
    found = outputs_of(server.post("/v2/models/typed/infer", body, headers))
    told = {"inputs": [tensor(name, array, kind) for name, (array, kind) in arrays.items()]}
    told["parameters"] = {"binary_data_output": as_bytes}
    also = outputs_of(server.infer("typed", told))
    for name in TYPES:
        assert found[f"out_{name}"].tobytes() == also[f"out_{name}"].tobytes() == extremes(name).tobytes(), name


def test_only_the_outputs_that_are_asked_for_come(server: Server):
    arrays = {f"in_{name}": (extremes(name), datatype(name)) for name in TYPES}
    body, headers = binary_request(arrays, outputs=[{"name": "out_int8"}])
    assert list(outputs_of(server.post("/v2/models/typed/infer", body, headers))) == ["out_int8"]


def changed(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{**ROW, **changes}]}


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ([], "no JSON object"),
        ({}, 'no list "inputs"'),
        ({"inputs": [7]}, 'no list "inputs"'),
        ({"inputs": []}, "input 'images' is missing"),
        (changed(name="pixels"), "no input 'pixels'"),
        ({"inputs": [ROW, ROW]}, "there twice"),
        (changed(datatype="FP64"), "wrong datatype; found FP64; expected FP32"),
        (changed(datatype=None), "wrong datatype"),
        (changed(shape=[1, 3, 8]), "do not fill its shape"),
        (changed(shape=[3, 1, 8, 8]), "wrong size"),
        (changed(shape=[-1, 3, 8, 8]), "no shape that can be"),
        (changed(shape=[2**40]), "no shape that can be"),
        (changed(shape="1"), "no shape that can be"),
        (changed(data=None), "is no list"),
        (changed(data=["1"] * 192), "no FP32"),
        (changed(data=[True] * 192), "no FP32"),
        (changed(data=[1e39] * 192), "too large for FP32"),
        (changed(data=[10**400] * 192), "too large for FP32"),
        (changed(data=[[1, 2], [3]]), "nested unevenly"),
        (changed(parameters={"shared_memory_region": "a"}), "parameter that is not served; found shared_memory_region"),
        (changed(parameters={"binary_data_size": 768}), "are missing"),
        (changed(parameters={"binary_data_size": 4}), "do not fill its shape"),
        ({"inputs": [ROW], "outputs": [{"name": "x"}]}, "no output 'x'; expected logits"),
        ({"inputs": [ROW], "outputs": [{"name": "logits", "parameters": {"classification": 2}}]}, "not served"),
        ({"inputs": [ROW], "parameters": {"sequence_id": 3}}, "memory of earlier requests"),
        ({"inputs": [ROW], "parameters": 3}, "no object"),
        ({"inputs": [ROW], "id": 3}, '"id" is no text'),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_refused_in_words(server: Server, told: Any, why: str):
    reply = server.infer("small", told)
    assert reply.status == 400
    assert why in reply.error
    assert server.infer("small", {"inputs": [ROW]}).status == 200


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        ("uint8", 256, "no UINT8 can hold"),
        ("uint8", -1, "no UINT8 can hold"),
        ("int64", 2**63, "no INT64 can hold"),
        ("int32", 1.0, "no INT32"),
        ("int32", True, "no INT32"),
        ("bool", 1, "no BOOL"),
        ("float16", 1e6, "too large for FP16"),
    ],
)
def test_a_number_is_not_bent_to_fit_its_type(server: Server, kind: str, value: Any, why: str):
    rows = [tensor(f"in_{name}", extremes(name), datatype(name)) for name in TYPES if name != kind]
    rows.append({"name": f"in_{kind}", "datatype": datatype(kind), "shape": [2, 3], "data": [value] * 6})
    reply = server.infer("typed", {"inputs": rows})
    assert (reply.status, why in reply.error) == (400, True), reply.error


@pytest.mark.parametrize(
    ("body", "headers", "why"),
    [
        (b"{", {}, "no JSON"),
        (b"\xff\xfe", {}, "no JSON"),
        (b"[" * 100_000, {}, "no JSON"),
        (b'{"inputs": NaN}', {}, "NaN is not in JSON"),
        (b"{}", {"Inference-Header-Content-Length": "9"}, "longer than the request"),
        (b"{}", {"Inference-Header-Content-Length": "-1"}, "no number of bytes"),
        (b"{}", {"Inference-Header-Content-Length": "1" * 30}, "no number of bytes"),
        (b"{}", {"Content-Encoding": "gzip"}, "packed"),
    ],
)
def test_a_body_that_is_none_is_refused(server: Server, body: bytes, headers: dict[str, str], why: str):
    reply = server.post("/v2/models/small/infer", body, headers)
    assert (reply.status, why in reply.error) == (400, True), reply.error


def test_bytes_that_belong_to_nobody_and_bytes_that_are_no_bool_are_refused(server: Server):
    body, headers = binary_request({"images": (PICTURES, "FP32")})
    assert "belong to no input" in server.post("/v2/models/small/infer", body + b"x", headers).error
    arrays = {f"in_{name}": (extremes(name), datatype(name)) for name in TYPES}
    arrays["in_bool"] = (np.full((2, 3), 2, np.uint8), "BOOL")
    body, headers = binary_request(arrays)
    assert "no BOOL" in server.post("/v2/models/typed/infer", body, headers).error


def test_numbers_that_json_cannot_spell_are_told_and_come_as_bytes(server: Server):
    rows = {f"in_{name}": (extremes(name), datatype(name)) for name in TYPES}
    rows["in_float32"] = (np.full((2, 3), np.nan, np.float32), "FP32")
    body, headers = binary_request(rows)
    assert "JSON cannot spell" in server.post("/v2/models/typed/infer", body, headers).error
    body, headers = binary_request(rows, parameters={"binary_data_output": True})
    assert np.isnan(outputs_of(server.post("/v2/models/typed/infer", body, headers))["out_float32"]).all()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/nobody", 404),
        ("/v2/models/nobody/ready", 404),
        ("/v2/models/small/versions/2", 404),
        ("/v2/models/..%2F..%2Fetc%2Fpasswd", 404),
        ("/v2/models/small/infer", 405),
        ("/v2/nothing", 404),
        ("/../../etc/passwd", 404),
        ("/page/../command.py", 404),
    ],
)
def test_what_is_not_there_is_told(server: Server, path: str, status: int):
    reply = server.get(path)
    assert reply.status == status
    assert json.loads(reply.body)["error"]
