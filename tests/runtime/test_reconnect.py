"""``--reconnect``: a camera or stream that is lost is opened again, with growing waits, counted and told; no real time passes."""

import json

import numpy as np
import pytest
from clips import stream, write_clip
from command_line import edgesmith, on_device
from detection_bundle import write_detection_bundle

from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures import video
from edgesmith.runtime.pictures.video import Live, frames
from edgesmith.runtime.pictures.video.frame import Frame, Source, stalled, unread
from edgesmith.runtime.pictures.video.reconnect import GIVE_UP_S, LONGEST_WAIT_S, Reconnect

IMAGE = np.zeros((32, 32, 3), np.uint8)


class Clock:
    def __init__(self):
        self.now, self.slept = 0.0, []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


class Connection(Source):
    """Gives ``count`` frames, one a second, then ends, or stalls for ten seconds."""

    kind = "live"

    def __init__(self, clock, count, stalls=False, lost=0):
        super().__init__("camera 0")
        self.clock, self.count, self.stalls, self.lost, self.closed = clock, count, stalls, lost, False

    def __iter__(self):
        for index in range(self.count):
            self.clock.now += 1
            if index == 1 and self.lost:
                yield unread(self.name, 1, self.lost)
            yield Frame(index + (self.lost if index else 0), self.name, float(index), IMAGE)
        if self.stalls:
            self.clock.now += 10
            raise stalled(self.name, self.count, 10, 10)

    def close(self):
        self.closed = True


def opening(clock, *connections):
    """What opens the source anew: a count of frames is a connection, None one that fails, the last is repeated."""
    left = list(connections)
    made = []

    def again():
        one = left.pop(0) if len(left) > 1 else left[0]
        if one is None:
            raise UserMistake("cannot open the camera 0")
        made.append(one if isinstance(one, Connection) else Connection(clock, one))
        return made[-1]

    return again, made


def test_frames_go_on_and_the_outage_is_told():
    clock = Clock()
    first = Connection(clock, 3, stalls=True, lost=2)
    again, made = opening(clock, None, None, 2, None)
    source = Reconnect(first, again, clock.sleep, clock)
    found = []
    for frame in source:
        found.append(frame)
        if len(found) == 7:
            break
    assert [(f.index, f.lost, f.image is not None) for f in found[:4]] == [
        (0, 0, True), (1, 2, False), (3, 0, True), (4, 0, True),
    ]  # fmt: skip
    outage, *behind = found[4:]
    assert outage.outage_s == pytest.approx(0 + 1 + 2 + 1) and outage.error is None and source.outages == 1
    assert [f.index for f in behind] == [5, 6]
    assert behind[0].time_s == pytest.approx(clock.now - 1) and behind[1].time_s == pytest.approx(clock.now)
    assert first.closed and clock.slept == [0, 1, 2]
    source.close()
    assert made[0].closed


def test_waits_grow_and_it_gives_up_in_words():
    clock = Clock()
    again, _ = opening(clock, None)
    source = Reconnect(Connection(clock, 2), again, clock.sleep, clock)
    found = []
    with pytest.raises(UserMistake, match=r"(?s)camera 0 was lost and does not come back.*cannot open.*within 300 s"):
        for frame in source:
            found.append(frame)  # noqa: PERF402 what came before the error counts
    assert (
        len(found) == 2
        and clock.slept[:7] == [0, 1, 2, 4, 8, 16, LONGEST_WAIT_S]
        and max(clock.slept) == LONGEST_WAIT_S
    )
    assert GIVE_UP_S - LONGEST_WAIT_S <= sum(clock.slept) <= GIVE_UP_S


def test_a_connection_without_a_frame_is_no_return():
    clock = Clock()
    again, made = opening(clock, 0)
    source = Reconnect(Connection(clock, 1), again, clock.sleep, clock)
    with pytest.raises(UserMistake, match="does not come back"):
        list(source)
    assert source.outages == 0 and len(made) > 5 and all(one.closed for one in made)


def test_it_comes_back_again_and_again():
    clock = Clock()
    again, _ = opening(clock, 1)
    found = []
    for frame in (source := Reconnect(Connection(clock, 1), again, clock.sleep, clock)):
        found.append(frame)
        if source.outages == 20:
            break
    assert [f.index for f in found if f.image is not None] == list(range(20)) and set(clock.slept) == {0}


@pytest.fixture
def bundle(tmp_path):
    return str(write_detection_bundle(tmp_path / "d.edge"))


@pytest.mark.parametrize("command", [edgesmith, on_device])
@pytest.mark.parametrize("form", ["--json", "--json-lines"])
def test_the_commands_tell_and_count_it(bundle, monkeypatch, command, form):
    clock = Clock()
    again, _ = opening(clock, 2)
    monkeypatch.setattr(video, "_reconnecting", lambda _: Reconnect(Connection(clock, 2), again, clock.sleep, clock))
    answer = command("run", bundle, "--source", "0", "--reconnect", "--max-frames", "5", form)
    assert answer.code == 0, answer.err
    rows = json.loads(answer.out) if form == "--json" else [json.loads(line) for line in answer.out.splitlines()]
    assert [row.get("reconnected", 0) for row in rows] == [0, 0, 1, 0, 0, 2, 0]
    assert rows[2] == {"source": "camera 0", "frame": 2, "reconnected": 1, "outage_s": 1.0}
    assert "camera 0 was lost for 1.0 s and is there again, 2 times so far" in answer.err


def test_given_up_is_2_and_what_came_is_kept(tmp_path, bundle, monkeypatch):
    clock = Clock()
    again, _ = opening(clock, None)
    monkeypatch.setattr(video, "_reconnecting", lambda _: Reconnect(Connection(clock, 4), again, clock.sleep, clock))
    place = str(tmp_path / "out.mp4")
    answer = edgesmith("run", bundle, "--source", "0", "--reconnect", "--json", "--save", place)
    *told, last = json.loads(answer.out)
    assert answer.code == 2 and len(told) == 4 and "does not come back" in last["error"]["what"]
    assert f"kept {place}: " in answer.err


def test_a_stream_of_the_network_is_opened_again(monkeypatch):
    """A real connection that ends after three frames; the server is still there."""
    with stream(3) as address, frames(address, reconnect=True) as source:
        found = []
        for frame in source:
            found.append(frame)
            if source.outages == 2 and frame.image is not None:
                break
    assert isinstance(source, Reconnect) and [f.index for f in found] == sorted(f.index for f in found)


def test_without_it_a_lost_stream_ends():
    with stream(3) as address, frames(address) as source:
        assert isinstance(source, Live) and len(list(source)) <= 3


@pytest.mark.parametrize("command", [edgesmith, on_device])
def test_what_has_an_end_of_its_own_is_refused(tmp_path, bundle, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4", frames=2)
    for words in (["--source", "clip.mp4"], ["clip.png"], ["-"]):
        answer = command("run", bundle, *words, "--reconnect")
        assert answer.code == 2 and (
            "--reconnect is for cameras and streams" in answer.err or "standard input" in answer.err
        )
