"""Which files of a folder are pictures, which of them can be decoded here, and what is said of the others.

OpenCV is built with some decoders and without others, and its older versions lack GIF; what this build has is read in its own
description. A picture that stays out is always told, with how many there are and why.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache

WRITTEN = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")  # what --save takes
EVERYWHERE = (*WRITTEN, ".jpe", ".jfif", ".dib", ".pbm", ".pgm", ".ppm", ".pnm")
DECODERS = {".gif": "GIF", ".avif": "AVIF", ".jp2": "JPEG 2000"}  # as OpenCV's description names them
# pictures that nobody can decode here: raw files of cameras, and formats that OpenCV has no decoder for
NEVER = frozenset(
    ".heic .heif .hif .jxl .dng .cr2 .cr3 .nef .arw .orf .rw2 .raf .psd .svg .tga .ico .j2k .jpf .jxr .wdp .eps".split()  # noqa: SIM905
)
MOVING = (".gif",)  # named as --source it is a video; in a folder its first picture counts
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".mjpeg")


@lru_cache(maxsize=1)
def readable() -> tuple[str, ...]:
    """The suffixes, in small letters, of what a folder is searched for."""
    import cv2

    told = cv2.getBuildInformation()
    there = (suffix for suffix, name in DECODERS.items() if re.search(rf"^\s*{name}:\s+(?!NO\b)\S", told, re.MULTILINE))
    return (*EVERYWHERE, *there)


def left_out(suffixes: Iterable[str] | Mapping[str, int]) -> str:
    """``3 pictures left out: 2 .heic, 1 .dng cannot be decoded here`` for the suffixes of files that were no ``readable()``.

    Empty where none of them is a picture or a video; other files are nobody's pictures and are passed over.
    """
    count = Counter(suffixes) if isinstance(suffixes, Mapping) else Counter(one.lower() for one in suffixes)
    pictures = {kind: n for kind, n in sorted(count.items()) if kind in NEVER or kind in DECODERS}
    videos = {kind: n for kind, n in sorted(count.items()) if kind in VIDEO_SUFFIXES}
    words = []
    if pictures:
        words.append(
            f"{_many(pictures, 'picture')} left out, {_kinds(pictures)}: OpenCV has no decoder for "
            f"{'them' if sum(pictures.values()) > 1 else 'it'} here, convert to JPEG or PNG"
        )
    if videos:
        words.append(f"{_many(videos, 'video')} left out, {_kinds(videos)}: a folder is searched for pictures")
    return "; ".join(words)


def _many(count: Mapping[str, int], what: str) -> str:
    number = sum(count.values())
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _kinds(count: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {kind}" for kind, number in count.items())
