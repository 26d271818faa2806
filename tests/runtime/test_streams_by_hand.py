"""Times and counts of videos whose container says this or that, specs of tensors at their borders, and bundles in folders."""

from __future__ import annotations

import numpy as np
import pytest

from edgesmith.runtime.bundle.bundle import open_bundle, update_bundle
from edgesmith.runtime.bundle.manifest import TensorSpec
from edgesmith.runtime.coco.average_precision import Group, Matched, average_precisions, mean_precision
from edgesmith.runtime.coco.intervals import bootstrap_95, times_drawn, wilson
from edgesmith.runtime.errors import BundleRefused, UserMistake
from edgesmith.runtime.pictures.depth import value_range
from edgesmith.runtime.pictures.video.film import Video
from edgesmith.runtime.pictures.video.frame import unread
from edgesmith.runtime.tasks.detection.detection import DetectionRule, check_finite, kept_rows
from edgesmith.runtime.tasks.detection.verdict import compare


class Film:
    """A capture: what it says of its rate, count and codec, and its frames as (time in s, whether it can be read)."""

    def __init__(self, fps: float, count: float, frames: list[tuple[float, bool]]) -> None:
        self.says = {5: fps, 7: count, 6: 0.0}  # OpenCV's numbers of the three properties
        self.frames, self.at = frames, -1

    def get(self, key: int) -> float:
        return self.frames[self.at][0] * 1e3 if key == 0 else self.says.get(key, 0.0)

    def grab(self) -> bool:
        self.at += 1
        return self.at < len(self.frames)

    def read(self, *_: object) -> tuple[bool, np.ndarray | None]:
        if not self.grab() or not self.frames[self.at][1]:
            return False, None
        return True, np.full((2, 2, 3), self.at, np.uint8)

    def release(self) -> None:
        pass


def seen(
    fps: float, count: float, frames: list[tuple[float, bool]], name: str = "a.mp4"
) -> list[tuple[int, float | None, int]]:
    """(number, time, frames lost in its place) of everything that the video gives."""
    return [(one.index, one.time_s and round(one.time_s, 4), one.lost) for one in Video(name, Film(fps, count, frames))]


def steady(*read: bool) -> list[tuple[float, bool]]:
    return [(index / 10, good) for index, good in enumerate(read)]


def test_a_whole_video_has_its_frames_in_order():
    assert seen(10, 3, steady(True, True, True)) == [(0, 0.0, 0), (1, 0.1, 0), (2, 0.2, 0)]


def test_a_container_without_times_has_those_of_its_rate():
    frames = [(0.0, True)] * 4
    assert [time for _, time, _ in seen(10, 4, frames)] == [0.0, 0.1, 0.2, 0.3]
    backwards = [(0.0, True), (0.5, True), (0.3, True), (0.8, True)]
    assert [time for _, time, _ in seen(10, 4, backwards)] == [0.0, 0.5, 0.2, 0.8]
    assert [time for _, time, _ in seen(0, 0, [(0.0, True), (-0.3, True)])] == [0.0, 0.0], (
        "without a rate: never below zero"
    )


def test_a_frame_that_is_lost_is_told_in_its_place():
    assert seen(10, 5, steady(True, True, False, True, True)) == [
        (0, 0.0, 0), (1, 0.1, 0), (2, None, 1), (3, 0.3, 0), (4, 0.4, 0)
    ]  # fmt: skip
    assert seen(10, 7, steady(True, False, False, False, True, True, True))[1] == (1, None, 3)


def test_a_decoder_that_tells_too_early_is_corrected_by_the_time():
    """The read before frame 2 fails, and 2 and 3 still come: only 4 was lost."""
    frames = [(0.0, True), (0.1, True), (0.1, False), (0.2, True), (0.3, True), (0.5, True)]
    assert seen(10, 6, frames) == [(0, 0.0, 0), (1, 0.1, 0), (2, 0.2, 0), (3, 0.3, 0), (4, None, 1), (5, 0.5, 0)]


