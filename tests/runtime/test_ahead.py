"""Several answers at once: each frame gets its own, in the order of the frames, and nothing is read far ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgesmith.runtime.commands.running.ahead import answered, at_once
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.video.frame import Frame, Source, pictures
from edgesmith.runtime.pictures.video.live import Live
from edgesmith.runtime.pictures.video.pipe import Pipe
from edgesmith.runtime.pictures.video.reconnect import Reconnect


class Numbers(Source):
    """Frames whose picture is their number; those in ``broken`` have none."""

    def __init__(self, count: int, broken: frozenset[int] = frozenset()) -> None:
        super().__init__("numbers")
        self.count, self.broken, self.read = count, broken, 0

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.count or 0):
            self.read += 1
            there = index not in self.broken
            image = np.full((1, 1, 3), index, np.uint8) if there else None
            yield Frame(index, "numbers", None, image, None if there else UserMistake("no picture"))


def value(image: np.ndarray) -> int:
    return int(image[0, 0, 0])


@pytest.mark.parametrize("calls", [0, 1, 2, 5])
def test_each_frame_has_its_own_answer_in_the_order_of_the_frames(calls: int):
    lag = threading.Event()

    def answer(image: np.ndarray) -> int:
        lag.wait(0.01 if value(image) % 3 == 0 else 0)  # the first of three is the last to be done
        return value(image)

    found = list(answered(Numbers(30, frozenset([4, 7])), answer, calls))
    assert [frame.index for frame, _ in found] == list(range(30))
    assert [told for _, told in found] == [None if index in (4, 7) else index for index in range(30)]


def test_two_answers_are_made_at_the_same_time():
    both = threading.Barrier(2, timeout=20)
    found = list(answered(Numbers(4), lambda image: both.wait() >= 0 and value(image), 2))
    assert [told for _, told in found] == [0, 1, 2, 3]


def test_no_more_are_made_at_once_than_was_asked():
    now, most, lock = 0, 0, threading.Lock()

    def answer(_: np.ndarray) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.005)
        with lock:
            now -= 1

    list(answered(Numbers(20), answer, 2))
    assert most == 2


def test_what_is_read_ahead_is_bounded_and_ends_with_who_asks():
    source = Numbers(100)
    found = answered(source, value, 2)
    next(found)
    assert source.read <= 5
    found.close()
    assert source.read <= 5 and not [one for one in threading.enumerate() if one.name.startswith("edgesmith-run")]


def test_a_mistake_comes_in_its_turn():
    def answer(image: np.ndarray) -> int:
        if value(image) == 3:
            raise UserMistake("the third is wrong")
        return value(image)

    seen = []
    with pytest.raises(UserMistake, match="the third"):
        for frame, _ in answered(Numbers(10), answer, 2):
            seen.append(frame.index)
    assert seen == [0, 1, 2]


def test_the_frames_in_front_of_where_a_source_breaks_off_get_their_answers():
    class Broken(Numbers):
        def __iter__(self) -> Iterator[Frame]:
            yield from super().__iter__()
            raise UserMistake("the disk went away")

    seen = []
    with pytest.raises(UserMistake, match="the disk"):
        for _, told in answered(Broken(3), value, 2):
            seen.append(told)
    assert seen == [0, 1, 2]


def test_picture_files_are_read_by_the_threads_and_say_what_is_broken(tmp_path: Path):
    for index in range(6):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((4, 4, 3), index, np.uint8))
    (tmp_path / "3.png").write_bytes(b"no picture")
    threads: set[str] = set()
    source = pictures([str(tmp_path)])
    plain = list(source)
    read = source._read
    source._read = lambda *which: (threads.add(threading.current_thread().name), read(*which))[1]  # type: ignore[method-assign,func-returns-value]
    found = list(answered(source, value, 2))
    assert [told for _, told in found] == [0, 1, 2, None, 4, 5]
    assert [frame.error is None for frame, _ in found] == [frame.error is None for frame in plain]
    assert threads and all(name.startswith("edgesmith-run") for name in threads)


def test_what_waits_for_nobody_is_read_ahead_and_what_may_wait_for_an_answer_is_not():
    import io

    class Camera(Numbers):
        kind = "live"

    assert Numbers(1).ahead and not Camera(1).ahead and not Pipe(io.BytesIO()).ahead
    assert Live.kind == Reconnect.kind == "live"


def test_so_many_calls_fit_the_processors(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)), raising=False)
    found: list[Any] = [at_once(threads) for threads in (None, 1, 2, 4, 6, 8)]
    assert found == [6, 6, 3, 1, 1, 1]


def test_a_call_reads_the_frame_it_was_made_for():
    calls = list(Numbers(3).reads())
    assert all(isinstance(call, partial) for call in calls)
    assert [call().index for call in reversed(calls)] == [2, 1, 0]
