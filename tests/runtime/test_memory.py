"""The memory of frames: used again when they are done with, never before, and nothing of a frame's size beside it."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.clips import frames_of, write_clip

from edgesmith.runtime.backends.load import load
from edgesmith.runtime.commands.running.ahead import answered
from edgesmith.runtime.pictures.video import frames
from edgesmith.runtime.pictures.video.memory import MOST, Memory

BUNDLE = Path(__file__).parents[1] / "data" / "bundles" / "classifier_fp32"
SIZE = (360, 640)
FRAME_BYTES = SIZE[0] * SIZE[1] * 3


def test_a_piece_that_came_back_is_given_again():
    memory = Memory()
    first = memory.take((4, 6, 3))
    assert first.shape == (4, 6, 3) and first.dtype == np.uint8 and first.flags.c_contiguous
    assert not np.shares_memory(first, memory.take((4, 6, 3)))
    memory.back(first)
    smaller = memory.take((2, 6, 3))
    assert np.shares_memory(first, smaller)
    memory.back(smaller)
    assert np.shares_memory(first, memory.take((4, 6, 3)))


def test_the_same_piece_is_never_given_twice():
    memory = Memory()
    first = memory.take((4, 4, 3))
    memory.back(first)
    memory.back(first)
    assert not np.shares_memory(memory.take((4, 4, 3)), memory.take((4, 4, 3)))


def test_what_is_no_piece_is_left_alone():
    memory, foreign = Memory(), np.frombuffer(bytes(48), np.uint8).reshape(4, 4, 3)
    memory.back(foreign)
    assert not np.shares_memory(memory.take((4, 4, 3)), foreign)


def test_no_more_than_so_many_wait_and_the_largest_stay():
    memory = Memory()
    pieces = [memory.take((size, 1, 3)) for size in range(1, MOST + 4)]
    for piece in pieces:
        memory.back(piece)
    assert len(memory._free) == MOST and min(piece.size for piece in memory._free) == 12


@pytest.mark.parametrize("calls", [0, 1, 3])
def test_each_answer_is_of_its_own_frame_though_the_memory_is_used_again(tmp_path: Path, calls: int):
    clip = write_clip(tmp_path / "clip.mp4", frames=30)
    want = [int(image.sum()) for image in frames_of(clip)]
    places: set[int] = set()
    with frames(clip) as source:
        source.memory = Memory()
        found = []
        for frame, answer in answered(source, lambda image: int(image.sum()), calls):
            assert answer == int(frame.image.sum())  # still the same when its turn comes
            places.add(frame.image.ctypes.data)
            found.append(answer)
    assert found == want
    assert len(places) <= calls + 3


def test_who_keeps_frames_gets_each_in_memory_of_its_own(tmp_path: Path):
    clip = write_clip(tmp_path / "clip.mp4", frames=5)
    with frames(clip) as source:
        kept = [frame.image for frame in source]
    for found, want in zip(kept, frames_of(clip), strict=True):
        np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("kind", ["video", "pictures"])
def test_nothing_of_a_frames_size_is_allocated_once_it_runs(tmp_path: Path, kind: str):
    """Python's and NumPy's allocations, OpenCV's into arrays among them; of a picture file those of its decoder are left."""
    if kind == "video":
        place = write_clip(tmp_path / "clip.mp4", frames=40, size=SIZE)
    else:
        place = tmp_path
        for index in range(40):
            cv2.imwrite(str(tmp_path / f"{index:02}.png"), np.full((*SIZE, 3), index, np.uint8))
    decoded = FRAME_BYTES if kind == "pictures" else 0
    with load(BUNDLE, threads=1) as session, frames(place) as source:
        source.memory = Memory()
        answers = answered(source, lambda image: session(image), 0)
        tracemalloc.start()
        try:
            for _ in range(20):
                next(answers)
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(10):
                next(answers)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            answers.close()
    assert peak - before < decoded + FRAME_BYTES // 2
