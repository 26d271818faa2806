"""Frames from files, folders and a stream, frames into files: all of them, in order, and clear words where something is missing."""

from __future__ import annotations

import shutil
import threading
import time

import cv2
import numpy as np
import pytest
from clips import frames_of, picture, stream, write_clip

from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures import video_file
from edgesmith.runtime.pictures.video import Live, Pictures, Video, frames, live, pictures
from edgesmith.runtime.pictures.video_file import VideoFile

CODING_ERROR = 40  # what the codecs change of a saturated patch's mean, of 255


class Camera:
    """A capture that gives ``count`` frames, one every ``every_s``, then None of them."""

    def __init__(self, count, every_s=0.01, hang_s=0.0):
        self.count, self.every_s, self.hang_s, self.at, self.released = count, every_s, hang_s, 0, False

    def read(self, *into):
        time.sleep(self.every_s if self.at < self.count else self.hang_s)
        self.at += 1
        return (True, np.full((4, 6, 3), self.at - 1, np.uint8)) if self.at <= self.count else (False, None)

    def get(self, prop):
        return {cv2.CAP_PROP_FPS: 30.0}.get(prop, 0.0)

    def release(self):
        self.released = True


class Turns(Camera):
    """A camera that gives the frames it is told to, the first one untold."""

    def __init__(self, count):
        super().__init__(count, every_s=0)
        self.asked, self.told, self.news = 0, 1, threading.Condition()

    def read(self, *into):
        with self.news:
            self.asked += 1
            self.news.notify_all()
            self.news.wait_for(lambda: self.at < self.told or self.at >= self.count)
        return super().read(*into)

    def give(self, frames):
        """Returns when they have been taken, which is when the next one is asked for, or the camera is let go."""
        with self.news:
            self.told += frames
            self.news.notify_all()
            self.news.wait_for(lambda: self.asked > self.told or self.released)

    def release(self):
        with self.news:
            super().release()
            self.news.notify_all()


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".webm"])
def test_every_frame_of_a_file_in_order(tmp_path, suffix):
    with frames(write_clip(tmp_path / f"clip{suffix}", frames=12)) as source:
        assert (type(source), source.kind, source.fps) == (Video, "video", 10)
        found = list(source)
    assert [frame.index for frame in found] == list(range(12)) and source.notes == []
    assert [frame.time_s for frame in found] == pytest.approx([index / 10 for index in range(12)])
    for frame in found:
        expected = picture(frame.index)
        where = expected[:, :, 0] > 0
        assert frame.image.shape == expected.shape and frame.image.dtype == np.uint8
        assert frame.image[where].mean(axis=0) == pytest.approx([255, 0, 0], abs=CODING_ERROR)  # RGB, not BGR
        assert frame.image[~where].mean() < CODING_ERROR


