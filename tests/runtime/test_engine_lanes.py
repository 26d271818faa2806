"""Runs on a GPU that is played (fake_gpu.py): captured launches, mapped and copied tensors, several contexts, and what refuses them."""

from __future__ import annotations

import logging
import threading

import numpy as np
import pytest
from fake_gpu import JETSON, WEIGHT

from edgesmith.runtime.backends.load import load
from edgesmith.runtime.errors import EdgesmithError, UserMistake


def images(seed: int, count: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, 8, 8), dtype=np.float32)


def check(session, seed: int, count: int = 1) -> None:
    given = images(seed, count)
    np.testing.assert_allclose(session.run({"images": given})["logits"], given.mean(axis=(2, 3)) @ WEIGHT, atol=1e-5)


def test_one_plain_run_then_one_launch_each(tiny, machine):
    with load(tiny, backend="tensorrt") as session:
        assert not session.is_captured
        check(session, 0)
        assert session.is_captured and machine.cuda.counts["captures"] == 1 and machine.cuda.counts["launches"] == 0
        for seed in (1, 2, 3):
            check(session, seed)
        assert machine.cuda.counts["launches"] == 3 and machine.cuda.counts["captures"] == 1
        assert machine.runs_seen == 2, "one that ran, one that was written down"
        assert not machine.cuda.graphs, "what it was made of is given back"
    assert machine.cuda.nothing_is_left()


@pytest.mark.parametrize("how", [{"graphs": False}, {"batch": "batch"}])
def test_nothing_is_captured_where_nobody_wants_it_or_sizes_are_open(make_tiny, machine, how):
    bundle = make_tiny(how.pop("batch", 1))
    with load(bundle, backend="tensorrt", **how) as session:
        for seed in range(3):
            check(session, seed)
        assert machine.cuda.counts["captures"] == 0 and machine.runs_seen == 3 and not session.is_captured


@pytest.mark.parametrize("refuses", ["begin_capture", "end_capture", "instantiate", "the library"])
def test_a_capture_that_is_refused_is_told_once_and_runs_go_on_plainly(tiny, machine, caplog, refuses):
    machine.cuda.refuses = refuses
    machine.captures = refuses != "the library"
    with caplog.at_level(logging.WARNING), load(tiny, backend="tensorrt") as session:
        for seed in range(4):
            check(session, seed)
        assert not session.is_captured and machine.cuda.counts["captures"] <= 1
    assert caplog.text.count("not captured as a CUDA graph") == 1 and machine.cuda.counts["forgiven"] == 1
    assert machine.cuda.nothing_is_left()


def test_a_launch_that_fails_is_told_and_the_next_run_is_a_plain_one(tiny, machine):
    with load(tiny, backend="tensorrt") as session:
        check(session, 0)
        machine.cuda.refuses = "launch"
        with pytest.raises(EdgesmithError, match="launch failed"):
            check(session, 1)
        machine.cuda.refuses = ""
        check(session, 2)
        check(session, 3)
        assert machine.cuda.counts["captures"] == 2 and machine.cuda.counts["launches"] == 1
    assert machine.cuda.nothing_is_left()


@pytest.mark.parametrize(
    ("jetson", "maps", "asked", "mapped"),
    [(True, True, None, True), (True, False, None, False), (False, True, None, False), (True, True, "copied", False), (False, True, "mapped", True)],
)  # fmt: skip
def test_tensors_lie_in_shared_memory_where_there_is_no_other(make_tiny, machine, jetson, maps, asked, mapped):
    machine.cuda.card, machine.cuda.maps = JETSON if jetson else machine.cuda.card, maps
    with load(make_tiny("batch"), backend="tensorrt", memory=asked) as session:
        for seed, count in enumerate((1, 4, 2, 1)):
            check(session, seed, count)
        assert machine.cuda.counts["mapped"] == (4 if mapped else 0), "of each tensor one, and one more that is larger"
        assert machine.cuda.counts["uploads"] == (0 if mapped else 4) and len(machine.cuda.blocks) == 2
        assert session.self_test()[0].passed
    assert machine.cuda.nothing_is_left()


