"""The TensorRT session against a stand-in for library and GPU: order of calls, buffers, shapes, which engine is taken.

The stand-in computes the tiny model in host memory and is strict where TensorRT is. It says nothing of TensorRT itself:
that every name we use exists in the real libraries is tested in test_tensorrt_names.py, and the contract in test_backends.py runs the real thing
wherever there is a GPU.
"""

import hashlib
import hmac
import logging
import shutil
import time

import numpy as np
import pytest
from fake_gpu import WEIGHT
from many_threads import CALLERS, all_at_once, wrong_answers

from edgesmith.runtime.backends.engine_seal import seal_of
from edgesmith.runtime.backends.load import load
from edgesmith.runtime.bundle.bundle import update_bundle
from edgesmith.runtime.errors import EdgesmithError


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx"])
def test_answers_shapes_and_ownership(make_tiny, machine, name):
    with load(make_tiny("batch"), backend=name) as session:
        kept = []
        for count in (1, 4, 2):
            images = np.random.default_rng(count).standard_normal((count, 3, 8, 8), dtype=np.float32)
            logits = session.run({"images": images})["logits"]
            np.testing.assert_allclose(logits, images.mean(axis=(2, 3)) @ WEIGHT, atol=1e-5)
            kept.append((logits, logits.copy()))
        assert all(np.array_equal(a, b) for a, b in kept) and len(machine.cuda.blocks) == 2
        assert session.self_test()[0].passed
    assert not machine.cuda.blocks and not machine.cuda.streams, "everything is given back"


def test_the_bundles_engine_for_this_chip_is_taken_first(make_tiny, machine):
    files = {"engines/sm87.engine": b"good", "engines/sm89.engine": b"other chip"}
    rows = [
        {"file": name, "arch": name[8:12], "builder": "tensorrt", "version": "10.3.0", "seal": seal_of(content)}
        for name, content in files.items()
    ]
    with load(make_tiny(files=files, engines=rows), backend="tensorrt"):
        pass
    assert machine.loaded == [b"good"] and not machine.built
    machine.loaded.clear()
    with load(make_tiny(files=files, engines=rows), backend="tensorrt_rtx"):  # another library: not its engine
        pass
    assert machine.loaded == [b"built"] and machine.built == ["tensorrt_rtx"]


@pytest.mark.parametrize("seal", [None, "", "ab" * 32, "of another engine", "of another account", "no text \u00e9"])
def test_an_engine_that_came_with_a_bundle_is_not_loaded_unless_this_account_built_it(
    make_tiny, machine, monkeypatch, tmp_path, caplog, seal
):
    if seal == "of another engine":
        seal = seal_of(b"good too")
    elif seal == "of another account":
        with monkeypatch.context() as there:
            there.setenv("XDG_CONFIG_HOME", str(tmp_path / "another"))
            seal = seal_of(b"good")
    row = {"file": "engines/sm87.engine", "arch": "sm87", "builder": "tensorrt", "version": "10.3.0"}
    bundle = make_tiny(files={"engines/sm87.engine": b"good"}, engines=[row if seal is None else {**row, "seal": seal}])
    with caplog.at_level(logging.WARNING), load(bundle, backend="tensorrt"):
        pass
    assert machine.loaded == [b"built"] and "sm87.engine of the bundle is not loaded" in caplog.text


def test_machines_that_share_the_secret_take_each_others_engines(make_tiny, machine, monkeypatch, tmp_path):
    row = {"file": "engines/sm87.engine", "arch": "sm87", "builder": "tensorrt", "version": "10.3.0"}
    bundle = make_tiny(files={"engines/sm87.engine": b"good"}, engines=[{**row, "seal": seal_of(b"good")}])
    shutil.copytree(tmp_path / "config", tmp_path / "other machine")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "other machine"))
    with load(bundle, backend="tensorrt"):
        pass
    assert machine.loaded == [b"good"] and not machine.built