def test_a_file_that_breaks_off_is_read_as_far_as_it_goes(tmp_path):
    """An mp4 whose second half was overwritten, and an avi whose copy stopped at two thirds."""
    data = bytearray(write_clip(tmp_path / "whole.mp4", frames=40).read_bytes())
    index_at = data.rindex(b"moov")
    data[index_at // 2 : index_at - 4] = bytes(index_at - 4 - index_at // 2)
    (tmp_path / "half.mp4").write_bytes(data)
    data = write_clip(tmp_path / "whole.avi", frames=40).read_bytes()
    (tmp_path / "half.avi").write_bytes(data[: len(data) * 2 // 3])
    for name in ("half.mp4", "half.avi"):
        with frames(tmp_path / name) as source:
            *found, end = list(source)
        assert 5 < len(found) < 36 and f"breaks off: {len(found)} of the 40 frames" in source.notes[0]
        assert all(frame.image is not None for frame in found)
        assert end.image is None and (end.index, end.lost) == (found[-1].index + 1, 40 - len(found))


def test_a_count_that_is_not_kept_is_told(tmp_path):
    with frames(write_clip(tmp_path / "clip.mp4", frames=12)) as source:
        source.count = 20
        assert [frame.lost for frame in source] == [0] * 12 + [8]
    assert source.notes == [f"{tmp_path / 'clip.mp4'} breaks off: 12 of the 20 frames it promises can be read"]


def test_a_container_without_a_frame(tmp_path):
    source = Video("empty.mp4", Camera(0))
    with pytest.raises(UserMistake, match=r"(?s)no frame of the video empty.mp4.*codec"):
        list(source)


def test_a_frame_of_another_size_is_fitted_into_the_file(tmp_path):
    out = VideoFile(tmp_path / "out.avi", 10)
    out.add(np.full((40, 60, 3), 255, np.uint8))
    out.add(np.full((60, 60, 3), 255, np.uint8))  # square: as high as the frame, black at both sides
    out.add(np.full((20, 30, 3), 255, np.uint8))
    assert out.finish()
    one, square, small = frames_of(tmp_path / "out.avi")
    assert one.shape == square.shape == small.shape == (40, 60, 3)
    assert one.min() > 200 and small.min() > 200
    assert square[:, :8].max() < 60 and square[:, -8:].max() < 60 and square[:, 14:46].min() > 200


def test_a_size_that_changes_in_mid_stream(tmp_path):
    """Two MPEG streams of different sizes in one file, as from a sender that changes its resolution: OpenCV scales the
    later frames to the first size, so boxes stay in the pixels of one picture."""
    first, second = (write_clip(tmp_path / f"{n}.mpg", 6, size, 25) for n, size in enumerate([(64, 96), (96, 160)]))
    (tmp_path / "both.mpg").write_bytes(first.read_bytes() + second.read_bytes())
    with frames(tmp_path / "both.mpg") as source:
        found = list(source)
    assert len(found) >= 10  # the decoder may keep one frame of each half
    assert {frame.image.shape for frame in found} == {(64, 96, 3)}


def test_folders_globs_and_lists_are_pictures_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.png", "a.jpg", "c.PNG", "notes.txt"):
        cv2.imwrite(name, np.zeros((4, 4, 3), np.uint8)) if name != "notes.txt" else (tmp_path / name).write_text("x")
    (tmp_path / "d.png").mkdir()
    assert pictures(["."]).paths == ["a.jpg", "b.png", "c.PNG"]
    assert frames("*.png").paths == ["b.png"] and frames(["c.PNG", "a.jpg"]).paths == ["c.PNG", "a.jpg"]
    (tmp_path / "[1].jpg").write_bytes((tmp_path / "a.jpg").read_bytes())
    assert frames("[1].jpg").paths == ["[1].jpg"]  # a file of that name is no pattern
    source = pictures(["b.png", "a.jpg"])
    assert isinstance(source, Pictures) and source.count == 2 and source.fps is None
    assert [(frame.index, frame.name, frame.time_s, frame.error) for frame in source] == [
        (0, "b.png", None, None),
        (1, "a.jpg", None, None),
    ]


def test_a_broken_picture_is_a_frame_with_its_error(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"nothing")
    cv2.imwrite(str(tmp_path / "good.png"), np.zeros((4, 4, 3), np.uint8))
    bad, good = list(pictures([str(tmp_path / "bad.png"), str(tmp_path / "good.png")]))
    assert bad.image is None and "cannot decode" in str(bad.error) and good.image.shape == (4, 4, 3)


def test_a_missing_picture_is_told_before_any_is_read(tmp_path):
    cv2.imwrite(str(tmp_path / "good.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UserMistake, match="gone.png"):
        pictures([str(tmp_path / "good.png"), str(tmp_path / "gone.png")])


def test_a_slow_reader_of_a_camera_gets_the_newest_frame():
    camera = Turns(60)
    with Live("camera 0", camera) as source:
        seen = []
        for frame in source:
            seen.append(frame.index)
            assert frame.image.max() == frame.index  # the number is that of the picture
            camera.give(10)
    assert seen == [0, 10, 20, 30, 40, 50, 59], "a queue, not the newest frame"
    assert source.notes == ["camera 0 ended after 60 frames"]


def test_a_camera_that_hangs_is_told_in_time():
    camera = Turns(5)
    source = Live("camera 0", camera, stall_s=0.3)
    found = iter(source)
    assert next(found).index == 0
    with pytest.raises(UserMistake, match=r"(?s)camera 0 stopped giving frames.*1 frames, then nothing"):
        next(found)
    assert camera.asked == 2 and not camera.released, "told while it still hangs"
    camera.give(5)


def test_a_camera_that_hangs_while_the_model_works_has_not_ended():
    source = Live("camera 0", Camera(1, hang_s=0.3), stall_s=0.3)
    found = iter(source)
    assert next(found).index == 0
    source._reader.join()  # its last read hung and gave up meanwhile, and nothing is left to wait for
    with pytest.raises(UserMistake, match="camera 0 stopped giving frames"):
        next(found)


def test_a_camera_that_never_gives_a_frame():
    with (
        Live("camera 0", Camera(0), stall_s=0.3) as source,
        pytest.raises(UserMistake, match="camera 0 gives no frames"),
    ):
        list(source)


def test_leaving_a_camera_early_frees_it():
    camera = Camera(10_000)
    with Live("camera 0", camera) as source:
        for frame in source:
            if frame.index > 3:
                break
    assert camera.released and not source._reader.is_alive()


def test_a_stream_over_the_network():
    with stream(frames=30, every_s=0.01) as url, frames(url) as source:
        assert (type(source), source.kind) == (Live, "live")
        found = []
        for frame in source:
            found.append(frame.index)
            source._reader.join()  # slower than all the others
    assert found[-1] == 29 and len(found) <= 2 and "ended after 30 frames" in source.notes[0]


def test_a_stream_that_hangs_is_ended_in_words(monkeypatch):
    monkeypatch.setattr(live, "STALL_S", 0.5)
    with (
        stream(frames=10, every_s=0.01, hang_s=10) as url,
        frames(url) as source,
        pytest.raises(UserMistake, match="stopped giving frames"),
    ):
        list(source)


def test_a_password_is_not_printed():
    with pytest.raises(UserMistake) as told:
        frames("rtsp://user:secret@127.0.0.1:9/live")
    assert "secret" not in str(told.value) and "rtsp://127.0.0.1:9/live" in str(told.value)


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".webm"])
@pytest.mark.parametrize("size", [(48, 64), (49, 65)])
def test_a_written_video_holds_what_was_added(tmp_path, suffix, size):
    path = tmp_path / f"out{suffix}"
    out = VideoFile(path, 12.5)
    for index in range(9):
        out.add(np.full((*size, 3), (index * 25, 0, 0), np.uint8))
    assert not path.exists(), "a half-written video stands under its name"
    assert out.finish() and [entry.name for entry in tmp_path.iterdir()] == [path.name]
    written = frames_of(path)
    assert len(written) == 9 and {frame.shape[:2] for frame in written} <= {size, (48, 64)}
    for index, frame in enumerate(written):
        assert frame.mean(axis=(0, 1)) == pytest.approx([index * 25, 0, 0], abs=12)  # coded in 4:2:0
    assert frames(path).fps == 12.5 and path.stat().st_mode & 0o777 == 0o644


def test_a_live_video_plays_as_long_as_it_took(tmp_path):
    out = VideoFile(tmp_path / "out.avi", 10, timed=True)
    for time_s, value in ((0.0, 0), (0.5, 100), (0.52, 200), (1.0, 250)):
        out.add(np.full((16, 16, 3), value, np.uint8), time_s)
    assert out.finish()
    levels = [round(float(frame.mean()), -1) for frame in frames_of(tmp_path / "out.avi")]
    assert len(levels) == 11 and levels[0] == 0 and levels[6] == 200 and levels[-1] == 250


def test_nothing_added_leaves_nothing(tmp_path):
    assert not VideoFile(tmp_path / "out.mp4", 10).finish() and list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_before_and_in_the_middle(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    free = [usage.free]
    monkeypatch.setattr(video_file.shutil, "disk_usage", lambda _: usage._replace(free=free[0]))
    out = VideoFile(tmp_path / "out.mp4", 10)
    out.add(picture(0))
    free[0] = 1000
    with pytest.raises(UserMistake, match=r"(?s)is full.*0 MB free"):
        for index in range(1, 100):
            out.add(picture(index))
    assert 1 < out.frames < 100
    assert out.finish() and len(frames_of(tmp_path / "out.mp4")) == out.frames  # what fitted can be played
    with pytest.raises(UserMistake, match="is full"):
        VideoFile(tmp_path / "next.mp4", 10)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.mp4"]


def test_a_video_that_did_not_reach_the_disk_is_not_called_saved(tmp_path):
    out = VideoFile(tmp_path / "out.mp4", 10)
    out.add(picture(0))
    out._writer.release()
    out._partial.write_bytes(out._partial.read_bytes()[:100])  # what is left when the last write fails
    with pytest.raises(UserMistake, match="could not be written"):
        out.finish()
    assert list(tmp_path.iterdir()) == []


def test_frames_that_no_encoder_takes(tmp_path):
    out = VideoFile(tmp_path / "out.mp4", 10)
    with pytest.raises(UserMistake, match="no encoder for frames of 20000 x 2"):
        out.add(np.zeros((2, 20000, 3), np.uint8))
    assert not out.finish() and list(tmp_path.iterdir()) == []


class Stalling(Camera):
    """A video behind a URL: ``count`` of the ``promised`` frames come, then reads that give nothing after ``hang_s``."""

    def __init__(self, count, promised, hang_s):
        super().__init__(count, 0, hang_s)
        self.promised = promised

    def get(self, prop):
        return float(self.promised) if prop == cv2.CAP_PROP_FRAME_COUNT else super().get(prop)


@pytest.mark.parametrize(
    ("name", "count", "promised"),
    [
        ("http://h/a.mp4", 5, 9), ("http://h/a.webm?x=***", 8, 9), ("http://h/a.mpg", 9, 4), ("http://h/live", 0, 9),
        ("http://h/a.ts", 99, 100),
    ],
)  # fmt: skip
def test_a_video_of_the_network_that_stalls_is_a_mistake_and_its_frames_are_kept(name, count, promised):
    found = []
    with pytest.raises(UserMistake, match=f"(?s){'stopped giving' if count else 'gives no'} frames.*nothing for 0 s"):
        for frame in Video(name, Stalling(count, promised, 0.1), stall_s=0.1):
            found.append(frame)  # noqa: PERF402 what came before the error counts
    assert [frame.index for frame in found] == list(range(count))


@pytest.mark.parametrize(
    "source",
    [
        Video("http://h/a.mp4?x=.webm", Stalling(9, 9, 0.06), stall_s=0.1),  # all that it counts is there
        Video("http://h/a.webm", Stalling(9, 9, 0.0), stall_s=0.1),  # it ends at once
        Video("a.mpg", Stalling(9, 9, 0.06), again=lambda: None, stall_s=0.01),  # a file takes its time
    ],
)
def test_a_video_that_ends_does_not_stall(source):
    assert len([frame for frame in source if frame.image is not None]) == 9


def test_an_address_with_a_query_counts_its_frames_too():
    *found, end = list(Video("http://h/a.mp4?token=***", Stalling(58, 60, 0.0)))
    assert len(found) == 58 and end.lost == 2