def test_a_refused_shape_leaves_the_context_able_to_run(make_tiny, machine, monkeypatch):
    """The context keeps the shape that it refused; the next run says its own again, though it is the one from before."""
    with load(make_tiny("batch"), backend="tensorrt") as session:
        check(session, 0, 2)
        monkeypatch.setattr("edgesmith.runtime.session.session.check_feeds", lambda feeds, inputs: feeds)
        with pytest.raises(EdgesmithError, match=r"refused shape \(5, 3, 8, 8\)"):
            session.run({"images": images(1, 5)})
        check(session, 2, 2)


def test_runs_side_by_side_have_a_context_each_made_when_they_meet(tiny, machine):
    meet = threading.Barrier(3, timeout=30)
    with load(tiny, backend="tensorrt", streams=3) as session:
        for seed in range(3):
            check(session, seed)
        assert machine.made == 1, "who calls alone needs one"
        lanes = session._lanes

        def hold() -> None:
            with lanes.one() as lane:
                meet.wait()
                seen.append(lane)

        seen: list[object] = []
        threads = [threading.Thread(target=hold) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(map(id, seen))) == 3 and machine.made == 3
        check(session, 9)
    assert machine.cuda.nothing_is_left()


def test_a_context_that_cannot_be_had_leaves_fewer_and_all_answers(tiny, machine, caplog):
    machine.contexts = 1
    with caplog.at_level(logging.WARNING), load(tiny, backend="tensorrt", streams=4) as session:
        with session._lanes.one():
            waiting = threading.Thread(target=check, args=(session, 1))
            waiting.start()
            waiting.join(0.05)
            assert waiting.is_alive(), "it waits for the one that there is"
        waiting.join(30)
        assert not waiting.is_alive() and "1 runs side by side" in caplog.text
    assert machine.cuda.nothing_is_left()


def test_open_sizes_run_one_at_a_time_before_tensorrt_10(make_tiny, machine, caplog):
    del machine.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    machine.__version__ = "8.6.2"
    with caplog.at_level(logging.WARNING), load(make_tiny("batch"), backend="tensorrt", streams=2) as session:
        assert session._lanes._most == 1 and "profile of open sizes" in caplog.text
    with load(make_tiny(), backend="tensorrt", streams=2) as session:
        assert session._lanes._most == 2


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"memory": "managed"}, "mapped, copied"),
        ({"streams": 0}, "1 to 16"),
        ({"streams": True}, "1 to 16"),
        ({"dla_core": -1}, "0 or 1"),
        ({"dla_core": "0"}, "0 or 1"),
        ({"speed": 11}, "no such option"),
    ],
)
def test_options_that_are_none_are_refused_before_anything_is_opened(tiny, machine, option, said):
    with pytest.raises(UserMistake, match=said):
        load(tiny, backend="tensorrt", **option)
    assert not machine.loaded


def test_the_other_graphs_of_a_bundle_keep_the_options(tiny, machine):
    with load(tiny, backend="tensorrt", memory="mapped", graphs=False, streams=2, dla_core=1) as session:
        assert machine.runtime.DLA_core == 1
        assert session.another(session.graph)._options == {
            "memory": "mapped",
            "graphs": False,
            "streams": 2,
            "dla_core": 1,
        }


def test_an_engine_for_an_accelerator_has_a_place_of_its_own(tiny, machine):
    for core in (None, 0, 0, None):
        with load(tiny.path, backend="tensorrt", **({} if core is None else {"dla_core": core})) as session:
            check(session, 0)
    assert len(machine.built) == 2 and len(list(tiny.path.glob("engines/device-*"))) == 2


def test_how_far_a_build_is_goes_to_who_asks_and_how_long_it_took_is_known_the_next_time(tiny, machine, caplog):
    heard = []
    with load(tiny, backend="tensorrt", tell=lambda *told: heard.append(told)) as session:
        assert session.builds == 1
    assert heard == [("building", None), ("building", 0.5)]
    machine.__version__ = "10.4.0"
    with caplog.at_level(logging.WARNING), load(tiny.path, backend="tensorrt"):
        pass
    assert "(last time 7 s)" in caplog.text
    with load(tiny.path, backend="tensorrt") as session:
        assert session.builds == 0
