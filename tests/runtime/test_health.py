"""How a run fares: counts and quantiles, a file that is whole, a port of this machine, words for systemd."""

from __future__ import annotations

import json
import os
import socket
import threading
import urllib.error
import urllib.request

import cv2
import numpy as np
import pytest

from edgesmith.runtime.commands.device import health as module
from edgesmith.runtime.commands.device.health import Health, Reporter, place_of
from edgesmith.runtime.commands.device.notify import Notify
from edgesmith.runtime.commands.run import Asked, run
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures import video
from edgesmith.runtime.session.quantiles import RunningMedian

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy this machine uses


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_is_known_of_a_run():
    clock = Clock()
    health = Health("tiny", clock)
    assert health.to_json()["state"] == "starting" and health.to_json()["frame_age_ms"] is None
    health.stage("building", 0.25)
    assert health.to_json()["building"] == 0.25 and health.words == "building the engine, 25%"
    health.facts(backend="tensorrt", degraded="", rebuilds=1, dropped=3)
    for age_ms in range(1, 101):
        health.begin()
        health.answered(float(age_ms), 2.0)
    clock.now += 2
    told = health.to_json()
    assert told.pop("time") > 0
    assert told == {
        "state": "running", "bundle": "tiny", "backend": "tensorrt", "degraded": "", "degraded_s": None, "rolled_back": "", "frames": 100, "dropped": 3, "lost": 0,
        "reconnected": 0, "rebuilds": 1, "since_last_frame_s": 2.0, "frame_age_ms": {"p50": 50.5, "p99": 99.0},
        "infer_ms": {"p50": 2.0, "p99": 2.0}, "uptime_s": 2.0,
    }  # fmt: skip
    clock.now += module.LATE_S
    assert health.to_json()["state"] == "late" and "100 frames, 3 left out" in health.words


def test_one_frame_that_takes_too_long_is_told_from_waiting_for_a_frame():
    clock = Clock()
    health = Health("tiny", clock)
    clock.now += 100
    assert not health.stuck(10)
    health.begin()
    clock.now += 11
    assert health.stuck(10)
    health.answered(None, None)
    assert not health.stuck(10)


