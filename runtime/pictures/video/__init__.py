"""Where pictures come from: files, a video, a camera, a stream -> frames, one after the other.

    "clip.mp4"             every frame, in order, none left out
    "0", "rtsp://...", "csi://0"    the newest frame there is: what comes in while the model works is left out, not queued
    "folder", "a/*.jpg"    the pictures, in the order of their names
    "-"                    JPEG or PNG pictures through a pipe, in order (pipe.py)

A damaged frame is left out and counted, and reading goes on. A file that breaks off, a stream that ends and one that stalls
are three things: the first two end the frames and are told in ``notes``, the third is a UserMistake after ``STALL_S`` seconds,
and after ``OPEN_S`` when not one frame came (capture.py). With ``reconnect`` a camera or stream that is lost is opened again.
"""

from __future__ import annotations

import glob
import importlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserMistake
from ...errors.addresses import shown
from ..formats.suffixes import MOVING, readable
from .frame import Frame, Pictures, Source, pictures

if TYPE_CHECKING:
    from .film import Video
    from .live import Live

__all__ = ["Frame", "Live", "Pictures", "Source", "Video", "frames", "pictures"]
MOVING_SOURCES = {"Live": "live", "Video": "film"}  # imported when one is opened: pictures need neither
URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def __getattr__(name: str) -> Any:
    if name not in MOVING_SOURCES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{MOVING_SOURCES[name]}", __name__), name)


def frames(source: str | os.PathLike[str] | Sequence[str], reconnect: bool = False) -> Source:
    """Open a video file, a camera ("0"), a URL, a folder of pictures, a glob, a list of picture files, or a pipe ("-").

    ``reconnect``: a camera or stream that is lost is opened again.
    Raises UserMistake, before anything is read, when there is nothing to open, or nothing that can be lost.
    """
    if reconnect:
        return _reconnecting(source)
    if not isinstance(source, (str, os.PathLike)):
        return pictures([str(path) for path in source])
    word = os.fspath(source)
    if word == "-":
        from .pipe import standard_input

        return standard_input()
    from .capture import count_of, open_camera, open_stream, open_video
    from .csi import SCHEME, open_csi
    from .film import Video
    from .live import Live

    if word.isascii() and word.isdigit():
        return Live(f"camera {word}", open_camera(int(word)))
    if word.startswith(SCHEME):
        return Live(shown(word), open_csi(word))
    if URL.match(word):
        capture = open_stream(word)
        return Video(shown(word), capture) if count_of(capture) else Live(shown(word), capture)
    path = Path(word)
    if path.is_dir() or (path.suffix.lower() in readable() and path.suffix.lower() not in MOVING):
        return pictures([word])
    if path.exists():
        return Video(word, open_video(path), again=lambda: open_video(path))
    if glob.has_magic(word):
        return pictures([word])
    raise UserMistake(
        f"cannot open the source {shown(word)}",
        found="no such file or folder",
        expected="a video, a folder of pictures, a camera as 0, a URL, or - for a pipe",
        attempt="check the path and the folder you are in",
    )


def _reconnecting(source: str | os.PathLike[str] | Sequence[str]) -> Source:
    """A live source that is opened again; UserMistake for one of another kind, before it is read."""
    from .live import Live
    from .reconnect import Reconnect

    opened = frames(source)
    if not isinstance(opened, Live):
        opened.close()
        raise UserMistake(
            "--reconnect is for cameras and streams",
            found=f"{opened.name}, which has an end of its own",
            expected="--source with a camera as 0, or the URL of a stream",
            attempt="leave --reconnect out",
        )
    word = os.fspath(source) if isinstance(source, (str, os.PathLike)) else ""
    return Reconnect(opened, lambda: frames(word))
