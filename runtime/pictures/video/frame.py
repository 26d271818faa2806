"""One picture on its way, where pictures come from, and the plainest of sources: picture files."""

from __future__ import annotations

import glob
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from ...errors import UserMistake
from ...errors.addresses import shown
from ...ground.regular import check_regular, is_clutter
from ..file import read_image
from ..formats.suffixes import VIDEO_SUFFIXES, left_out, readable
from .memory import Memory

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture on its way: its pixels, or why there are none."""

    index: int  # from 0; of a camera or stream counted as it came in, so left-out frames are gaps
    name: str  # of the file, the camera or the stream
    time_s: float | None  # of a file as its container tells, of a camera since the first frame; None for picture files
    image: np.ndarray | None  # uint8 (H, W, 3) RGB
    error: UserMistake | None = None
    read_ms: float = 0.0
    lost: int = 0  # so many frames from ``index`` on could not be read: no picture, but an error
    taken_s: float | None = None  # time.perf_counter() when a camera or a stream gave it
    outage_s: float | None = None  # the source was lost so long and is there again: neither a picture nor an error


class Source:
    """Frames to iterate over once; ``close`` frees what is behind them."""

    kind = "pictures"  # or "video", "live"
    fps: float | None = None
    count: int | None = None
    outages = 0  # so many times it was lost and opened again
    dropped = 0  # frames of a camera or a stream that came in while the one before was worked on
    alpha = False  # whether pictures keep theirs
    memory: Memory | None = None  # where frames are put, set by who says of each when it is ``done`` with

    def __init__(self, name: str) -> None:
        self.name = name
        self.notes: list[str] = []  # what the user should know of the end

    @property
    def ahead(self) -> bool:
        """Whether frames may be read before the answers to those in front of them are there: of a camera the newest is wanted."""
        return self.kind != "live"

    def rate(self) -> float | None:
        """Frames a second of a video in which every frame of this source has its time."""
        return self.fps

    def __iter__(self) -> Iterator[Frame]:
        raise NotImplementedError

    def reads(self) -> Iterator[Callable[[], Frame]]:
        """The same frames, each as a call that may be made in a thread of its own; those of a video are read here, in their order."""
        return (partial(_itself, frame) for frame in self)

    def done(self, frame: Frame) -> None:
        """Nobody looks at the picture of this frame any more."""
        if self.memory is not None and frame.image is not None:
            self.memory.back(frame.image)

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
        return (read() for read in self.reads())

    def reads(self) -> Iterator[Callable[[], Frame]]:
        return (partial(self._read, index, path) for index, path in enumerate(self.paths))

    def _read(self, index: int, path: str) -> Frame:
        started = time.perf_counter()
        try:
            image, error = read_image(path, self.alpha, self.memory), None
        except UserMistake as mistake:
            image, error = None, mistake
        return Frame(index, path, None, image, error, (time.perf_counter() - started) * 1e3)


def _itself(frame: Frame) -> Frame:
    return frame


def unread(name: str, index: int, lost: int) -> Frame:
    """In the place of ``lost`` frames from ``index`` on that could not be read."""
    error = UserMistake(
        f"{lost} frame{'s' if lost > 1 else ''} of {name} could not be read",
        found=f"damaged data from frame {index} on",
        because="the file or the connection lost some of it",
    )
    return Frame(index, name, None, None, error, lost=lost)


def stalled(name: str, taken: int, wait_s: float, stall_s: float) -> UserMistake:
    """For a source that stopped giving frames before its end."""
    return UserMistake(
        f"{name} gives no frames" if not taken else f"{name} stopped giving frames",
        found=f"{f'{taken} frames, then ' if taken else ''}nothing for {wait_s:.0f} s",
        expected=f"a frame at least every {stall_s:.0f} s",
        because="the network or the sender hangs, or another program holds the camera",
        attempt="look at it in a player; then run again",
    )


def pictures(words: Sequence[str]) -> Pictures:
    """Files, folders and globs -> their pictures. A word that leads to none is a mistake now, before any is read.

    Of a folder hidden files are passed over, and a picture that cannot be decoded here is told in ``notes``.
    """
    paths: list[str] = []
    others: list[str] = []
    for word in words:
        path = Path(word)
        if path.is_dir() or (glob.has_magic(word) and not path.exists()):
            entries = path.iterdir() if path.is_dir() else map(Path, glob.glob(word, recursive=True))
            files = sorted(entry for entry in entries if not _passed_over(entry, path) and entry.is_file())
            found = [str(entry) for entry in files if entry.suffix.lower() in readable()]
            others += [entry.suffix for entry in files if entry.suffix.lower() not in readable()]
        else:
            found = [word]
        if not found:
            raise UserMistake(
                f"no pictures in {word}" if path.is_dir() else f"no picture fits {shown(word)}",
                found=_kinds(path) if path.is_dir() else "nothing",
                expected="files that end in " + " ".join(readable()),
                because=left_out(others),
                attempt="name the folder that holds the pictures itself",
            )
        paths += found
    for name in paths:
        path = Path(name)
        if not path.is_file():
            if path.exists():
                check_regular(path)  # says what it is
            raise UserMistake(
                f"cannot read the picture {shown(name)}",  # people give an address as well, with blanks in its password
                found="no such file",
                attempt="check the path and the folder you are in",
            )
        if path.suffix.lower() in VIDEO_SUFFIXES:
            raise UserMistake(f"{name} is no picture", found="a video", attempt=f"--source {name}")
    source = Pictures(words[0] if len(words) == 1 else f"{len(paths)} pictures", paths)
    if told := left_out(others):
        source.notes.append(told)
    return source


def _passed_over(entry: Path, asked: Path) -> bool:
    """Hidden, or left by a file manager, itself or a folder that a pattern led through; what the user named is asked for."""
    found = [part for part in entry.parts if part not in asked.parts]
    return entry.name.startswith(".") or is_clutter("/".join(found))


def _kinds(folder: Path) -> str:
    kinds = sorted({entry.suffix or entry.name for entry in folder.iterdir()})[:5]
    return f"an empty folder: {folder}" if not kinds else "files of kind " + ", ".join(kinds)
