"""Frames of a clip that OpenCV wrote, overwritten in place: the container stays whole, and the decoder finds nothing there."""

from __future__ import annotations

from pathlib import Path

BEGINS = {"MJPG": b"\xff\xd8\xff", "mp4v": b"\x00\x00\x01\xb6"}  # what each coded picture begins with


def damage(path: Path, codec: str, frames: set[int]) -> Path:
    """Zeros over a JPEG as a whole, over the head of an MPEG-4 picture."""
    data = bytearray(path.read_bytes())
    starts, at = [], data.find(BEGINS[codec])
    while at >= 0:
        starts.append(at)
        at = data.find(BEGINS[codec], at + 4)
    for index in frames:
        end = data.index(b"\xff\xd9", starts[index]) + 2 if codec == "MJPG" else starts[index] + 8
        data[starts[index] : end] = bytes(end - starts[index])
    path.write_bytes(data)
    return path
