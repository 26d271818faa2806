"""Engines are really built here, for a named chip, by TensorRT-RTX; failures come as words; the cache trusts its seal only."""

import json
import subprocess
import sys

import pytest

from edgesmith.runtime.backends import engine_build, engine_cache, engine_seal
from edgesmith.runtime.backends.engine_build import build_engine, profile_shapes
from edgesmith.runtime.backends.gpu.cuda import Device
from edgesmith.runtime.backends.gpu.progress import Watch
from edgesmith.runtime.bundle.bundle import open_bundle
from edgesmith.runtime.bundle.manifest import TensorSpec
from edgesmith.runtime.errors import BackendUnavailable, EdgesmithError, UserMistake

DEVICE = Device("sm87", 16, 64 << 30, 32 << 30, 12060, 12060)


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("EDGESMITH_CACHE", raising=False)  # which would win, and all tests share one


@pytest.mark.parametrize("batch", [1, "batch"])
def test_a_graph_becomes_an_engine(make_tiny, batch):
    pytest.importorskip("tensorrt_rtx")
    engine = build_engine(make_tiny(batch), "tensorrt_rtx", free_bytes=1 << 30, arch="sm89")
    assert engine[:4] == b"vtrt"  # the mark of TensorRT-RTX


def test_a_graph_that_the_parser_refuses_is_told_in_its_words(make_tiny):
    pytest.importorskip("tensorrt_rtx")
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("NoSuchOp", ["images"], ["logits"])],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 4])],
    )
    bundle = make_tiny(files={"model.onnx": helper.make_model(graph, ir_version=10).SerializeToString()})
    with pytest.raises(EdgesmithError, match="could not build(.|\n)*NoSuchOp"):
        build_engine(bundle, "tensorrt_rtx", arch="sm89")


def test_a_missing_library_is_unavailable(tiny):
    with pytest.raises(BackendUnavailable, match="no_such_engine"):
        build_engine(tiny, "no_such_engine")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("os.kill(os.getpid(), 9)", "SIGKILL(.|\n)*takes memory back"),
        ("os.kill(os.getpid(), 11)", "SIGSEGV(.|\n)*inside the library"),
        ("print('?')", "no reason"),
    ],
)
def test_a_builder_that_dies_takes_nobody_along(tiny, monkeypatch, code, said):
    monkeypatch.setattr(engine_build, "COMMAND", [sys.executable, "-c", f"import os; {code}"])
    with pytest.raises(EdgesmithError, match=said):
        build_engine(tiny, "tensorrt_rtx")


def test_open_sizes_need_bounds():
    spec = TensorSpec("x", "float32", ("batch", 3), (1, 3), (2, 3), (4, 3))
    assert profile_shapes([spec, TensorSpec("y", "float32", (1, 3))]) == {"x": [[1, 3], [2, 3], [4, 3]]}
    with pytest.raises(UserMistake, match="without bounds"):
        profile_shapes([TensorSpec("x", "float32", ("batch", 3))])


def test_an_engine_is_kept_in_the_bundle_and_found_again(tiny):
    key = engine_cache.engine_key(tiny, "tensorrt", "10.3.0", DEVICE)
    assert engine_cache.load_engine(tiny, key) is None
    path = engine_cache.save_engine(tiny, key, b"engine" * 100)
    assert path.parent == tiny.path / "engines" and [p.name for p in path.parent.iterdir()] == [path.name]
    assert engine_cache.load_engine(tiny, key) == b"engine" * 100
    assert open_bundle(tiny.path) == tiny  # it does not disturb the bundle


def test_the_key_changes_with_all_that_makes_an_engine_right(make_tiny):
    from dataclasses import replace

    tiny = make_tiny()
    base = engine_cache.engine_key(tiny, "tensorrt", "10.3.0", DEVICE)
    assert base == engine_cache.engine_key(tiny, "tensorrt", "10.3.0", replace(DEVICE, free_bytes=1))
    others = [
        engine_cache.engine_key(tiny, "tensorrt_rtx", "10.3.0", DEVICE),
        engine_cache.engine_key(tiny, "tensorrt", "10.3.1", DEVICE),
        *(
            engine_cache.engine_key(tiny, "tensorrt", "10.3.0", replace(DEVICE, **change))
            for change in ({"arch": "sm89"}, {"multiprocessors": 8}, {"driver": 13000}, {"memory_bytes": 8})
        ),
        engine_cache.engine_key(make_tiny(precision="fp16"), "tensorrt", "10.3.0", DEVICE),
        engine_cache.engine_key(make_tiny("batch"), "tensorrt", "10.3.0", DEVICE),
    ]
    assert len({base, *others}) == len(others) + 1