@pytest.mark.parametrize(
    ("name", "count", "read", "missing"),
    [("a.mp4", 5, 4, 1), ("a.mp4", 4, 4, 0), ("a.mkv", 5, 4, 0), ("a.mkv", 7, 4, 3), ("a.AVI", 6, 4, 2), ("a.mkv", 103, 99, 0), ("a.mkv", 104, 99, 5)],
)  # fmt: skip
def test_frames_that_a_container_promised(name, count, read, missing):
    """Some containers count frames; others know a length, to which sound adds."""
    found = seen(10, count, steady(*[True] * read), name)
    assert len(found) == read + bool(missing)
    if missing:
        assert found[-1] == (read, None, missing)
        assert str(unread("x", 3, missing).error).count("frames" if missing > 1 else "frame ") >= 1


def test_a_video_of_which_nothing_can_be_read():
    with pytest.raises(UserMistake, match=r"no frame of the video a\.mp4 can be decoded(.|\n)*promises 9 frames"):
        list(Video("a.mp4", Film(10, 9, steady(False, False))))


@pytest.mark.parametrize(
    ("times", "rate"),
    [([0, 0.1, 0.2, 0.3], 10.0), ([0, 0, 0], 10.0), ([0, 0.104, 0.196], 10.0), ([0, 0.1, 0.15, 0.3], 20.0), ([0, 0.5, 0.501], 60.0),
     ([0.2, 0.2], 10.0), ([], 10.0)],
)  # fmt: skip
def test_the_rate_at_which_a_video_is_saved(times, rate):
    """Its own where every frame is within half a step of its place, else that of the shortest step."""
    film = Film(10, 9, [(time, True) for time in times])
    assert Video("a.mp4", film, lambda: film).rate() == pytest.approx(rate)
    assert Video("a.mp4", film).rate() == 10.0


@pytest.mark.parametrize(
    ("fields", "usable"),
    [
        ({}, True), ({"shape": ["batch", 3, 0]}, True), ({"shape": ["", 3]}, False), ({"shape": [-1]}, False), ({"shape": [True]}, False),
        ({"shape": [1] * 16}, True), ({"shape": [1] * 17}, False), ({"shape": [2**14, 2**14]}, True), ({"shape": [2**14, 2**14 + 1]}, False),
        ({"shape": (3,)}, False), ({"dtype": "float8"}, False), ({"dtype": "bfloat16"}, True), ({"dtype": "uint64"}, True), ({"name": 3}, False),
        ({"shape": ["n", 3], "min": [1, 3], "opt": [2, 3], "max": [2, 3]}, True), ({"shape": ["n", 3], "min": [0, 3]}, False),
        ({"shape": ["n", 3], "min": [1, 2]}, False), ({"shape": ["n", 3], "min": [1]}, False), ({"shape": ["n", 3], "min": [2, 3], "max": [1, 3]}, False),
        ({"shape": ["n", 3], "opt": [3, 3], "max": [2, 3]}, False), ({"shape": ["n", 2**14], "max": [2**14, 2**14]}, True),
        ({"shape": ["n", 2**14], "max": [2**14 + 1, 2**14]}, False), ({"shape": ["n"], "max": [2.0]}, False),
    ],
)  # fmt: skip
def test_the_borders_of_a_tensors_spec(fields, usable):
    told = {"name": "x", "dtype": "float32", "shape": [1, 3], "min": None, "opt": None, "max": None, **fields}
    if usable:
        spec = TensorSpec.from_json(told)
        assert spec.shape == tuple(told["shape"]) and spec.max == (tuple(told["max"]) if told["max"] else None)
        return
    with pytest.raises(BundleRefused, match="a tensor that cannot be"):
        TensorSpec.from_json(told)


def test_limits_of_an_axis():
    spec = TensorSpec("x", "float32", ("n", 3, "m"), (2, 3, 1), None, (5, 3, 9))
    assert [spec.limits(axis) for axis in range(3)] == [(2, 5), (3, 3), (1, 9)]
    assert TensorSpec("x", "float32", ("n",)).limits(0) == (1, None)


def test_values_that_are_no_numbers_are_counted():
    boxes, scores = np.zeros((3, 4), np.float32), np.zeros((3, 2), np.float32)
    check_finite(boxes, scores)
    boxes[0, 1], scores[2] = np.nan, np.inf
    with pytest.raises(UserMistake, match="3 of 18 boxes and scores"):
        check_finite(boxes, scores)
    assert value_range(np.array([1.5, np.nan, -2])) == "values from -2 to 1.5, and NaN or infinity"
    assert (
        value_range(np.array([np.nan])) == "NaN or infinity only"
        and value_range(np.array([], int)) == value_range(np.array(["a"])) == ""
    )
    assert value_range(np.array([True, False])) == "values from 0 to 1"


