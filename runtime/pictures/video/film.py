"""A video file, or one behind a URL: every frame that can be read, its number in the file, its time in the container."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from ...errors import UserMistake
from .capture import STALL_S, codec_of, count_of, fps_of, read_into, to_rgb
from .frame import Frame, Source, stalled, unread

MOST_IN_A_ROW = 1000  # reads that may fail one after the other; behind the end of a file that takes a tenth of a second
TABLES = (
    ".mp4",
    ".m4v",
    ".mov",
    ".avi",
    ".gif",
)  # containers that count their frames; the others know how long they are
LOOKED_AT = 250  # frames that decide how a video is saved
MOST_FPS = 60.0  # of a saved video whose source has no constant rate


class Video(Source):
    """A video; ``again`` opens it a second time. One behind a URL, which has none, may stall: ``stall_s`` in reads that fail."""

    kind = "video"

    def __init__(
        self, name: str, capture: Any, again: Callable[[], Any] | None = None, stall_s: float | None = None
    ) -> None:
        super().__init__(name)
        self.capture, self._again = capture, again
        self._pixels: np.ndarray | None = None  # as they were read, the same memory for each frame
        self.stall_s = STALL_S if stall_s is None else stall_s
        self.fps = fps_of(capture)
        self.count = count_of(capture) if self.fps else None  # without a rate a count is one of clock ticks

    def __iter__(self) -> Iterator[Frame]:
        answered = lost = failed = (
            0  # frames so far, those that were lost before the last of them, reads that failed since
        )
        steady, last, time_s = True, -1, 0.0
        failing_s = 0.0  # spent in reads that gave nothing, since the last frame
        while failed < MOST_IN_A_ROW and not (failed and self.count and answered + lost + failed > self.count + 2):
            started = time.perf_counter()
            pixels = read_into(self.capture, self._pixels)
            if pixels is None:
                failed += 1
                failing_s += time.perf_counter() - started
                if self._stalls(failing_s, last):
                    raise stalled(self.name, answered, failing_s, self.stall_s)
                continue
            failing_s = 0.0
            index = answered + lost + failed
            time_s = self._time(index, time_s)
            if not (lost or failed):
                steady = steady and abs(time_s * (self.fps or 0) - index) < 0.25
            elif steady:
                index = self._index(index, time_s, last, after_a_loss=failed > 0)
            self._pixels = pixels
            image = to_rgb(pixels, self.memory)
            read_ms = (time.perf_counter() - started) * 1e3
            if index > last + 1:
                yield unread(self.name, last + 1, index - last - 1)
            answered, lost, failed, last = answered + 1, max(lost + failed, index - answered), 0, index
            yield Frame(index, self.name, time_s, image, None, read_ms)
        if answered == 0:
            raise UserMistake(
                f"no frame of the video {self.name} can be decoded",
                found=f"a container that promises {self.count or 'no'} frames, codec {codec_of(self.capture)}",
                because="the file is cut off, or OpenCV's FFmpeg has no decoder for it",
                attempt=f"ffmpeg -i {self.name} -c:v libx264 again.mp4",
            )
        if missing := self._missing(last, time_s):
            self.notes.append(f"{self.name} breaks off: {answered} of the {self.count} frames it promises can be read")
            yield unread(self.name, last + 1, missing)

    def _stalls(self, failing_s: float, last: int) -> bool:
        """Whether the sender has stopped before the end: of what counts its frames, before the last of them."""
        whole = self.count is not None and last + 1 >= self.count and self._counts_frames()
        return self._again is None and failing_s >= 0.9 * self.stall_s and not whole

    def _counts_frames(self) -> bool:
        """By the name, of an address by its path: what stands behind ? and # says nothing of the container."""
        path = self.name if self._again is not None else self.name.partition("?")[0].partition("#")[0]
        return path.lower().endswith(TABLES)

    def _time(self, reads: int, before_s: float) -> float:
        """Seconds as the container tells them; a container without times says 0, and some run backwards where they were cut."""
        time_s = float(self.capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3
        if self.fps and reads and (time_s <= 0 or time_s < before_s):
            return reads / self.fps
        return max(time_s, 0.0)

    def _index(self, reads: int, time_s: float, last: int, after_a_loss: bool) -> int:
        """The number of a frame behind lost ones, of a video whose rate was constant until then.

        A decoder tells of a damaged frame while those before it are still to come, and a demuxer that looks for the next
        whole frame tells once of several: the time knows better than the count of reads.
        """
        place = round(time_s * (self.fps or 0))
        if last < place and (place <= reads or after_a_loss) and abs(time_s * (self.fps or 0) - place) < 0.25:
            return place
        return max(reads, last + 1)

    def _missing(self, last: int, time_s: float) -> int:
        """Frames that the container promises behind the last one that could be read."""
        if (
            not self.count or not self.fps or time_s * self.fps + 1.5 >= self.count
        ):  # a rate that varies: it is all there
            return 0
        missing = max(self.count - last - 1, 0)
        # where the count is the length times the rate, sound that is longer than the pictures adds to it
        return missing if self._counts_frames() or missing > self.count * 0.02 + 2 else 0

    def rate(self) -> float | None:
        """The own rate where it is constant, else that of the shortest step, at most ``MOST_FPS``."""
        if self._again is None:
            return self.fps
        times_s: list[float] = []
        capture = self._again()
        try:
            while len(times_s) < LOOKED_AT and capture.grab():
                times_s.append(float(capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3)
        finally:
            capture.release()
        fps = self.fps
        if fps and (not any(times_s) or all(abs(time_s * fps - index) < 0.5 for index, time_s in enumerate(times_s))):
            return fps
        steps = [after - before for before, after in pairwise(times_s) if after > before]
        return min(1 / min(steps), MOST_FPS) if steps else fps

    def close(self) -> None:
        self.capture.release()
