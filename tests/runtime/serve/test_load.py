"""Room and time: every request is answered or refused, and counted; what runs together; an engine that gives up.

An engine that can be held stands in for a slow one, so that nothing here depends on how fast the machine is.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")
pytest.importorskip("prometheus_client", reason="the extra serve is not installed")
from detection_bundle import judge, write_detection_bundle
from served import Reply, Server, binary_request, outputs_of, served, tensor, wait_until
from small_bundle import write_small_bundle

from edgesmith.runtime.backends.onnxruntime import OnnxRuntimeSession
from edgesmith.runtime.errors import EngineFailed

PICTURE = np.random.default_rng(3).random((1, 3, 8, 8), dtype=np.float32)
ASKED = {"inputs": [tensor("images", PICTURE)]}


class Held:
    """Every run of an engine waits at the gate once it is shut, and its rows are noted."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.rows: list[int] = []
        self.error: Exception | None = None

    def through(self, infer: Callable[..., dict[str, np.ndarray]]) -> Callable[..., dict[str, np.ndarray]]:
        def held(session: OnnxRuntimeSession, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            self.rows.append(len(next(iter(feeds.values()))))
            assert self.gate.wait(120)
            if self.error is not None:
                raise self.error
            return infer(session, feeds)

        return held


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    found = Held()
    monkeypatch.setattr(OnnxRuntimeSession, "infer", found.through(OnnxRuntimeSession.infer))
    yield found
    found.gate.set()


def crowd(server: Server, count: int) -> tuple[ThreadPoolExecutor, list]:
    pool = ThreadPoolExecutor(count)
    return pool, [pool.submit(server.infer, "small", ASKED) for _ in range(count)]


def test_four_times_as_many_as_there_is_room_for_are_answered_or_refused(tmp_path: Path, engine: Held):
    with served(write_small_bundle(tmp_path / "small.edge"), queue=5, workers=1) as server:
        model = server.house.models["small"]
        engine.gate.clear()
        pool, asked = crowd(server, 24)
        wait_until(lambda: model.told["refused"] == 18)
        assert model.inside == 6 and model.crew.waiting == 5 and model.crew.running == 1
        engine.gate.set()
        replies: list[Reply] = [one.result(120) for one in asked]
        pool.shutdown()
        assert Counter(reply.status for reply in replies) == {200: 6, 503: 18}
        for reply in replies:
            if reply.status == 503:
                assert "full queue of 5" in reply.error and 1 <= int(reply.headers["retry-after"]) <= 60
            else:
                np.testing.assert_allclose(outputs_of(reply)["logits"], PICTURE.mean(axis=(2, 3)), rtol=1e-6)
        assert model.inside == 0
        health = server.get("/health").json()["models"][0]
        assert (health["answered"], health["refused"], health["waiting"], health["running"]) == (6, 18, 0, 0)
        assert b'edgesmith_refused_total{model="small",why="queue"} 18.0' in server.get("/metrics").body


def test_what_has_no_answer_in_time_is_refused_and_what_waited_is_never_run(tmp_path: Path, engine: Held):
    with served(write_small_bundle(tmp_path / "small.edge"), queue=5, timeout_s=0.5) as server:
        engine.gate.clear()
        engine.rows.clear()
        pool, asked = crowd(server, 3)
        replies = [one.result(120) for one in asked]
        pool.shutdown()
        assert {reply.status for reply in replies} == {503}
        assert all("no answer within 0.5 s" in reply.error for reply in replies)
        engine.gate.set()
        assert server.infer("small", ASKED).status == 200
        assert engine.rows == [1, 1]  # the one that ran when its time was over, and the last


def test_a_client_that_leaves_is_not_worked_for(tmp_path: Path, engine: Held):
    import http.client
    import json

    with served(write_small_bundle(tmp_path / "small.edge"), queue=5) as server:
        model = server.house.models["small"]
        engine.gate.clear()
        engine.rows.clear()
        lines = []
        for _ in range(3):
            line = http.client.HTTPConnection("127.0.0.1", server.port)
            line.request("POST", "/v2/models/small/infer", json.dumps(ASKED).encode())
            lines.append(line)
        wait_until(lambda: model.inside == 3)
        for line in lines:
            line.close()
        wait_until(lambda: model.inside == 0)
        engine.gate.set()
        assert server.infer("small", ASKED).status == 200
        assert len(engine.rows) == 2


def test_a_request_that_is_too_large_is_told_and_its_sender_hears_it(tmp_path: Path):
    with served(write_small_bundle(tmp_path / "small.edge"), max_mb=0.25) as server:
        for path in ("/v2/models/small/infer", "/v1/models/small/answers"):
            reply = server.post(path, b" " * 300_000)
            assert reply.status == 413 and "larger than 0.25 MB" in str(reply.error)
        assert server.infer("small", ASKED).status == 200

        def parts() -> Iterator[bytes]:
            yield from (b" " * 100_000 for _ in range(4))

        assert server.post("/v2/models/small/infer", parts()).status == 413  # type: ignore[arg-type]


def test_what_waits_runs_together_and_each_gets_its_own_answer(tmp_path: Path, engine: Held):
    images = np.random.default_rng(0).random((7, 3, 32, 32), dtype=np.float32)

    def ask(number: int) -> Reply:
        body, headers = binary_request({"images": (images[number : number + 1], "FP32")})
        return server.post("/v2/models/small_detector/infer", body, headers)

    with served(write_detection_bundle(tmp_path / "d.edge", batch="batch"), batch=8, queue=16) as server:
        model = server.house.models["small_detector"]
        assert model.batch == 4  # as many as the bundle takes
        engine.gate.clear()
        engine.rows.clear()
        with ThreadPoolExecutor(7) as pool:
            first = pool.submit(ask, 0)
            wait_until(lambda: engine.rows == [1])
            others = [pool.submit(ask, number) for number in range(1, 7)]
            wait_until(lambda: model.crew.waiting == 6)
            engine.gate.set()
            found = [one.result(120) for one in (first, *others)]
        assert engine.rows == [1, 4, 2]
        for number, reply in enumerate(found):
            answer = judge(images[number : number + 1])
            np.testing.assert_allclose(outputs_of(reply)["scores"], answer[..., 4:], rtol=1e-5)


def test_one_that_is_wrong_among_those_that_run_together_is_alone_with_its_error(tmp_path: Path, engine: Held):
    good = np.random.default_rng(0).random((1, 3, 32, 32), dtype=np.float32)

    def ask(shape: tuple[int, ...]) -> Reply:
        body, headers = binary_request({"images": (np.resize(good, shape), "FP32")})
        return server.post("/v2/models/small_detector/infer", body, headers)

    with served(write_detection_bundle(tmp_path / "d.edge", batch="batch"), batch=4, queue=16) as server:
        model = server.house.models["small_detector"]
        engine.gate.clear()
        engine.rows.clear()
        with ThreadPoolExecutor(5) as pool:
            first = pool.submit(ask, good.shape)
            wait_until(lambda: engine.rows == [1])
            others = [pool.submit(ask, shape) for shape in (good.shape, (1, 3, 32, 16), (9, 3, 32, 32), good.shape)]
            wait_until(lambda: model.crew.waiting == 4)
            engine.gate.set()
            assert Counter(one.result(120).status for one in (first, *others)) == {200: 3, 400: 2}


def test_a_graph_whose_rows_change_each_other_runs_alone(tmp_path: Path):
    import onnx

    from edgesmith.runtime.bundle.bundle import open_bundle
    from edgesmith.runtime.commands.serve.model import joins

    path = write_detection_bundle(tmp_path / "d.edge", batch="batch")
    assert joins(open_bundle(path), 8) == (4, "")
    assert joins(open_bundle(path), 2) == (2, "")
    assert joins(open_bundle(path), 1) == (1, "")
    model = onnx.load(path / "model.onnx")
    model.graph.node.append(onnx.helper.make_node("DynamicQuantizeLinear", ["images"], ["q", "s", "z"]))
    path = write_detection_bundle(tmp_path / "e.edge", batch="batch", files={"model.onnx": model.SerializeToString()})
    most, why = joins(open_bundle(path), 8)
    assert most == 1 and "one scale from all inputs" in why


def test_an_engine_that_gives_up_is_told_and_is_well_again_when_it_works(tmp_path: Path, engine: Held):
    with served(write_small_bundle(tmp_path / "small.edge")) as server:
        engine.error = EngineFailed("the engine has had enough")
        reply = server.infer("small", ASKED)
        assert (reply.status, reply.error) == (500, "the engine has had enough")
        told = server.get("/health").json()
        assert (told["state"], told["models"][0]["degraded"]) == ("degraded", "the engine has had enough")
        assert b'edgesmith_degraded{model="small"} 1.0' in server.get("/metrics").body
        assert server.get("/v2/health/ready").status == 200
        engine.error = None
        assert server.infer("small", ASKED).status == 200
        assert server.get("/health").json()["state"] == "ready"


def test_a_bug_of_ours_is_told_on_the_side_and_the_server_goes_on(tmp_path: Path, engine: Held, capfd):
    with served(write_small_bundle(tmp_path / "small.edge")) as server:
        engine.error = KeyError("secret place")
        reply = server.infer("small", ASKED)
        assert (reply.status, "secret" in str(reply.error)) == (500, False)
        engine.error = None
        assert server.infer("small", ASKED).status == 200
    assert "secret place" in capfd.readouterr().err


def test_a_bundle_that_does_not_compute_here_what_it_promises_is_not_served(tmp_path: Path):
    from edgesmith.runtime.bundle.golden import golden_bytes
    from edgesmith.runtime.commands.serve.model import SelfTestFailed

    path = write_detection_bundle(tmp_path / "d.edge")
    images = np.random.default_rng(0).random((2, 3, 32, 32), dtype=np.float32)
    answer = 1 - judge(images)
    wrong = golden_bytes({"images": images}, {"boxes": answer[..., :4], "scores": answer[..., 4:]})
    path = write_detection_bundle(tmp_path / "e.edge", files={"golden.npz": wrong})
    with pytest.raises(SelfTestFailed, match="self-test of small_detector does not hold"), served(path) as server:
        assert server.get("/v2/health/ready").status == 503


def test_until_it_is_ready_it_lives_and_takes_nothing(tmp_path: Path, engine: Held):
    engine.gate.clear()  # the self-test waits
    with served(write_small_bundle(tmp_path / "small.edge"), ready=False) as server:
        assert server.get("/v2/health/live").status == 200
        assert server.get("/v2/health/ready").status == server.get("/v2/models/small/ready").status == 503
        reply = server.infer("small", ASKED)
        assert (reply.status, "small is loading" in reply.error) == (503, True)
        assert server.get("/health").json()["state"] == "loading"
        engine.gate.set()
        wait_until(lambda: server.get("/v2/health/ready").status == 200)


def test_the_engine_of_a_server_does_not_wait_in_a_loop(tmp_path: Path):
    with served(write_small_bundle(tmp_path / "small.edge")) as server:
        session = server.house.models["small"].session
        assert not session.spin
        options = session._session.get_session_options()
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
