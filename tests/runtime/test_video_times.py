"""Videos of no constant rate and videos with damage: every readable frame, its number, its time, and what became of the others."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import frames_of, picture, stream
from command_line import edgesmith
from damage import damage
from detection_bundle import write_detection_bundle

from edgesmith.runtime.pictures.video import Live, frames
from edgesmith.runtime.pictures.video import live as live_module
from edgesmith.runtime.pictures.video_file import VideoFile

CLIPS = Path(__file__).parents[1] / "data" / "clips"
TIMES_MS = json.loads((CLIPS / "times_ms.json").read_text(encoding="utf-8"))  # read with PyAV (tools/varying_clips.py)
KINDS = [("MJPG", ".avi"), ("MJPG", ".mkv"), ("mp4v", ".mp4"), ("mp4v", ".mkv"), ("mp4v", ".avi")]


def bar(image: np.ndarray) -> int:
    """The left edge of what is red."""
    return int(np.argmax(image[:, :, 0].mean(axis=0) > 100))


def clip(path: Path, codec: str, count: int = 30) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), 25, (96, 64))
    assert writer.isOpened()
    for index in range(count):
        writer.write(picture(index)[:, :, ::-1])
    writer.release()
    return path


@pytest.mark.parametrize("name", TIMES_MS)
def test_times_are_the_containers_own(name: str):
    with frames(CLIPS / name) as source:
        found = list(source)
    assert [frame.index for frame in found] == list(range(10)) and source.notes == []
    assert [frame.time_s * 1e3 for frame in found] == pytest.approx(TIMES_MS[name], abs=2)
    assert [bar(frame.image) for frame in found] == pytest.approx([index * 8 for index in range(10)], abs=2)


@pytest.mark.parametrize("name", TIMES_MS)
def test_a_saved_video_keeps_the_times(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    """On its grid each picture stands from its time to the next one's."""
    monkeypatch.chdir(tmp_path)
    write_detection_bundle(tmp_path / "d.edge")
    answer = edgesmith("run", "d.edge", "--source", str(CLIPS / name), "--save", "out.avi", "--score", "1", "--json")
    assert answer.code == 0, answer.err
    assert [entry["time_s"] * 1e3 for entry in json.loads(answer.out)] == pytest.approx(TIMES_MS[name], abs=2)
    with frames("out.avi") as source:
        step_ms = 1000 / source.fps
        edges = [bar(frame.image) for frame in source]
    assert 20 < step_ms <= 40 and len(edges) == pytest.approx(4360 / step_ms + 1, abs=1)
    changes = [0, *(place for place in range(1, len(edges)) if edges[place] > edges[place - 1])]
    assert [place * step_ms for place in changes] == pytest.approx(TIMES_MS[name], abs=step_ms / 2 + 1)


@pytest.mark.parametrize(("codec", "suffix"), KINDS)
@pytest.mark.parametrize("lost", [{7}, {7, 8, 9, 20}, {0}, {29}, set(range(3, 25))], ids=str)
def test_every_frame_that_can_be_read_is_answered(tmp_path: Path, codec: str, suffix: str, lost: set[int]):
    path = damage(clip(tmp_path / f"clip{suffix}", codec), codec, lost)
    with frames(path) as source:
        found = list(source)
    there = [frame for frame in found if frame.image is not None]
    assert [frame.index for frame in there] == sorted(set(range(30)) - lost)
    assert [frame.time_s for frame in there] == pytest.approx([frame.index / 25 for frame in there], abs=0.002)
    gaps = [number for frame in found if frame.lost for number in range(frame.index, frame.index + frame.lost)]
    unknown = (
        {29} if suffix == ".mkv" else set()
    )  # it does not count its frames: an end that is short may be that of the sound
    assert gaps == sorted(lost - unknown) and all(frame.error for frame in found if frame.lost)
    if codec == "MJPG":  # each of its pictures stands alone
        assert [bar(frame.image) for frame in there] == pytest.approx([bar(picture(f.index)) for f in there], abs=2)


