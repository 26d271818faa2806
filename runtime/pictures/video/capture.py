"""OpenCV's captures: opened or told why not, and what they say of themselves."""

from __future__ import annotations

import glob
import os
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...errors import UserMistake
from ...errors.addresses import shown
from ...ground.places import spelled
from .memory import Memory, into

OPEN_S, STALL_S = 10.0, 10.0


def quiet(whatever_was_asked: bool = False) -> None:
    """Silence OpenCV and its FFmpeg for the rest of the process: what they have to say is in our own words.

    Who sets OPENCV_FFMPEG_LOGLEVEL hears FFmpeg, unless ``whatever_was_asked``.
    """
    if whatever_was_asked:
        os.environ.pop("OPENCV_FFMPEG_DEBUG", None)
        os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    logging = getattr(cv2.utils, "logging", None)  # OpenCV 5; before that the function stood in cv2 itself
    (logging or cv2).setLogLevel(0)


def to_rgb(pixels: np.ndarray, memory: Memory | None = None) -> np.ndarray:
    """What a capture returns -> uint8 (H, W, 3) RGB, in a piece of ``memory``."""
    way = cv2.COLOR_GRAY2RGB if pixels.ndim == 2 or pixels.shape[2] == 1 else cv2.COLOR_BGR2RGB
    return cv2.cvtColor(pixels, way, dst=into(memory, (*pixels.shape[:2], 3)))


def read_into(capture: Any, pixels: np.ndarray | None) -> np.ndarray | None:
    """The next frame as the capture gives it, in ``pixels`` where that has its size; None where the read fails."""
    there, read = capture.read() if pixels is None else capture.read(pixels)
    return read if there else None


def open_video(path: Path) -> Any:
    size = path.stat().st_size
    if size == 0:
        raise UserMistake(
            f"cannot open the video {path}", found="an empty file of 0 bytes", attempt="copy or record it again"
        )
    if not os.access(path, os.R_OK):
        raise UserMistake(f"cannot open the video {path}", found="no permission to read it", attempt="ls -l")
    capture = cv2.VideoCapture(
        spelled(os.path.abspath(path)), cv2.CAP_FFMPEG
    )  # absolute: no word is taken for a protocol
    if not capture.isOpened():
        with path.open("rb") as file:
            head = file.read(12)
        raise UserMistake(
            f"cannot open the video {path}",
            found=f"{size:,} bytes that begin with {head!r}",
            expected="a video that OpenCV's FFmpeg can read: mp4, avi, mkv, mov, webm",
            because="it is cut off (an mp4 has its index at the end), or no video",
            attempt="play it; copy or record it again if that fails",
        )
    return capture


def open_camera(index: int) -> Any:
    capture = cv2.VideoCapture(index) if index < 2**31 else None  # OpenCV takes a C int
    if capture is None or not capture.isOpened():
        nodes = ", ".join(sorted(glob.glob("/dev/video*")))
        raise UserMistake(
            f"cannot open the camera {index}",
            found=f"the cameras {nodes}" if nodes else "no camera on this machine",
            because="there is none of this number, another program holds it, or you may not use it",
            attempt="--source with another number; on Linux: groups should list video",
        )
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return capture


def open_stream(url: str) -> Any:
    if shown(url) != url:
        quiet(whatever_was_asked=True)  # OpenCV and FFmpeg would print the address as it is
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(OPEN_S * 1e3), cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(STALL_S * 1e3)]
    started = time.perf_counter()
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, limits)
    if not capture.isOpened():
        wait_s = time.perf_counter() - started
        raise UserMistake(
            f"cannot open the stream {shown(url)}",
            found=f"no answer in {wait_s:.0f} s" if wait_s > 0.9 * OPEN_S else "no stream at that address",
            expected="rtsp://host/path, or http(s):// of a video or a camera",
            because="the host, the port, the path or the password is wrong, or a firewall stands between",
            attempt="open the same address in a player on this machine",
        )
    return capture


def fps_of(capture: Any) -> float | None:
    fps = float(capture.get(cv2.CAP_PROP_FPS))
    return fps if 0 < fps <= 1000 else None  # 90000 and the like are clock ticks of streams without a rate


def count_of(capture: Any) -> int | None:
    count = float(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    return int(count) if 0 < count < 1e9 else None


def codec_of(capture: Any) -> str:
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    return "".join(chr(code >> 8 * i & 0xFF) for i in range(4)).strip("\x00 ") or "unknown"
