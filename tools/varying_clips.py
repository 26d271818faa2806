"""Writes tests/data/clips: videos whose frames come at any time, and the times themselves, with PyAV (pip install av==18.1.0).

    python tools/varying_clips.py

PyAV is FFmpeg without OpenCV between; the times in the JSON are read back from the written files with it.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

OUT = Path(__file__).parents[1] / "tests" / "data" / "clips"
TIMES_MS = (0, 33, 80, 480, 517, 1200, 1240, 2001, 4321, 4360)
COARSE_MS = (0, 40, 80, 480, 520, 1200, 1240, 2000, 4320, 4360)  # an AVI counts ticks, a GIF hundredths of a second
KINDS = {  # suffix: codec, pixels, ticks a second, times
    ".mp4": ("libx264", "yuv420p", 1000, TIMES_MS),
    ".mkv": ("libx264", "yuv420p", 1000, TIMES_MS),
    ".webm": ("libvpx-vp9", "yuv420p", 1000, TIMES_MS),
    ".ts": ("mpeg2video", "yuv420p", 25, COARSE_MS),
    ".avi": ("mpeg4", "yuv420p", 25, COARSE_MS),
    ".gif": ("gif", "rgb8", 100, COARSE_MS),
}


def picture(index: int) -> np.ndarray:
    """uint8 (32, 96, 3) RGB: black, with a red bar that moves 8 pixels a frame (tests/runtime/test_video_times.py)."""
    image = np.zeros((32, 96, 3), np.uint8)
    image[:, index * 8 : index * 8 + 16] = (255, 0, 0)
    return image


def write(path: Path, codec: str, pixels: str, ticks: int, times_ms: tuple[int, ...]) -> list[float]:
    """The clip, and its times in ms as PyAV reads them back, from the first frame on."""
    with av.open(str(path), "w") as out:
        video = out.add_stream(codec, rate=25)
        video.width, video.height, video.pix_fmt = 96, 32, pixels
        video.time_base = video.codec_context.time_base = Fraction(1, ticks)
        for index, time_ms in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = round(time_ms * ticks / 1000), Fraction(1, ticks)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    with av.open(str(path)) as written:
        times = [float(frame.pts * frame.time_base) * 1000 for frame in written.decode(video=0)]
    return [round(time_ms - times[0], 3) for time_ms in times]


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    told = {f"varying{suffix}": write(OUT / f"varying{suffix}", *kind) for suffix, kind in KINDS.items()}
    (OUT / "times_ms.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