def test_rows_of_a_graph_that_count():
    rows = np.array(
        [[0, 0, 1, 1, 0.5, 0], [0, 0, 1, 1, 0.9, 1], [0, 0, 1, 1, 0.3, 0], [0, 0, 1, 1, 0.8, -1], [0, 0, 1, 1, 0.7, 2]],
        np.float32,
    )
    found = kept_rows(rows, DetectionRule("graph", 0.3, 0.6, 2))
    assert found.classes.tolist() == [1, 2] and found.scores.tolist() == [np.float32(0.9), np.float32(0.7)], (
        "above 0.3, two at most"
    )


def test_without_suppression_nothing_is_a_flip():
    """Two boxes of one thing: a network that has lost one of them has lost it."""
    judge = np.array([[[0, 0, 100, 100, 0.8], [5, 0, 105, 100, 0.9]]], np.float32)
    other = np.array([[[0, 0, 100, 100, 0.1], [5, 0, 105, 100, 0.9]]], np.float32)
    counts = {nms: compare(judge, other, DetectionRule(nms, 0.3, 0.6, 100), False) for nms in ("none", "runtime")}
    assert (counts["none"]["missing"], counts["none"]["flips"], counts["runtime"]["missing"]) == (1, 0, 0)


def test_average_precision_by_hand():
    """Best first: right, wrong, right; three things to find. Precision 1 up to a third of them, 2/3 up to two thirds."""
    hit = np.tile([[True, False, True]], (10, 1))
    hit[5:] = False  # above an overlap of 0.75 none is right
    rank = np.array([0, 1, 0], np.int32)
    group = Group(np.array([0, 0, 1], np.int32), rank, hit, np.zeros((10, 3), bool), np.array([2, 1], np.int32))
    matched = Matched(2, {"all": [group, None]})
    found = average_precisions(matched)
    expected = (34 * 1 + 33 * 2 / 3) / 101
    np.testing.assert_allclose(found[0, :, 0], [expected] * 5 + [0] * 5)
    assert np.isnan(found[0, :, 1]).all() and mean_precision(found)[0] == pytest.approx(50 * expected)
    drawn = average_precisions(matched, np.array([[2, 0], [0, 2], [1, 1]], np.int32))
    np.testing.assert_allclose(drawn[:, 0, 0], [51 / 101, 1.0, expected])
    unasked = Group(group.picture, rank, hit, np.tile([[False, True, False]], (10, 1)), group.expected)
    np.testing.assert_allclose(average_precisions(Matched(2, {"all": [unasked]}))[0, 0, 0], 67 / 101)
    assert np.isnan(mean_precision(found[:, :, 1:])).all()


def test_intervals_by_hand():
    """As far as draws lie above the value, the value lies above the truth; of a share by Wilson's formula."""
    low, high = bootstrap_95(50.0, np.append(np.linspace(48, 68, 401), np.nan))
    assert (low, high) == (pytest.approx(32.5), pytest.approx(51.5))
    assert all(np.isnan(bootstrap_95(50.0, np.array([np.nan]))))
    for hits, count in ((0, 10), (3, 10), (10, 10), (90, 100)):
        z, share = 1.959964, hits / count
        root = z * np.sqrt(share * (1 - share) / count + z**2 / 4 / count**2)
        ends = [100 * (share + z**2 / 2 / count + sign * root) / (1 + z**2 / count) for sign in (-1, 1)]
        assert wilson(hits, count) == pytest.approx(ends, abs=1e-4)
    times = times_drawn(7)
    assert times.shape == (401, 7) and (times[0] == 1).all() and (times.sum(axis=1) == 7).all() and times.max() > 2


def test_an_update_keeps_files_in_folders_of_folders(make_tiny):
    bundle = make_tiny(files={"a/b/c/deep.txt": b"deep", "top.txt": b"top"})
    update_bundle(bundle, {"top.txt": b"new"})
    again = open_bundle(bundle.path)
    assert (again.path / "a/b/c/deep.txt").read_bytes() == b"deep" and (again.path / "top.txt").read_bytes() == b"new"
