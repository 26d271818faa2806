"""Drawn frames -> a video file, which appears under its name when it is finished.

start    a work folder is made beside it, before the model has seen a frame; a killed run's is removed
add      a frame; of another size than the first it is fitted into that one, with black at the sides
finish   the file gets its name; also after Ctrl-C and after an error, with the frames until then
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import UserMistake
from ..ground.places import spelled
from ..ground.scratch import work_folder

# suffix: codecs, the better one first. H.264 plays everywhere, but few builds of OpenCV bring an encoder for it.
CODECS = {".mp4": ("avc1", "mp4v"), ".avi": ("MJPG",), ".webm": ("VP80",)}
DEFAULT_FPS = 25.0
LEAST_FREE_BYTES = 16 * 1024 * 1024
LOOK_EVERY = 16  # frames between two looks at the free space


class VideoFile:
    """A video on its way to ``path``."""

    def __init__(self, path: Path, fps: float | None, timed: bool = False) -> None:
        self.path, self.fps, self.timed = path, fps or DEFAULT_FPS, timed
        self.frames = 0
        self.size: tuple[int, int] | None = None  # (height, width)
        self._writer: Any = None
        self._last: np.ndarray | None = None  # as it was written
        spelled(path)  # told before the first frame
        check_room(path.parent)
        self._open_folder = contextlib.ExitStack()
        try:
            self._partial = self._open_folder.enter_context(work_folder(path)) / f"video{path.suffix}"
        except OSError as error:
            raise cannot_write(path, error) from None

    def add(self, image: np.ndarray, time_s: float | None = None) -> None:
        """uint8 (H, W, 3) RGB. With times, a frame stays until the next one's: the file plays as its source did."""
        if self._writer is None:
            self._open(image.shape[0], image.shape[1])
        if self.frames % LOOK_EVERY == 0:
            check_room(self.path.parent)
        pixels = cv2.cvtColor(_fitted(image, self.size or image.shape[:2]), cv2.COLOR_RGB2BGR)
        until = max(round(time_s * self.fps), self.frames) if self.timed and time_s is not None else self.frames
        for picture in [pixels if self._last is None else self._last] * (until - self.frames) + [pixels]:
            self.frames += 1  # first: an interrupt comes through when a call returns, and that frame is in the file
            self._writer.write(picture)
        self._last = pixels

    def _open(self, height: int, width: int) -> None:
        for codec in CODECS[self.path.suffix.lower()]:
            size = (width, height) if codec != "avc1" else (width - width % 2, height - height % 2)
            writer = cv2.VideoWriter(
                spelled(self._partial), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), self.fps, size
            )
            if writer.isOpened():
                self._writer, self.size = writer, (size[1], size[0])
                return
        raise UserMistake(
            f"cannot write the video {self.path}",
            found=f"no encoder for frames of {width} x {height} pixels",
            expected=" or ".join(CODECS[self.path.suffix.lower()]),
            because="this build of OpenCV lacks it, or the frames are too large for it",
            attempt=f"another suffix: {' '.join(CODECS)}",
        )

    def finish(self) -> bool:
        """Give the file its name; False when there is nothing to keep. UserMistake when it did not reach the disk."""
        try:
            if self._writer is None or self.frames == 0:
                return False
            self._writer.release()
            self._writer = None
            there = cv2.VideoCapture(spelled(self._partial), cv2.CAP_FFMPEG)
            whole = there.isOpened() and there.read()[0]
            there.release()
            if not whole:  # OpenCV's writer reports no errors; a file without its index is what a full disk leaves
                raise UserMistake(
                    f"the video {self.path} could not be written",
                    found=f"{self._partial.stat().st_size:,} bytes that cannot be read again",
                    because="the disk is full, or went away",
                    attempt="free some space, or --save on another disk",
                )
            os.replace(self._partial, self.path)
            return True
        except OSError as error:
            raise cannot_write(self.path, error) from None
        finally:
            self._open_folder.close()


def _fitted(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture in a frame of ``size``, its shape kept."""
    height, width = size
    if image.shape[:2] == size:
        return image
    if 0 <= image.shape[0] - height <= 1 and 0 <= image.shape[1] - width <= 1:  # an odd row or column
        return image[:height, :width]
    ratio = min(height / image.shape[0], width / image.shape[1])
    inner = max(1, round(image.shape[1] * ratio)), max(1, round(image.shape[0] * ratio))
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - inner[1]) // 2, (width - inner[0]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(image, inner, interpolation=cv2.INTER_AREA)
    return canvas


def check_room(folder: Path) -> None:
    """UserMistake when the disk of ``folder`` is as good as full."""
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        raise UserMistake(
            f"the disk of {folder} is full",
            found=f"{free / 1e6:.0f} MB free",
            expected=f"{LEAST_FREE_BYTES / 1e6:.0f} MB or more",
            because="a video that breaks off in its last bytes cannot be played",
            attempt="free some space, or --save on another disk",
        )


def cannot_write(path: Path, error: OSError) -> UserMistake:
    return UserMistake(
        f"cannot write {path}",
        found=error.strerror or str(error),
        attempt="check the permissions of the folder and the free space, or --save to another place",
    )
