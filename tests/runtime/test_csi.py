"""Cameras on a CSI port: what GStreamer is told, and what is said where it cannot be. A stand-in takes the place of the camera."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.video import frames
from edgesmith.runtime.pictures.video.csi import pipeline


class Camera:
    """A capture of three frames."""

    there = True

    def __init__(self, told: str, backend: int) -> None:
        self.told, self.left = told, 3
        opened.append((told, backend))

    def isOpened(self) -> bool:
        return self.there

    def get(self, _: int) -> float:
        return 0.0

    def read(self, *_: Any) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return (True, np.full((4, 6, 3), (1, 2, 3), np.uint8)) if self.left >= 0 else (False, None)

    def release(self) -> None:
        pass


opened: list[tuple[str, int]] = []


@pytest.fixture
def gstreamer(monkeypatch: pytest.MonkeyPatch) -> None:
    opened.clear()
    monkeypatch.setattr(cv2.videoio_registry, "getBackends", lambda: [cv2.CAP_GSTREAMER])
    monkeypatch.setattr(cv2, "VideoCapture", Camera)


def test_only_the_newest_frame_waits():
    told = pipeline("csi://0")
    assert told.startswith("nvarguscamerasrc sensor-id=0 ! ")
    assert told.endswith("format=BGR ! appsink max-buffers=1 drop=true sync=false")


def test_size_and_rate_are_those_that_are_asked_for():
    told = pipeline("csi://1?width=1280&height=720&fps=60")
    assert "sensor-id=1 " in told and "width=1280,height=720,framerate=60/1" in told


@pytest.mark.parametrize(
    "word",
    [
        "csi://",
        "csi://x",
        "csi://-1",
        "csi://16",
        "csi://0/more",
        "csi://0?width=0",
        "csi://0?width=9999",
        "csi://0?depth=3",
        "csi://0?fps=30 ! filesink location=x",
        "csi://0#here",
        "csi://[0",
        "csi://0?fps",
    ],
)
def test_anything_else_is_refused_before_gstreamer_hears_of_it(word: str, gstreamer: None):
    with pytest.raises(UserMistake, match="no camera on a CSI port"):
        frames(word)
    assert not opened


def test_it_is_a_live_source_whose_frames_are_rgb(gstreamer: None):
    with frames("csi://0") as source:
        first = next(iter(source))
        assert source.kind == "live" and first.image is not None and first.image[0, 0].tolist() == [3, 2, 1]
    assert opened == [(pipeline("csi://0"), cv2.CAP_GSTREAMER)]


def test_an_opencv_without_gstreamer_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cv2.videoio_registry, "getBackends", lambda: [cv2.CAP_FFMPEG])
    with pytest.raises(UserMistake, match="without GStreamer"):
        frames("csi://0")


def test_a_pipeline_that_does_not_start(gstreamer: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Camera, "there", False)
    with pytest.raises(UserMistake, match="does not start"):
        frames("csi://0")
