"""A device from its start to an answer, on a GPU that is played (fake_gpu.py), through everything that goes wrong on the way.

Builders are processes of their own, as on a device; what they do stands in ``BUILDER``.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_gpu import WEIGHT

from edgesmith.runtime.backends import engine_build
from edgesmith.runtime.backends import tensorrt as backend
from edgesmith.runtime.backends.gpu import ladder
from edgesmith.runtime.bundle.bundle import open_bundle, update_bundle
from edgesmith.runtime.bundle.golden import golden_bytes
from edgesmith.runtime.commands.device.startup import Started, Wish, start

WELL, KILLED, SHORT = "well", "killed", "short"
BUILDER = """
import json, os, sys
from pathlib import Path
asked, tries = json.loads(sys.stdin.read()), Path(sys.argv[1])
ends = tries.read_text().split()
tries.write_text(" ".join(ends[1:]))
end = ends[0] if ends else "well"
if end == "killed":
    os.kill(os.getpid(), 9)
if end == "short":
    print(json.dumps({"event": "failed", "stage": "build", "errors": ["Error Code 2: OutOfMemory (Requested size was 1 byte)"]}))
    sys.exit(1)
Path(asked["engine"]).write_bytes(b"built")
print(json.dumps({"event": "done", "version": "10.3.0", "parse_seconds": 0.0, "build_seconds": 0.0, "layers": 1}))
"""


@pytest.fixture
def builders(machine: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file with the ends of the builders that are started from now on; where it is empty they end well."""
    tries = tmp_path / "tries"
    tries.write_text("")

    def build(*words: Any) -> tuple[bytes, float]:
        machine.built.append("tensorrt")
        return ladder.build_on_device(*words)

    monkeypatch.setattr(backend, "build_on_device", build)
    monkeypatch.setattr(engine_build, "COMMAND", [sys.executable, "-S", "-E", "-c", BUILDER, str(tries)])
    return tries


def begin(place: Path, **wish: Any) -> Started:
    """Start, hold the answer to what it has to be, and end."""
    started = start(str(place), Wish(**wish), lambda stage, share: None)
    given = np.random.default_rng(0).standard_normal((1, 3, 8, 8), dtype=np.float32)
    with started.session as session:
        for _ in range(3):  # plain, captured, launched
            answer = session.run({"images": given})["logits"]
            np.testing.assert_allclose(answer, given.mean(axis=(2, 3)) @ WEIGHT, atol=1e-5)
    return started


def kept(bundle: Any) -> list[Path]:
    return sorted((bundle.path / "engines").glob("*"))


def test_success_and_the_next_start_builds_nothing(make_tiny, machine, builders):
    bundle = make_tiny(target="jetpack6")
    assert begin(bundle.path).session.backend == "tensorrt" and machine.loaded == [b"built"]
    assert begin(bundle.path).degraded == "" and len(machine.built) == 1 and len(kept(bundle)) == 1
    assert machine.cuda.counts["launches"] > 0 and machine.cuda.nothing_is_left()


def test_an_engine_that_the_library_does_not_load_any_more_is_built_again(make_tiny, machine, builders):
    bundle = make_tiny(target="jetpack6")
    begin(bundle.path)
    load = machine.deserialise
    machine.deserialise = lambda content: load(content) if len(machine.built) > 1 else None
    assert begin(bundle.path).degraded == "" and len(machine.built) == 2 and len(kept(bundle)) == 1
    assert machine.cuda.nothing_is_left()


def test_an_engine_that_no_builder_makes_loadable_leaves_the_other_engine(make_tiny, machine, builders):
    machine.accepts = ()
    started = begin(make_tiny(target="jetpack6").path)
    assert started.session.backend == "onnxruntime" and "that it just built" in started.degraded
    assert machine.cuda.nothing_is_left()


@pytest.mark.parametrize("damage", ["a byte", "cut", "empty"])
def test_a_file_that_was_damaged_is_built_again_and_replaced(make_tiny, machine, builders, damage):
    bundle = make_tiny(target="jetpack6")
    begin(bundle.path)
    (path,) = kept(bundle)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes({"a byte": content, "cut": content[:50], "empty": b""}[damage])
    begin(bundle.path)
    begin(bundle.path)
    assert machine.loaded == [b"built"] * 3 and len(machine.built) == 2 and kept(bundle) == [path]


@pytest.mark.parametrize("end", [SHORT, KILLED])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_lack_of_memory_and_a_builder_that_the_system_kills_get_two_more_tries(
    make_tiny, machine, builders, tmp_path, end, times
):
    bundle = make_tiny(target="jetpack6")
    builders.write_text(" ".join([end] * times))
    started = begin(bundle.path)
    assert (started.session.backend == "tensorrt") == (times < 3) and ("after 3 tries" in started.degraded) == (
        times == 3
    )
    assert len(kept(bundle)) == (times < 3) and builders.read_text() == ""
    assert begin(bundle.path).session.backend == "tensorrt", "the next start tries again, or finds the engine"
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith((".part", ".lock", ".work"))]


def test_another_version_of_the_library_builds_its_own_in_place_of_the_old_one(make_tiny, machine, builders):
    bundle = make_tiny(target="jetpack6")
    begin(bundle.path)
    before = kept(bundle)
    machine.__version__ = "10.4.0"
    begin(bundle.path)
    assert len(machine.built) == 2 and len(kept(bundle)) == 1 and kept(bundle) != before


def test_two_that_start_at_once_build_once(make_tiny, machine, builders):
    bundle, started = make_tiny(target="jetpack6"), []
    both = threading.Barrier(2)

    def one() -> None:
        both.wait(60)
        started.append(start(str(bundle.path), Wish(), lambda stage, share: None))

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in started:
        each.session.close()
    assert [each.degraded for each in started] == ["", ""] and len(machine.built) == 1 and len(kept(bundle)) == 1


def test_who_comes_just_after_another_has_built_takes_that_engine(make_tiny, machine, builders, monkeypatch):
    """It looked when there was none, and got the lock without waiting."""
    bundle, looked = make_tiny(target="jetpack6"), []
    load = backend.load_engine

    def overtaken(*words: Any) -> bytes | None:
        found = load(*words)
        looked.append(found)
        if len(looked) == 1:
            begin(bundle.path)
        return found

    monkeypatch.setattr(backend, "load_engine", overtaken)
    begin(bundle.path)
    assert looked[0] is None and len(machine.built) == 1


@pytest.mark.parametrize("call", ["begin_capture", "end_capture", "instantiate"])
def test_a_capture_that_is_refused_leaves_plain_runs(make_tiny, machine, builders, caplog, call):
    machine.cuda.refuses = call
    assert begin(make_tiny(target="jetpack6").path).session.backend == "tensorrt"
    assert machine.cuda.counts["launches"] == 0 and machine.cuda.nothing_is_left()


def test_a_new_bundle_that_computes_something_else_gives_way_to_the_last_good_one_and_its_engine(
    make_tiny, machine, builders
):
    bundle = make_tiny(target="jetpack6")
    begin(bundle.path, check=True, rollback=True)
    golden = golden_bytes({"images": np.ones((1, 3, 8, 8), np.float32)}, {"logits": np.full((1, 4), 9, np.float32)})
    update_bundle(open_bundle(bundle.path), {"golden.npz": golden})
    started = begin(bundle.path, check=True, rollback=True)
    assert "self-test" in started.rolled_back and started.session.backend == "tensorrt"
    assert len(machine.built) == 2 and len(kept(started.session.bundle)) == 1, "the copy brought its own"
    assert machine.cuda.nothing_is_left()
