"""Where pictures come from: files, a video, a camera, a stream -> frames, one after the other.

    "clip.mp4"             every frame, in order, none left out
    "0", "rtsp://..."      the newest frame there is: what comes in while the model works is left out, not queued
    "folder", "a/*.jpg"    the pictures, in the order of their names

A file that breaks off, a stream that ends and one that stalls are three things: the first two end the frames and are told
in ``notes``, the third is a UserMistake after ``STALL_S`` seconds, and after ``OPEN_S`` when not one frame came.
"""

from __future__ import annotations

import glob
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ..errors import UserMistake
from .file import SUFFIXES, read_image

if TYPE_CHECKING:
    from typing_extensions import Self

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".mjpeg")
OPEN_S, STALL_S = 10.0, 10.0
URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture on its way: its pixels, or why there are none."""

    index: int  # from 0; of a camera or stream counted as it came in, so left-out frames are gaps
    name: str  # of the file, the camera or the stream
    time_s: float | None  # since the first frame; None for picture files
    image: np.ndarray | None  # uint8 (H, W, 3) RGB
    error: UserMistake | None = None
    read_ms: float = 0.0


class Source:
    """Frames to iterate over once; ``close`` frees what is behind them."""

    kind = "pictures"  # or "video", "live"
    fps: float | None = None
    count: int | None = None

    def __init__(self, name: str) -> None:
        self.name = name
        self.notes: list[str] = []  # what the user should know of the end

    def __iter__(self) -> Iterator[Frame]:
        raise NotImplementedError

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Pictures(Source):
    """Picture files; one that cannot be read is a frame with an error, so that the others still get their turn."""

    def __init__(self, name: str, paths: Sequence[str]) -> None:
        super().__init__(name)
        self.paths, self.count = list(paths), len(paths)

    def __iter__(self) -> Iterator[Frame]:
        for index, path in enumerate(self.paths):
            started = time.perf_counter()
            try:
                image, error = read_image(path), None
            except UserMistake as mistake:
                image, error = None, mistake
            yield Frame(index, path, None, image, error, (time.perf_counter() - started) * 1e3)


class Video(Source):
    """A video file, or one behind a URL."""

    kind = "video"

    def __init__(self, name: str, capture: Any) -> None:
        super().__init__(name)
        self.capture = capture
        self.fps, self.count = _fps(capture), _count(capture)

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while True:
            started = time.perf_counter()
            there, pixels = self.capture.read()
            if not there:
                break
            time_s = index / self.fps if self.fps else self.capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
            image = to_rgb(pixels)
            yield Frame(index, self.name, time_s, image, None, (time.perf_counter() - started) * 1e3)
            index += 1
        if index == 0:
            raise UserMistake(
                f"no frame of the video {self.name} can be decoded",
                found=f"a container that promises {self.count or 'no'} frames, codec {fourcc(self.capture)}",
                because="the file is cut off, or OpenCV's FFmpeg has no decoder for it",
                attempt=f"ffmpeg -i {self.name} -c:v libx264 again.mp4",
            )
        # containers without an index estimate their count, so a few frames less mean nothing
        if self.count and index < self.count * 0.98 - 2:
            self.notes.append(f"{self.name} breaks off: {index} of the {self.count} frames it promises can be read")

    def close(self) -> None:
        self.capture.release()


class Live(Source):
    """A camera or a stream: a thread reads, the newest frame is handed out."""

    kind = "live"

    def __init__(self, name: str, capture: Any, stall_s: float | None = None) -> None:
        super().__init__(name)
        self.capture, self.stall_s = capture, STALL_S if stall_s is None else stall_s
        self.fps = _fps(capture)
        self._news = threading.Condition()
        self._newest: tuple[int, float, np.ndarray] | None = None
        self._ended = self._stopped = False
        self._last_read_s = 0.0
        self._reader = threading.Thread(target=self._read, name="edgesmith-reader", daemon=True)

    def _read(self) -> None:
        index = 0
        while not self._stopped:
            asked = time.perf_counter()
            there, pixels = self.capture.read()
            with self._news:
                self._last_read_s = time.perf_counter() - asked
                if there:
                    self._newest = (index, time.perf_counter(), pixels)
                self._ended = not there
                self._news.notify()
            if not there:
                break
            index += 1
        self.capture.release()  # here: releasing under a read of another thread crashes FFmpeg

    def __iter__(self) -> Iterator[Frame]:
        self._reader.start()
        first_s, seen, taken = None, -1, 0
        while True:
            waited = time.perf_counter()
            with self._news:
                self._news.wait_for(lambda: self._newest is not None or self._ended, self.stall_s if taken else OPEN_S)
                newest, self._newest = self._newest, None
                ended, last_read_s = self._ended, self._last_read_s
            if newest is None:
                # the read that gave up may have begun long before we came to wait for it
                wait_s = max(time.perf_counter() - waited, last_read_s if ended else 0)
                if not ended or wait_s > 0.9 * self.stall_s or taken == 0:
                    raise self._stalled(taken, wait_s)
                self.notes.append(f"{self.name} ended after {seen + 1} frames")
                return
            seen, at, pixels = newest
            first_s = at if first_s is None else first_s
            taken += 1
            yield Frame(seen, self.name, at - first_s, to_rgb(pixels), None, (time.perf_counter() - waited) * 1e3)

    def _stalled(self, taken: int, wait_s: float) -> UserMistake:
        return UserMistake(
            f"{self.name} gives no frames" if not taken else f"{self.name} stopped giving frames",
            found=f"{f'{taken} frames, then ' if taken else ''}nothing for {wait_s:.0f} s",
            expected=f"a frame at least every {self.stall_s:.0f} s",
            because="the network or the sender hangs, or another program holds the camera",
            attempt="look at it in a player; then run again",
        )

    def close(self) -> None:
        self._stopped = True
        if self._reader.is_alive():
            self._reader.join(timeout=2.0)  # a hanging read ends with the process
        elif self._reader.ident is None:
            self.capture.release()


def quiet() -> None:
    """Silence OpenCV and its FFmpeg for the rest of the process: what they have to say is in our own words."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    logging = getattr(cv2.utils, "logging", None)  # OpenCV 5; before that the function stood in cv2 itself
    (logging or cv2).setLogLevel(0)


