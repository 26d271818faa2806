"""The ladder of a start: another engine loudly, a self-test that ends it, the last good bundle in place of a new one."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from edgesmith.runtime.backends.gpu.failures import BuildFailed
from edgesmith.runtime.bundle.bundle import open_bundle, update_bundle
from edgesmith.runtime.bundle.golden import golden_bytes
from edgesmith.runtime.commands.device import last_good
from edgesmith.runtime.commands.device.startup import SelfTestFailed, Wish, start
from edgesmith.runtime.errors import BackendUnavailable, BundleRefused, UserMistake

NOBODY = lambda stage, share: None


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("EDGESMITH_CACHE", raising=False)


def spoil(bundle) -> None:
    """A golden answer that nothing computes."""
    golden = golden_bytes({"images": np.ones((1, 3, 8, 8), np.float32)}, {"logits": np.full((1, 4), 9, np.float32)})
    update_bundle(bundle, {"golden.npz": golden})


def begin(place, told=NOBODY, **wish):
    started = start(str(place), Wish(**wish), told)
    with started.session as session:
        session.run({"images": np.zeros((1, 3, 8, 8), np.float32)})
    return started


def test_a_build_is_followed_by_a_self_test_and_the_next_start_by_none(make_tiny, machine):
    bundle = make_tiny(target="jetpack6")
    stages = []
    assert begin(bundle.path, lambda *told: stages.append(told)).degraded == ""
    assert [stage for stage, _ in stages] == ["opening", "loading", "building", "building", "testing"]
    stages.clear()
    assert begin(bundle.path, lambda *told: stages.append(told)).session.backend == "tensorrt"
    assert [stage for stage, _ in stages] == ["opening", "loading"]
    stages.clear()
    begin(bundle.path, lambda *told: stages.append(told), check=True)
    assert [stage for stage, _ in stages] == ["opening", "loading", "testing"]


def no_driver(*_):
    raise BackendUnavailable("an engine cannot run here", found="no NVIDIA driver")


def test_another_engine_takes_the_place_loudly(make_tiny, machine, monkeypatch, caplog):
    bundle = make_tiny(target="jetpack6")
    monkeypatch.setattr("edgesmith.runtime.backends.tensorrt.find_driver", no_driver)
    with caplog.at_level(logging.WARNING):
        started = begin(bundle.path)
    assert started.session.backend == "onnxruntime" and "no NVIDIA driver" in started.degraded
    assert "DEGRADED: tiny runs on onnxruntime" in caplog.text


@pytest.mark.parametrize("wish", [{"require": True}, {"backend": "tensorrt"}])
def test_who_asks_for_the_engine_gets_it_or_nothing(make_tiny, machine, monkeypatch, wish):
    monkeypatch.setattr("edgesmith.runtime.backends.tensorrt.find_driver", no_driver)
    with pytest.raises(BackendUnavailable, match="no NVIDIA driver"):
        begin(make_tiny(target="jetpack6").path, **wish)


def test_a_build_that_fails_leaves_the_other_engine(make_tiny, machine):
    def fail():
        raise BuildFailed("tensorrt could not build an engine for tiny", found="out of memory")

    machine.build = fail
    started = begin(make_tiny(target="jetpack6").path)
    assert started.session.backend == "onnxruntime" and "out of memory" in started.degraded
    assert machine.cuda.nothing_is_left()


def test_where_the_other_engine_cannot_either_the_first_reason_is_told(make_tiny, machine, monkeypatch):
    monkeypatch.setattr("edgesmith.runtime.backends.tensorrt.find_driver", no_driver)
    monkeypatch.setattr("edgesmith.runtime.backends.onnxruntime.OnnxRuntimeSession.open_engine", no_driver_either)
    with pytest.raises(BackendUnavailable, match="no NVIDIA driver"):
        begin(make_tiny(target="jetpack6").path)


def no_driver_either(self):
    raise UserMistake("not this one either")


def test_an_engine_that_computes_something_else_ends_the_start_and_is_not_kept(make_tiny, machine):
    bundle = make_tiny(target="jetpack6")
    machine.weight = machine.weight * 2
    with pytest.raises(SelfTestFailed, match=r"tiny does not hold its self-test on tensorrt(.|\n)*logits") as error:
        begin(bundle.path)
    assert error.value.exit_code == 1 and not list(bundle.path.glob("engines/device-*"))
    assert machine.cuda.nothing_is_left()
    machine.weight = machine.weight / 2
    begin(bundle.path)
    assert len(machine.built) == 2, "it is built anew, not taken from where it was kept"


def test_a_bundle_that_fails_gives_way_to_the_last_good_one(make_tiny, caplog):
    good = make_tiny(note="good")
    begin(good.path, check=True, rollback=True)
    spoil(open_bundle(good.path))
    with caplog.at_level(logging.WARNING):
        started = begin(good.path, check=True, rollback=True)
    assert started.session.bundle.manifest == good.manifest and "self-test" in started.rolled_back
    assert "ROLLED BACK" in caplog.text and started.session.bundle.path != good.path
    kept = last_good.last_good(good.path)
    assert kept is not None and kept.manifest == good.manifest, "the one that failed did not take its place"
    newer = make_tiny(note="newer")
    assert begin(newer.path, check=True, rollback=True).rolled_back == ""
    assert last_good.last_good(newer.path).manifest == newer.manifest
    assert len(list(last_good.folder_of(newer.path).glob("*.edge"))) == 1, "and the older copy is gone"


def test_a_damaged_bundle_gives_way_too(make_tiny):
    good = make_tiny()
    begin(good.path, check=True, rollback=True)
    good.graph.write_bytes(b"cut off")
    started = begin(good.path, check=True, rollback=True)
    assert "model.onnx" in started.rolled_back and started.session.bundle.manifest == good.manifest
    with pytest.raises(BundleRefused):
        begin(good.path, check=True)


def test_what_cannot_be_opened_and_what_takes_its_place_are_opened_once_each(make_tiny, monkeypatch, tmp_path, capsys):
    import cv2

    from edgesmith.runtime.commands.device import startup
    from edgesmith.runtime.commands.run import Asked, run

    good, opened = make_tiny(), []
    begin(good.path, check=True, rollback=True)
    good.graph.write_bytes(b"cut off")
    for module in (startup, last_good):
        monkeypatch.setattr(module, "open_bundle", lambda path: opened.append(path) or open_bundle(path))
    cv2.imwrite(str(tmp_path / "blue.png"), np.full((8, 8, 3), (255, 0, 0), np.uint8))
    path = tmp_path / "health.json"
    assert run(Asked(str(good.path), (str(tmp_path / "blue.png"),), rollback=True, health=str(path))) == 0
    assert [str(one) for one in opened] == [
        str(good.path),
        str(last_good.folder_of(good.path) / f"{last_good.stamp_of(good)}.edge"),
    ]
    assert "model.onnx" in json.loads(path.read_bytes())["rolled_back"]


def test_a_bundle_of_arrays_starts_and_tells_its_health_like_any_other(tmp_path, monkeypatch, capsys):
    from triton_bundles import write_arrays

    from edgesmith.runtime.commands.run import Asked, run

    place, path = tmp_path / "arrays.edge", tmp_path / "health.json"
    np.savez(tmp_path / "x.npz", images=np.ones((1, 3, 8, 8), np.float32))
    words = {"rollback": True, "health": str(path), "as_json": True}
    write_arrays(place)
    assert run(Asked(str(place), (str(tmp_path / "x.npz"),), **words)) == 0
    told = json.loads(path.read_bytes())
    assert (told["state"], told["frames"], told["bundle"], told["rolled_back"]) == ("stopped", 1, "arrays", "")
    assert last_good.last_good(place) is not None
    (place / "model.onnx").write_bytes(b"cut off")
    assert run(Asked(str(place), (str(tmp_path / "x.npz"),), **words)) == 0
    assert "model.onnx" in json.loads(path.read_bytes())["rolled_back"]


def test_arrays_are_for_the_engine_alone_where_that_is_asked_for(tmp_path, monkeypatch, machine):
    from sealed import edit_manifest
    from triton_bundles import write_arrays

    from edgesmith.runtime.commands.run import Asked, run

    place = write_arrays(tmp_path / "arrays.edge")
    edit_manifest(place, target="jetpack6")
    monkeypatch.setattr("edgesmith.runtime.backends.tensorrt.find_driver", no_driver)
    np.savez(tmp_path / "x.npz", images=np.ones((1, 3, 8, 8), np.float32))
    assert run(Asked(str(place), (str(tmp_path / "x.npz"),))) == 0
    with pytest.raises(BackendUnavailable, match="no NVIDIA driver"):
        run(Asked(str(place), (str(tmp_path / "x.npz"),), require_tensorrt=True))


def test_a_restart_tries_the_engine_again_and_health_says_how_long_another_runs(make_tiny, machine, monkeypatch):
    from edgesmith.runtime.commands.device.health import Health

    bundle = make_tiny(target="jetpack6")
    with monkeypatch.context() as away:
        away.setattr("edgesmith.runtime.backends.tensorrt.find_driver", no_driver)
        degraded = begin(bundle.path).degraded
    assert "no NVIDIA driver" in degraded
    started = begin(bundle.path)
    assert started.degraded == "" and started.session.backend == "tensorrt"
    health = Health("tiny", clock=iter([0.0, 5.0, 65.0]).__next__)
    health.facts(degraded=degraded)
    told = health.to_json()
    assert (told["degraded"], told["degraded_s"]) == (degraded, 60.0)


def test_where_nothing_was_good_before_the_failure_is_told(make_tiny, tmp_path):
    bundle = make_tiny()
    spoil(bundle)
    with pytest.raises(SelfTestFailed):
        begin(bundle.path, check=True, rollback=True)
    assert not list(tmp_path.glob("cache/edgesmith/good/*/*.edge"))
    with pytest.raises(BundleRefused):
        begin(tmp_path / "nothing.edge", check=True, rollback=True)


def test_a_last_good_one_that_does_not_hold_any_more_is_no_way_out(make_tiny, monkeypatch):
    good = make_tiny()
    begin(good.path, check=True, rollback=True)
    copy = last_good.last_good(good.path)
    (copy.path / "labels.json").write_text("[]")
    spoil(open_bundle(good.path))
    with pytest.raises(SelfTestFailed):
        begin(good.path, check=True, rollback=True)


def test_the_same_bundle_is_not_tried_twice(make_tiny, machine):
    """It held before; now the device computes something else: the copy would fail just so."""
    bundle = make_tiny(target="jetpack6")
    begin(bundle.path, check=True, rollback=True)
    machine.weight = machine.weight * 2
    with pytest.raises(SelfTestFailed):
        begin(bundle.path, check=True, rollback=True)


def test_the_copy_has_the_engine_that_was_built_here(make_tiny, machine):
    bundle = make_tiny(target="jetpack6")
    begin(bundle.path, check=True, rollback=True)
    spoil(open_bundle(bundle.path))
    started = begin(bundle.path, check=True, rollback=True)
    assert started.rolled_back and len(machine.built) == 2, "one for each graph; the copy brought its own"
    assert list(started.session.bundle.path.glob("engines/device-*"))


def test_a_copy_whose_removal_was_interrupted_is_not_taken_for_a_whole_one(make_tiny, monkeypatch):
    """First one bundle, then another, then the first again, as who goes back does it."""
    first = make_tiny(note="first")
    begin(first.path, check=True, rollback=True)
    kept = next(last_good.folder_of(first.path).glob("*.edge"))
    other = make_tiny(note="other")
    with monkeypatch.context() as killed:
        killed.setattr("edgesmith.runtime.ground.scratch.remove", lambda folder: None)
        begin(other.path, check=True, rollback=True)
    assert not kept.exists() and last_good.last_good(other.path).manifest == other.manifest
    first = make_tiny(note="first")
    begin(first.path, check=True, rollback=True)
    assert last_good.last_good(first.path).manifest == first.manifest
    assert sorted(path.name for path in last_good.folder_of(first.path).iterdir()) == [kept.name, "current.json"]


def test_half_an_engine_of_a_process_that_is_writing_is_not_copied(make_tiny):
    bundle = make_tiny()
    (bundle.path / "engines").mkdir()
    (bundle.path / "engines" / "device-slot-key.abcdefgh.edgesmith.part").write_bytes(b"half")
    begin(bundle.path, check=True, rollback=True)
    assert not (last_good.last_good(bundle.path).path / "engines").exists()


def test_a_copy_is_not_written_over_with_its_bundle(make_tiny):
    bundle = make_tiny()
    begin(bundle.path, check=True, rollback=True)
    with bundle.graph.open("r+b") as file:  # as scp does
        file.write(b"\0" * 20)
    assert last_good.last_good(bundle.path) is not None


@pytest.mark.parametrize("said", ['{"bundle": "../elsewhere"}', '{"bundle": 7}', "[]", "no json", '{"bundle": ""}'])
def test_a_pointer_that_leads_nowhere_is_none(make_tiny, said):
    bundle = make_tiny()
    begin(bundle.path, check=True, rollback=True)
    folder = last_good.folder_of(bundle.path)
    assert json.loads((folder / "current.json").read_bytes())["bundle"].endswith(".edge")
    (folder / "current.json").write_text(said)
    assert last_good.last_good(bundle.path) is None


def test_a_copy_that_cannot_be_made_is_told_and_ends_nothing(make_tiny, tmp_path, monkeypatch, caplog):
    (tmp_path / "cache").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        assert begin(make_tiny().path, check=True, rollback=True).rolled_back == ""
    assert "could not be kept for a rollback" in caplog.text