def test_a_damaged_secret_believes_no_engine_and_the_session_runs(make_tiny, machine, tmp_path, caplog):
    """The file was left empty where a disk was full: anybody can seal with nothing."""
    path = tmp_path / "config" / "edgesmith" / "engine.seal"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    forged = hmac.digest(
        b"", b"engine in a bundle, sha256 " + hashlib.sha256(b"good").hexdigest().encode(), "sha256"
    ).hex()
    row = {"file": "engines/sm87.engine", "arch": "sm87", "builder": "tensorrt", "version": "10.3.0", "seal": forged}
    bundle = make_tiny(files={"engines/sm87.engine": b"good"}, engines=[row])
    with caplog.at_level(logging.WARNING), load(bundle, backend="tensorrt") as session:
        assert session.self_test()[0].passed
    assert machine.loaded == [b"built"] and "engine.seal has 0 bytes" in caplog.text
    assert not list(bundle.path.glob("engines/device-*")) and path.read_bytes() == b""


def test_an_engine_of_another_version_is_rebuilt_and_kept(make_tiny, machine, caplog):
    rows = [
        {"file": "engines/old.engine", "arch": "sm87", "builder": "tensorrt", "version": "8.6", "seal": seal_of(b"old")}
    ]
    bundle = make_tiny(files={"engines/old.engine": b"old"}, engines=rows)
    with caplog.at_level(logging.WARNING), load(bundle, backend="tensorrt"):
        pass
    assert machine.loaded == [b"old", b"built"] and len(machine.built) == 1
    assert "built by tensorrt 8.6" in caplog.text and "takes minutes" in caplog.text
    with load(bundle.path, backend="tensorrt"):
        pass
    assert len(machine.built) == 1, "the second start finds the engine of the first"
    graph = bundle.graph.read_bytes()
    with load(update_bundle(bundle, {"model.onnx": graph + b""}), backend="tensorrt"):
        pass
    assert len(machine.built) == 2, "a bundle whose graph was replaced builds again"


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx"])
def test_eight_threads_get_their_own_answers(make_tiny, machine, monkeypatch, name):
    upload = machine.cuda.upload

    def slow_upload(address, array, stream):  # whoever is let in between writes over what this run has uploaded
        upload(address, array, stream)
        time.sleep(1e-4)

    monkeypatch.setattr(machine.cuda, "upload", slow_upload)
    with load(make_tiny("batch"), backend=name) as session:
        assert all_at_once(lambda caller: wrong_answers(session, caller, runs=20)) == [0] * CALLERS
    assert not machine.cuda.blocks


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"accepts": ()}, "cannot load the engine that it just built"),
        ({"context": False}, "needs more for its activations"),
        ({"kind": "FP8"}, "numpy does not have"),
    ],
)
def test_failures_of_the_library_are_words_and_leave_nothing(tiny, machine, change, said):
    for name, value in change.items():
        setattr(machine, name, value)
    with pytest.raises(EdgesmithError, match=said):
        load(tiny, backend="tensorrt")
    assert not machine.cuda.blocks and not machine.cuda.streams


@pytest.mark.parametrize(("route", "loaded"), [("native", 1), ("aot", 0)])
def test_an_engine_with_the_cpp_plugin_is_loaded_after_it(make_tiny, machine, monkeypatch, route, loaded):
    seen = []
    bundle = make_tiny(files={"kernels.zip": b"a pack"}, plugins={"route": route, "ops": ["GGeMPool"]})
    monkeypatch.setattr("edgesmith.runtime.plugins.routes.plugin_library", lambda: None)
    monkeypatch.setattr(
        "edgesmith.runtime.plugins.routes.add_plugins",
        lambda trt, asked, stack: seen.append((asked["ops"], list(machine.loaded))),
    )
    with load(bundle, backend="tensorrt"):
        pass
    assert seen == [(["GGeMPool"], [])] * loaded
    if route == "aot":
        with load(bundle, backend="tensorrt_rtx"):  # runs the bodies, and needs no plugin
            pass
    assert len(seen) == loaded


def test_a_run_that_the_library_refuses(tiny, machine):
    with load(tiny, backend="tensorrt") as session:
        machine.runs = False
        with pytest.raises(EdgesmithError, match="refused the run"):
            session.run({"images": np.zeros((1, 3, 8, 8), np.float32)})
