"""A bundle with two named graphs of two inputs each: opened, checked and run by name; one graph stays as it always was."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from command_line import edgesmith
from floor import workstation
from many_threads import all_at_once
from sealed import edit_manifest

from edgesmith.runtime.backends import engine_cache
from edgesmith.runtime.backends.gpu.cuda import Device
from edgesmith.runtime.backends.load import load
from edgesmith.runtime.bundle.bundle import open_bundle, update_bundle, write_bundle
from edgesmith.runtime.bundle.report import write_report
from edgesmith.runtime.errors import BundleRefused, UserMistake
from edgesmith.runtime.session.session import Session

VISION = """
<ir_version: 10, opset_import: ["" : 20]>
vision (float[1, 3, 4, 4] pixels, float[1, 3] shift) => (float[1, 3] features)
{ mean = GlobalAveragePool(pixels)  flat = Flatten<axis = 1>(mean)  features = Add(flat, shift) }
"""
PREFIX = """
<ir_version: 10, opset_import: ["" : 20]>
prefix (float[1, 3] features, float[batch, 3] words) => (float[batch, 3] mixed)
{ mixed = Mul(features, words) }
"""
BACKENDS = ["onnxruntime", pytest.param("openvino", marks=workstation)]
RNG = np.random.default_rng(0)
PIXELS, SHIFT = RNG.random((1, 3, 4, 4), dtype=np.float32), RNG.random((1, 3), dtype=np.float32)


def spec(name, shape, **bounds):
    return {"name": name, "dtype": "float32", "shape": shape, **bounds}


def graphs():
    open_words = spec("words", ["batch", 3], min=[1, 3], opt=[1, 3], max=[4, 3])
    return {
        "vision": {
            "file": "vision.onnx",
            "inputs": [spec("pixels", [1, 3, 4, 4]), spec("shift", [1, 3])],
            "outputs": [spec("features", [1, 3])],
        },
        "prefix": {
            "file": "text/prefix.onnx",
            "inputs": [spec("features", [1, 3]), open_words],
            "outputs": [spec("mixed", ["batch", 3])],
        },
    }


def content():
    parse = onnx.parser.parse_model
    return {"vision.onnx": parse(VISION).SerializeToString(), "text/prefix.onnx": parse(PREFIX).SerializeToString()}


def manifest(**changes):
    head = {"name": "two", "task": "any graphs", "target": "cpu", "precision": "fp32", "graphs": graphs()}
    return {**head, **changes}


@pytest.fixture
def two(tmp_path):
    return write_bundle(tmp_path / "two.edge", content(), manifest())


def test_each_graph_is_known_by_its_name(two):
    opened = open_bundle(two.path)
    assert list(opened.graphs) == ["vision", "prefix"]
    assert [one.path.name for one in opened.graphs.values()] == ["vision.onnx", "prefix.onnx"]
    assert [one.name for one in opened.graphs["prefix"].inputs] == ["features", "words"]
    assert opened.graph.name == "vision.onnx" and opened.inputs == opened.graphs["vision"].inputs
    with pytest.raises(AttributeError):
        opened.main.name = "other"


def test_a_bundle_without_names_has_one_graph_and_writes_none(tiny):
    assert list(tiny.graphs) == ["main"] and tiny.main.path == tiny.path / "model.onnx"
    assert "graphs" not in json.loads((tiny.path / "manifest.json").read_text())


@pytest.mark.parametrize("backend", BACKENDS)
def test_graphs_run_by_name_and_the_first_without(two, backend):
    with load(two, backend=backend, threads=1) as session:
        features = session.run({"pixels": PIXELS, "shift": SHIFT})["features"]
        np.testing.assert_allclose(features, PIXELS.mean(axis=(2, 3)) + SHIFT, rtol=1e-5)
        assert not session._beside, "a graph is opened when it is first run"
        for count in (1, 3, 1):
            words = RNG.random((count, 3), dtype=np.float32)
            found = session.run({"features": features, "words": words}, graph="prefix")
            np.testing.assert_allclose(found["mixed"], features * words, rtol=1e-5)
            assert session.infer_ms > 0
        named = session.run({"pixels": PIXELS, "shift": SHIFT}, graph="vision")["features"]
        np.testing.assert_array_equal(named, features)
        other = session._beside["prefix"]
    with pytest.raises(UserMistake, match="closed"):
        other.run({})


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_that_ask_for_another_graph_open_it_once(two, backend, monkeypatch):
    opened = []
    start = Session.start
    monkeypatch.setattr(Session, "start", lambda session: (opened.append(session.graph.name), start(session))[1])
    with load(two, backend=backend, threads=1) as session:

        def own_answer(caller: int) -> bool:
            words = np.full((1, 3), caller, np.float32)
            mixed = session.run({"features": SHIFT, "words": words}, graph="prefix")["mixed"]
            return np.allclose(mixed, SHIFT * words)

        assert all(all_at_once(own_answer))
    assert opened == ["vision", "prefix"]


@workstation
def test_openvino_computes_all_graphs_as_it_was_asked(two):
    with load(two, backend="openvino", precision="bf16") as session:
        session.run({"features": SHIFT, "words": SHIFT}, graph="prefix")
        assert session._beside["prefix"].computes == "bf16"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("feeds", "graph", "said"),
    [
        ({}, "visoin", "has no graph 'visoin'(.|\n)*vision, prefix"),
        ({"pixels": PIXELS, "shift": SHIFT}, "prefix", "'features' is missing(.|\n)*features, words"),
        ({"features": SHIFT, "words": SHIFT}, None, "'pixels' is missing(.|\n)*pixels, shift"),
        ({"features": SHIFT, "words": SHIFT, "mask": SHIFT}, "prefix", "no input 'mask'(.|\n)*features, words"),
        ({"features": SHIFT, "words": np.repeat(SHIFT, 5, axis=0)}, "prefix", "wrong size(.|\n)*1 to 4"),
    ],
)
def test_a_wrong_name_is_told_with_those_that_there_are(two, backend, feeds, graph, said):
    with load(two, backend=backend) as session, pytest.raises(UserMistake, match=said):
        session.run(feeds, graph=graph)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "graphs: none"),
        ([], "graphs: list"),
        ({"vision": None}, "vision: NoneType"),
        ({"vision": {**graphs()["vision"], "file": None}}, "file: NoneType"),
        ({"vision": {"file": "vision.onnx", "inputs": []}}, "outputs: nothing"),
        ({"vision": {**graphs()["vision"], "file": "../vision.onnx"}}, "outside of it"),
        ({"vision": {**graphs()["vision"], "file": "gone.onnx"}}, "no gone.onnx in the manifest"),
        ({"vision": {**graphs()["vision"], "inputs": [{"name": "x"}]}}, "tensor that cannot be"),
        ({"vision": {**graphs()["vision"], "engines": [{"file": "engines/x"}]}}, "engine that is not listed"),
    ],
)
def test_graphs_that_are_not_there_are_refused(tmp_path, change, said):
    with pytest.raises(BundleRefused, match=said):
        write_bundle(tmp_path / "two.edge", content(), manifest(graphs=change))


@pytest.mark.parametrize("file", ["vision.onnx", "text/prefix.onnx"])
def test_every_graph_is_looked_through(tmp_path, file):
    cut = content()[file][:-3]
    with pytest.raises(BundleRefused, match=f"{file} is no whole ONNX model"):
        write_bundle(tmp_path / "two.edge", {**content(), file: cut}, manifest())
    outside = onnx.parser.parse_model(VISION if file == "vision.onnx" else PREFIX)
    tensor = outside.graph.initializer.add(name="w", data_type=1, dims=[1], data_location=1)
    tensor.external_data.add(key="location", value="../secret")
    with pytest.raises(BundleRefused, match="outside of it"):
        write_bundle(tmp_path / "two.edge", {**content(), file: outside.SerializeToString()}, manifest())


def test_engines_of_two_graphs_have_two_keys(two, make_tiny):
    device = Device("sm87", 16, 64 << 30, 32 << 30, 12060, 12060)
    vision, prefix = (engine_cache.engine_key(two, "tensorrt", "10", device, one) for one in two.graphs.values())
    assert vision != prefix and vision == engine_cache.engine_key(two, "tensorrt", "10", device)


def test_an_engine_built_here_goes_when_any_graph_is_replaced(two):
    kept = two.path / "engines" / "device-x.engine"
    kept.parent.mkdir()
    kept.write_bytes(b"engine")
    update_bundle(two, {"notes.txt": b"x"})
    assert kept.is_file()
    update_bundle(two, {"text/prefix.onnx": content()["text/prefix.onnx"]})
    assert not kept.exists()


def test_the_report_tells_the_tensors_of_each_graph():
    page = write_report(manifest())
    assert "vision inputs" in page and "prefix outputs" in page


@pytest.mark.parametrize("engines", ["all", 3, {"file": "vision.onnx"}, [3], [None]])
def test_engines_that_are_no_rows_are_refused(two, engines):
    _edit(two, lambda graph: graph.update(engines=engines))
    with pytest.raises(BundleRefused, match=r"is damaged(.|\n)*graphs.vision.engines(\[0\])?: "):
        open_bundle(two.path)


def test_two_tensors_of_one_name_are_refused(two):
    _edit(two, lambda graph: graph.update(inputs=[spec("pixels", [1, 3, 4, 4]), spec("pixels", [1, 3])]))
    with pytest.raises(BundleRefused, match="two tensors of one name(.|\n)*vision: pixels, pixels"):
        open_bundle(two.path)


def test_a_shape_is_a_list(two):
    _edit(two, lambda graph: graph.update(outputs=[spec("features", "ab")]))
    with pytest.raises(BundleRefused, match="a tensor that cannot be"):
        open_bundle(two.path)


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 101])
def test_a_graph_needs_a_name_that_can_be_shown(tmp_path, name):
    with pytest.raises(BundleRefused, match="without a usable name"):
        write_bundle(tmp_path / "named.edge", content(), manifest(graphs={name: graphs()["vision"]}))


@pytest.mark.parametrize("graph", [["prefix"], {}, 3])
def test_a_name_that_is_no_text_is_told_too(two, graph):
    with load(two) as session, pytest.raises(UserMistake, match="two has no graph"):
        session.run({}, graph=graph)


def test_what_asks_for_pictures_says_that_these_graphs_take_more(two):
    with pytest.raises(UserMistake, match="two does not take pictures alone(.|\n)*vision.pixels, shift., prefix"):
        _ = two.picture_input


def _edit(bundle, change):
    edit_manifest(bundle.path, lambda manifest: change(manifest["graphs"]["vision"]))


@workstation
def test_inspect_shows_every_graph(two):
    answer = edgesmith("inspect", str(two.path))
    assert answer.code == 0, answer.err
    assert "bundle two: any graphs, fp32 for cpu" in answer.out
    assert "vision.onnx: 3 nodes" in answer.out and "text/prefix.onnx: 1 nodes" in answer.out


@pytest.mark.parametrize("command", [("bench",), pytest.param(("compare",), marks=workstation)])
def test_commands_that_feed_pictures_refuse_several_graphs_in_words(tmp_path, command):
    bundle = write_bundle(tmp_path / "two.edge", content(), manifest(task="classification"))
    words = [str(bundle.path)] * (2 if command == ("compare",) else 1)
    answer = edgesmith(*command, *words)
    assert answer.code == 2 and "two does not take pictures alone" in answer.err