def test_losses_are_in_the_exit_code_and_in_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    write_detection_bundle(tmp_path / "d.edge")
    damage(clip(tmp_path / "clip.avi", "MJPG"), "MJPG", {7, 8, 20})
    lines = edgesmith("run", "d.edge", "--source", "clip.avi", "--json-lines", "--save", "out.avi")
    told = [json.loads(line) for line in lines.out.splitlines()]
    assert lines.code == 2 and "3 of 30 frames could not be read" in lines.err
    assert [(entry["frame"], entry["lost"]) for entry in told if "lost" in entry] == [(7, 2), (20, 1)]
    assert all("could not be read" in entry["error"]["what"] for entry in told if "lost" in entry)
    assert len(told) == 29 and len(frames_of(tmp_path / "out.avi")) == 30  # a picture stays in the place of lost ones
    whole = edgesmith("run", "d.edge", "--source", "clip.avi", "--json")
    assert whole.code == 2 and [entry.get("frame") for entry in json.loads(whole.out)] == [e["frame"] for e in told]
    few = edgesmith("run", "d.edge", "--source", "clip.avi", "--json-lines", "--max-frames", "7")
    assert few.code == 0 and len(few.out.splitlines()) == 7  # as far as was asked, nothing was lost


class Faulty:
    """A capture that fails at some reads, and for good after ``count`` of them."""

    def __init__(self, count: int, failing: set[int]):
        self.count, self.failing, self.at, self.released = count, failing, 0, False

    def read(self, *_: object) -> tuple[bool, np.ndarray | None]:
        self.at += 1
        if self.at > self.count or self.at - 1 in self.failing:
            return False, None
        return True, np.full((4, 6, 3), self.at - 1, np.uint8)

    def get(self, prop: int) -> float:
        return 0.0

    def release(self) -> None:
        self.released = True


def test_a_camera_goes_on_after_damage():
    with Live("camera 0", Faulty(40, {3, 4, 39})) as source:
        found = list(source)
    there = [frame for frame in found if frame.image is not None]
    assert there[-1].index == 38 and all(frame.image.max() == frame.index for frame in there)
    assert sum(frame.lost for frame in found) == 2  # the last read failed as those behind the end do
    assert source.notes == ["camera 0 ended after 39 frames"] and source.capture.released


def test_a_camera_that_gives_nothing_but_damage_has_ended():
    capture = Faulty(10_000, set(range(5, 10_000)))
    with Live("camera 0", capture) as source:
        assert [frame.index for frame in source][-1] == 4
    assert capture.at == 5 + live_module.MOST_IN_A_ROW == 105 and "ended after 5 frames" in source.notes[0]


def test_a_damaged_part_of_a_stream_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    write_detection_bundle(tmp_path / "d.edge")
    with stream(frames=30, damaged={10, 11}) as url:
        answer = edgesmith("run", "d.edge", "--source", url, "--json-lines")
    told = [json.loads(line) for line in answer.out.splitlines()]
    assert answer.code == 2 and "ended after 30 frames" in answer.err and "2 of " in answer.err
    assert sum(entry.get("lost", 0) for entry in told) == 2 and told[-1]["frame"] == 29


def test_a_file_without_an_end_is_left_after_a_thousand_failures(tmp_path: Path):
    capture = Faulty(10**6, set(range(1, 10**6)))
    from edgesmith.runtime.pictures.video import Video

    source = Video("endless.mkv", capture)
    assert [frame.index for frame in source] == [0] and capture.at == 1001


def test_a_frame_stays_until_the_next_ones_time(tmp_path: Path):
    out = VideoFile(tmp_path / "out.avi", 10, timed=True)
    for time_s, level in ((0.0, 0), (0.5, 200)):
        out.add(np.full((16, 16, 3), level, np.uint8), time_s)
    assert out.finish()
    assert [round(float(frame.mean()), -2) for frame in frames_of(tmp_path / "out.avi")] == [0] * 5 + [200]