@pytest.mark.parametrize("attack", ["byte", "cut", "foreign", "empty", "renamed", "magic"])
def test_an_engine_that_was_not_built_here_is_not_loaded(tiny, attack):
    key = engine_cache.engine_key(tiny, "tensorrt", "10.3.0", DEVICE)
    path = engine_cache.save_engine(tiny, key, b"engine" * 100)
    content = bytearray(path.read_bytes())
    if attack == "byte":
        content[-1] ^= 1
    elif attack == "cut":
        content = content[:-5]
    elif attack == "foreign":
        content = bytearray(engine_cache.seal(b"evil", key, b"\0" * 32, tiny.path))
    elif attack == "empty":
        content = bytearray()
    elif attack == "magic":
        content[0] ^= 1
    else:
        content = bytearray(engine_cache.seal(b"older", "f" * 64, engine_cache.secret(), tiny.path))
    path.write_bytes(content)
    assert engine_cache.load_engine(tiny, key) is None


def test_a_read_only_bundle_uses_the_cache_of_the_user(tiny, tmp_path):
    (tiny.path / "engines").write_text("a file where the folder should be")
    key = engine_cache.engine_key(tiny, "tensorrt", "10.3.0", DEVICE)
    path = engine_cache.save_engine(tiny, key, b"engine")
    assert path.is_relative_to(tmp_path / "cache") and engine_cache.load_engine(tiny, key) == b"engine"


def test_the_secret_stays_private_and_the_same(tmp_path):
    first = engine_seal.secret()
    assert first == engine_seal.secret() and len(first) == 32
    assert (tmp_path / "config" / "edgesmith" / "engine.seal").stat().st_mode & 0o077 == 0


def test_the_child_speaks_json_when_the_library_is_missing():
    request = json.dumps({"library": "no_such_engine"})
    done = subprocess.run(
        engine_build.COMMAND,
        input=request,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3 and "no_such_engine" in json.loads(done.stdout)["errors"][0]


def test_a_long_build_is_not_silent_and_does_not_outlive_us(tiny, monkeypatch, caplog, tmp_path):
    minute_over = tmp_path / "minute over"
    until_then = f"import pathlib, time\nwhile not pathlib.Path({str(minute_over)!r}).exists(): time.sleep(0.01)"
    warn = engine_build.log.warning

    def warned(*words):
        warn(*words)
        minute_over.touch()

    monkeypatch.setattr(engine_build, "STILL_EVERY_S", 0.1)
    monkeypatch.setattr(engine_build.log, "warning", warned)
    monkeypatch.setattr(engine_build, "COMMAND", [sys.executable, "-c", until_then])
    with pytest.raises(EdgesmithError, match="no reason"):
        build_engine(tiny, "tensorrt_rtx")
    assert "still building the engine, " in caplog.text

    children, start = [], subprocess.Popen

    def started(*arguments, **options):
        children.append(start(*arguments, **options))
        return children[-1]

    def interrupted(line):
        raise KeyboardInterrupt

    monkeypatch.setattr(engine_build.subprocess, "Popen", started)
    monkeypatch.setattr(engine_build, "_event", interrupted)
    says_one_thing = "import time; print('?', flush=True); time.sleep(60)"
    monkeypatch.setattr(engine_build, "COMMAND", [sys.executable, "-c", says_one_thing])
    with pytest.raises(KeyboardInterrupt):
        build_engine(tiny, "tensorrt_rtx")
    assert children[0].returncode == -9


def test_a_real_builder_tells_how_far_it_is_takes_a_level_and_leaves_its_timings(make_tiny, tmp_path):
    pytest.importorskip("tensorrt_rtx")
    before, after, shares = tmp_path / "before", tmp_path / "after", []
    before.write_bytes(b"")
    timings, watch = (before, after), Watch(tell=shares.append)
    engine = build_engine(make_tiny(), "tensorrt_rtx", 1 << 30, "sm89", level=2, timings=timings, watch=watch)
    assert engine[:4] == b"vtrt" and after.stat().st_size > 0
    assert shares == sorted(shares) and shares[-1] == 1 and len(set(shares)) > 3
    with pytest.raises(BackendUnavailable, match=r"no accelerator \(DLA\) number 0"):
        build_engine(make_tiny(), "tensorrt_rtx", 1 << 30, "sm89", dla_core=0)
