"""One session, many threads: every caller gets its own answer and its own time, and the end waits for those who are in it.

TensorRT's session is tested the same way in test_tensorrt.py, against a stand-in.
"""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from any_backend import BACKENDS, open_or_skip
from floor import workstation
from many_threads import CALLERS, all_at_once, wrong_answers

from edgesmith.runtime.backends import openvino_requests
from edgesmith.runtime.backends.load import load
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.session.session import Session


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("batch", [1, "batch"])
@pytest.mark.parametrize("threads", [1, None])
def test_eight_threads_get_their_own_answers(make_tiny, name, batch, threads):
    with open_or_skip(make_tiny(batch), name, threads=threads) as session:
        assert all_at_once(lambda caller: wrong_answers(session, caller)) == [0] * CALLERS


class Told(Session):
    """A run takes as many milliseconds of its own clock as its input says; no engine, and nobody waits."""

    backend = "told"
    clock = threading.local()

    def open_engine(self) -> None:
        self.freed = threading.Event()

    def infer(self, feeds):
        self.clock.now = self.now() + float(feeds["images"].flat[0]) / 1e3
        return {"logits": np.zeros((1, 4), np.float32)}

    def release(self) -> None:
        self.freed.set()

    @classmethod
    def now(cls) -> float:
        return getattr(cls.clock, "now", 0.0)


def milliseconds(count: float) -> dict[str, np.ndarray]:
    return {"images": np.full((1, 3, 8, 8), count, np.float32)}


@pytest.fixture
def told(tiny, monkeypatch):
    monkeypatch.setattr("edgesmith.runtime.session.session.time", SimpleNamespace(perf_counter=Told.now))
    with Told(tiny).start() as session:
        yield session


def test_each_thread_reads_the_time_of_its_own_run(told):
    all_ran = threading.Barrier(CALLERS)

    def run_then_read(caller: int) -> float:
        before = told.infer_ms
        told.run(milliseconds(caller + 1))
        all_ran.wait()
        return told.infer_ms - before

    assert all_at_once(run_then_read) == pytest.approx(range(1, CALLERS + 1))


def test_the_times_in_an_answer_are_those_of_its_own_call(told, monkeypatch):
    all_ran = threading.Barrier(CALLERS)
    run = told.run

    def run_and_wait(feeds):
        results = run(feeds)
        all_ran.wait()
        return results

    monkeypatch.setattr(told, "run", run_and_wait)
    pictures = [np.full((8, 8, 3), caller * 25, np.uint8) for caller in range(CALLERS)]  # a run takes 25/255 ms each
    times = all_at_once(lambda caller: told(pictures[caller]).infer_ms)
    assert times == pytest.approx([caller * 25 / 255 for caller in range(CALLERS)], rel=1e-4)


def test_close_waits_for_those_who_are_inside(told):
    entered, leave = threading.Event(), threading.Event()
    infer, seen = told.infer, []

    def stay(feeds):
        entered.set()
        leave.wait()
        seen.append(told.freed.is_set())
        return infer(feeds)

    told.infer = stay
    caller = threading.Thread(target=lambda: seen.append(sorted(told.run(milliseconds(0)))))
    caller.start()
    entered.wait()
    closer = threading.Thread(target=told.close)
    closer.start()
    while told._open:  # closing, and so others are refused already
        pass
    with pytest.raises(UserMistake, match="closed"):
        told.run(milliseconds(0))
    leave.set()
    caller.join()
    closer.join()
    assert seen == [False, ["logits"]] and told.freed.is_set()


def test_close_from_inside_a_call_is_refused_and_does_not_hang(told):
    infer, told.infer = told.infer, lambda feeds: told.close()
    with pytest.raises(UserMistake, match="from inside its own call"):
        told.run(milliseconds(0))
    told.infer = infer
    assert told.run(milliseconds(0)) and not told.freed.is_set()


def test_a_call_that_was_broken_off_before_it_began_does_not_keep_the_session_open(tiny):
    """Ctrl-C between the line that counts a call in and the block that counts it out."""
    with Told(tiny).start() as session:
        session._calls.append(threading.get_ident())
    assert session.freed.is_set()


@pytest.mark.parametrize("name", BACKENDS)
def test_a_session_that_is_closed_under_its_callers_answers_or_refuses(make_tiny, name):
    session = open_or_skip(make_tiny(), name, threads=1)

    def until_closed(caller: int) -> int:
        wrong = 0
        while not wrong:
            try:
                wrong = wrong_answers(session, caller, runs=20)
            except UserMistake as refusal:
                assert "closed" in str(refusal)
                break
            if caller == 0:
                session.close()
        return wrong

    assert all_at_once(until_closed) == [0] * CALLERS


@workstation
def test_openvino_compiles_what_it_needs_once(make_tiny, monkeypatch):
    monkeypatch.setattr(openvino_requests, "processors", lambda: 4)
    with load(make_tiny("batch"), backend="openvino", threads=1) as session:
        compiled, compile_one = [], session._compile

        def counted(model, streams):
            compiled.append(streams)
            return compile_one(model, streams)

        monkeypatch.setattr(session, "_compile", counted)
        assert wrong_answers(session, 1) == 0
        assert compiled == [1], "all sizes, for a caller alone: the usual size was compiled at the start"

        def several(_):
            for requests in (session._usual, session._all_sizes):
                with requests.one(), requests.one():
                    pass

        all_at_once(several)
        assert compiled == [1, 3, 3], "one more of each graph in which two calls met"


@workstation
def test_a_call_alone_keeps_the_one_request(make_tiny):
    with load(make_tiny(), backend="openvino", threads=1) as session:
        wrong_answers(session, 0, runs=3)
        requests = session._usual
        with requests.one() as first, requests.one() as second, requests.one() as third:
            assert len({id(request) for request in (first, second, third)}) == 3
        assert [len(idle) for idle in (requests._idle_alone, requests._idle_beside)] == [1, 2]


@workstation
def test_the_copy_for_several_callers_is_not_needed_for_right_answers(make_tiny, monkeypatch, caplog):
    monkeypatch.setattr(openvino_requests, "processors", lambda: 4)
    with load(make_tiny(), backend="openvino", threads=1) as session:

        def no_memory(model, streams):
            raise RuntimeError("no memory")

        monkeypatch.setattr(session, "_compile", no_memory)
        with session._usual.one(), session._usual.one():
            assert "take turns: no memory" in caplog.text
        assert all_at_once(lambda caller: wrong_answers(session, caller)) == [0] * CALLERS


@workstation
def test_openvino_does_not_hold_a_session_of_few_threads_to_the_first_core(make_tiny):
    with load(make_tiny(), backend="openvino", threads=1) as session:
        assert session._usual.alone.get_property("ENABLE_CPU_PINNING") is False


@pytest.mark.parametrize(
    ("processors", "threads", "beside"), [(2, 1, 1), (8, 2, 3), (64, 1, 8), (2, None, 0), (1, 1, 0), (2, 4, -1)]
)
def test_as_many_streams_as_processors_are_left(monkeypatch, processors, threads, beside):
    monkeypatch.setattr(openvino_requests, "processors", lambda: processors)
    assert openvino_requests.streams_beside(threads) == beside