def to_rgb(pixels: np.ndarray) -> np.ndarray:
    """What a capture returns -> uint8 (H, W, 3) RGB."""
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB if pixels.ndim == 2 or pixels.shape[2] == 1 else cv2.COLOR_BGR2RGB)


def frames(source: str | os.PathLike[str] | Sequence[str]) -> Source:
    """Open a video file, a camera ("0"), a URL, a folder of pictures, a glob, or a list of picture files.

    Raises UserMistake, before anything is read, when there is nothing to open.
    """
    if not isinstance(source, (str, os.PathLike)):
        return pictures([str(path) for path in source])
    word = os.fspath(source)
    if word.isascii() and word.isdigit():
        return Live(f"camera {word}", _camera(int(word)))
    if URL.match(word):
        return _stream(word)
    path = Path(word)
    if path.is_dir() or path.suffix.lower() in SUFFIXES:
        return pictures([word])
    if path.exists():
        return Video(word, _open_video(path))
    if glob.has_magic(word):
        return pictures([word])
    raise UserMistake(
        f"cannot open the source {word}",
        found="no such file or folder",
        expected="a video, a folder of pictures, a camera as 0, or a URL",
        attempt="check the path and the folder you are in",
    )


def pictures(words: Sequence[str]) -> Pictures:
    """Files, folders and globs -> their pictures. A word that leads to none is a mistake now, before any is read."""
    paths: list[str] = []
    for word in words:
        path = Path(word)
        if path.is_dir() or (glob.has_magic(word) and not path.exists()):
            entries = path.iterdir() if path.is_dir() else map(Path, glob.glob(word, recursive=True))
            found = sorted(str(entry) for entry in entries if entry.suffix.lower() in SUFFIXES and entry.is_file())
        else:
            found = [word]
        if not found:
            raise UserMistake(
                f"no pictures in {word}" if path.is_dir() else f"no picture fits {word}",
                found=_kinds(path) if path.is_dir() else "nothing",
                expected="files that end in " + " ".join(SUFFIXES),
                attempt="name the folder that holds the pictures itself",
            )
        paths += found
    for name in paths:
        path = Path(name)
        if not path.is_file():
            raise UserMistake(
                f"cannot read the picture {name}",
                found="no such file",
                attempt="check the path and the folder you are in",
            )
        if path.suffix.lower() in VIDEO_SUFFIXES:
            raise UserMistake(f"{name} is no picture", found="a video", attempt=f"--source {name}")
    return Pictures(words[0] if len(words) == 1 else f"{len(paths)} pictures", paths)


def _kinds(folder: Path) -> str:
    kinds = sorted({entry.suffix or entry.name for entry in folder.iterdir()})[:5]
    return f"an empty folder: {folder}" if not kinds else "files of kind " + ", ".join(kinds)


def _open_video(path: Path) -> Any:
    size = path.stat().st_size
    if size == 0:
        raise UserMistake(
            f"cannot open the video {path}", found="an empty file of 0 bytes", attempt="copy or record it again"
        )
    if not os.access(path, os.R_OK):
        raise UserMistake(f"cannot open the video {path}", found="no permission to read it", attempt="ls -l")
    capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)  # absolute: no word is taken for a protocol
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


def _camera(index: int) -> Any:
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


def _stream(url: str) -> Source:
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(OPEN_S * 1e3), cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(STALL_S * 1e3)]
    started = time.perf_counter()
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, limits)
    if not capture.isOpened():
        wait_s = time.perf_counter() - started
        raise UserMistake(
            f"cannot open the stream {without_password(url)}",
            found=f"no answer in {wait_s:.0f} s" if wait_s > 0.9 * OPEN_S else "no stream at that address",
            expected="rtsp://host/path, or http(s):// of a video or a camera",
            because="the host, the port, the path or the password is wrong, or a firewall stands between",
            attempt="open the same address in a player on this machine",
        )
    name = without_password(url)
    return Video(name, capture) if _count(capture) else Live(name, capture)


def without_password(url: str) -> str:
    """The address as it may be printed and logged."""
    return re.sub(r"//[^/@]*@", "//", url)


def _fps(capture: Any) -> float | None:
    fps = float(capture.get(cv2.CAP_PROP_FPS))
    return fps if 0 < fps <= 1000 else None  # 90000 and the like are clock ticks of streams without a rate


def _count(capture: Any) -> int | None:
    count = float(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    return int(count) if 0 < count < 1e9 else None


def fourcc(capture: Any) -> str:
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    return "".join(chr(code >> 8 * i & 0xFF) for i in range(4)).strip("\x00 ") or "unknown"