def test_quantiles_are_ranks_and_then_within_half_a_percent():
    values = RunningMedian()
    with pytest.raises(ValueError, match="nothing"):
        values.quantile(0.5)
    for value in range(100, 0, -1):
        values.add(value)
    assert [values.quantile(share) for share in (0.001, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    for value in range(101, 5001):
        values.add(value)
    assert [values.quantile(share) for share in (0.5, 0.99, 1.0)] == pytest.approx([2500, 4950, 5000], rel=0.006)


@pytest.mark.parametrize(("where", "said"), [("65536", "0 to 65535"), ("9" * 5000, "0 to 65535"), ("", "cannot be written"), ("nowhere/x.json", "cannot be written"), (".", "cannot be written")])  # fmt: skip
def test_a_place_that_is_none_is_refused(where, said):
    with pytest.raises(UserMistake, match=said):
        place_of(where)


def test_a_file_in_a_bundle_is_refused_and_halves_of_killed_runs_go(tiny, tmp_path):
    with pytest.raises(UserMistake, match="inside the bundle"):
        place_of(str(tiny.path / "health.json"))
    half = tmp_path / "a.abcdefgh.edgesmith.part"
    half.touch()
    place_of(str(tmp_path / "a.json"))
    assert not half.exists()


def test_digits_are_a_port_and_all_else_a_file(tmp_path):
    assert place_of(None) == (None, None) and place_of("8081") == (None, 8081)
    assert place_of(str(tmp_path / "a.json")) == (tmp_path / "a.json", None)


def test_the_file_is_there_from_the_first_moment_to_the_last_and_always_whole(tmp_path):
    path, health = tmp_path / "h.json", Health("tiny")
    with Reporter(health, path, every_s=0.001) as reporter:
        assert json.loads(path.read_bytes())["state"] == "starting"
        reporter.ready()
        health.answered(1.0, 1.0)
        for _ in range(200):
            json.loads(path.read_bytes())
    assert json.loads(path.read_bytes())["state"] == "stopped" and [one.name for one in tmp_path.iterdir()] == [
        "h.json"
    ]
    with pytest.raises(KeyError), Reporter(health, path):
        raise KeyError
    assert json.loads(path.read_bytes())["state"] == "failed"


def test_the_port_answers_on_this_machine_alone_and_says_whether_all_is_well():
    health = Health("tiny")
    with Reporter(health, port=0) as reporter:
        assert reporter._server.server_address[0] == "127.0.0.1"
        url = f"http://127.0.0.1:{reporter.port}/"
        with pytest.raises(urllib.error.HTTPError) as refused:
            OPENER.open(url, timeout=10)
        with refused.value as answer:
            assert answer.code == 503 and json.loads(answer.read())["state"] == "starting"
        health.answered(3.0, 1.0)
        with OPENER.open(url, timeout=10) as answer:
            assert answer.status == 200 and json.loads(answer.read())["frames"] == 1
        with pytest.raises(UserMistake, match="cannot be had"):
            Reporter(health, port=reporter.port)
    with pytest.raises(urllib.error.URLError):
        OPENER.open(url, timeout=10)


@pytest.fixture
def systemd(tmp_path):
    """The socket that systemd would listen on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10)
        yield listening


def test_systemd_hears_of_the_start_of_life_and_of_the_end(tmp_path, systemd):
    health = Health("tiny")
    notify = Notify(
        {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "9000000000", "WATCHDOG_PID": str(os.getpid())}
    )
    assert notify.watchdog_s == 9000
    with Reporter(health, notify=notify, every_s=1000) as reporter:
        assert [systemd.recv(1000) for _ in range(2)] == [
            b"STATUS=starting on ?, 0 frames, 0 left out",
            b"EXTEND_TIMEOUT_USEC=90000000",
        ]
        reporter.ready()
        assert [systemd.recv(1000)[:9] for _ in range(3)] == [b"READY=1", b"STATUS=st", b"WATCHDOG="]
        health.stuck = lambda limit_s: limit_s == 9000
        reporter.say()
        health.stuck = lambda limit_s: False
        reporter.say()
        assert [systemd.recv(1000)[:9] for _ in range(3)] == [b"STATUS=st", b"STATUS=st", b"WATCHDOG="], (
            "a stuck run is silent"
        )
    assert systemd.recv(1000) == b"STOPPING=1"


@pytest.mark.parametrize(
    ("environment", "listens", "watchdog_s"),
    [
        ({}, False, None),
        ({"NOTIFY_SOCKET": "relative"}, False, None),
        ({"WATCHDOG_USEC": "1000000"}, False, None),
        ({"NOTIFY_SOCKET": "/nowhere/at/all"}, True, None),
        ({"NOTIFY_SOCKET": "@abstract", "WATCHDOG_USEC": "1500000"}, True, 1.5),
        ({"NOTIFY_SOCKET": "@abstract", "WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}, True, None),
        ({"NOTIFY_SOCKET": "@abstract", "WATCHDOG_USEC": "soon"}, True, None),
    ],
)
def test_without_systemd_nothing_is_said(environment, listens, watchdog_s):
    notify = Notify(environment)
    assert (notify.listens, notify.watchdog_s) == (listens, watchdog_s)
    notify.ready()  # a socket that nobody has is no reason to stop
    notify.alive()


class Camera(video.Source):
    """Three frames of which two were left out in between, as a camera gives them."""

    kind, fps = "live", 20.0

    def __iter__(self):
        import time

        for index in (0, 3):
            self.dropped += index and 2
            image = np.full((8, 8, 3), 60 * (index + 1), np.uint8)
            yield video.Frame(index, "camera 0", index / 20, image, taken_s=time.perf_counter() - 0.5)


def test_run_tells_the_age_of_frames_and_how_many_were_left_out(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(video, "frames", lambda place, reconnect: Camera("camera 0"))
    path = tmp_path / "health.json"
    assert run(Asked(str(tiny.path), source="0", json_lines=True, health=str(path))) == 0
    out, err = capsys.readouterr()
    first, last = map(json.loads, out.splitlines())
    assert first["age_ms"] >= 500 and (first["dropped"], last["dropped"]) == (0, 2)
    assert "age of a frame when answered" in err and "2 left out" in err and "p99 infer" in err
    told = json.loads(path.read_bytes())
    assert (told["state"], told["frames"], told["dropped"], told["backend"]) == ("stopped", 2, 2, "onnxruntime")
    assert told["frame_age_ms"]["p50"] >= 500


def test_pictures_have_no_age(tiny, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "blue.png"), np.full((8, 8, 3), (255, 0, 0), np.uint8))
    assert run(Asked(str(tiny.path), (str(tmp_path / "blue.png"),), json_lines=True)) == 0
    out, err = capsys.readouterr()
    assert "age_ms" not in json.loads(out) and "age of a frame" not in err
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("edgesmith-health")]


def test_a_place_for_health_that_is_none_is_told_before_anything_is_opened(tiny):
    with pytest.raises(UserMistake, match="--health"):
        run(Asked("no_such.edge", source="0", health="no/such/folder/h.json"))
