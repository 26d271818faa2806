"""A camera on the CSI port of a Jetson, by way of GStreamer: ``csi://0``, ``csi://1?width=1280&height=720&fps=60``.

NVIDIA's source hands out frames that the image processor has made; they leave the GPU's memory once, as BGR, and of those that
nobody has taken only the newest is kept (max-buffers=1 drop=true): otherwise frames queue up, and what is answered is seconds old.

Tested are the text of the pipeline, and what is said where OpenCV lacks GStreamer (docs/hardware.md).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import cv2

from ...errors import UserMistake
from ...errors.addresses import shown

SCHEME = "csi://"
USUAL = {"width": 1920, "height": 1080, "fps": 30}
MOST = {"width": 8192, "height": 8192, "fps": 240}
MOST_SENSORS = 16


def pipeline(word: str) -> str:
    """What GStreamer is told for ``word``; UserMistake where that names no camera, or a setting that is none."""
    try:
        parts = urlsplit(word)
        given = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        sensor = int(parts.netloc) if _whole(parts.netloc) else -1
    except ValueError:
        parts, given, sensor = None, {}, -1
    known = all(name in USUAL and _whole(value) and 1 <= int(value) <= MOST[name] for name, value in given.items())
    if parts is None or parts.path not in ("", "/") or parts.fragment or not 0 <= sensor < MOST_SENSORS or not known:
        raise UserMistake(
            f"{shown(word)} is no camera on a CSI port",
            found=shown(word),
            expected=f"csi:// and a number from 0 to {MOST_SENSORS - 1}, with width, height and fps if need be",
            attempt="csi://0, or csi://0?width=1280&height=720&fps=60",
        )
    asked = USUAL | {name: int(value) for name, value in given.items()}
    return " ! ".join(
        (
            f"nvarguscamerasrc sensor-id={sensor}",
            f"video/x-raw(memory:NVMM),width={asked['width']},height={asked['height']},framerate={asked['fps']}/1",
            "nvvidconv",
            "video/x-raw,format=BGRx",
            "videoconvert",
            "video/x-raw,format=BGR",
            "appsink max-buffers=1 drop=true sync=false",
        )
    )


def _whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5


def open_csi(word: str) -> Any:
    """The camera, open; UserMistake where OpenCV has no GStreamer or the camera gives nothing."""
    told = pipeline(word)
    if cv2.CAP_GSTREAMER not in cv2.videoio_registry.getBackends():
        raise UserMistake(
            f"cannot open the camera {word}",
            found=f"OpenCV {cv2.__version__} without GStreamer",
            expected="an OpenCV that was built with it",
            because="a camera on a CSI port is read through GStreamer, and OpenCV's wheels from the registry lack it",
            attempt="JetPack's own OpenCV (apt install python3-opencv); a USB camera is --source 0",
        )
    capture = cv2.VideoCapture(told, cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        raise UserMistake(
            f"cannot open the camera {word}",
            found="a pipeline of GStreamer that does not start",
            expected="nvarguscamerasrc, and a camera on that port",
            because="there is none of this number, it has no mode of this size and rate, or another program holds it",
            attempt=f"gst-launch-1.0 {told.replace('appsink max-buffers=1 drop=true sync=false', 'fakesink')}",
        )
    return capture
