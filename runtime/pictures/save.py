"""``--save``: where drawn frames go, decided by the suffix and checked before the model starts.

    one picture, out.jpg          that file
    pictures or a video, folder   one picture file a frame
    video, camera, stream, or     one video file
      pictures, out.mp4

Nothing that exists is replaced without ``--force``, and never the source itself.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import numpy as np

from ..errors import UserMistake
from ..ground.places import check_outside
from ..ground.regular import is_clutter
from ..ground.scratch import short, sweep
from .file import write_image
from .formats.suffixes import WRITTEN
from .video import Frame, Pictures, Source
from .video_file import CODECS, VideoFile, cannot_write, check_room

MOST_OF_A_NAME = 255  # bytes
NO_NAME = re.compile(r'[<>:"\\|?*\x00-\x1f]')  # a memory card (FAT) takes none of these in a name; addresses have them


class PictureFiles:
    """One picture file a frame: ``only`` that one, or in ``folder`` under the name of the frame."""

    def __init__(self, source: Source, folder: Path, only: Path | None = None) -> None:
        self.folder, self.only, self.saved = folder, only, 0
        self._names = _names(source.paths) if isinstance(source, Pictures) else None
        self._stem = short(NO_NAME.sub("", Path(source.name).stem.replace(" ", "_"))) or "frame"

    def place(self, frame: Frame) -> Path:
        if self.only is not None:
            return self.only
        return self.folder / (self._names[frame.index] if self._names else f"{self._stem}_{frame.index:06d}.jpg")

    def add(self, frame: Frame, drawn: np.ndarray) -> None:
        write_image(self.place(frame), drawn)
        self.saved += 1

    def finish(self) -> str:
        """What was saved, in words."""
        if not self.saved:
            return ""
        return str(self.only or f"{self.folder}: {self.saved} picture{'s' if self.saved > 1 else ''}")


class OneVideo:
    """All frames in one video file."""

    def __init__(self, source: Source, path: Path) -> None:
        self.file = VideoFile(path, source.rate(), timed=source.kind != "pictures")

    def add(self, frame: Frame, drawn: np.ndarray) -> None:
        self.file.add(drawn, frame.time_s)

    def finish(self) -> str:
        """What was saved, in words."""
        if not self.file.finish():
            return ""
        return (
            f"{self.file.path}: {self.file.frames} frame{'s' if self.file.frames > 1 else ''} at {self.file.fps:g} fps"
        )


Saver = PictureFiles | OneVideo


def saver(place: str, source: Source, force: bool) -> Saver:
    """Where the frames of ``source`` go. UserMistake for a suffix that does not fit, a taken place, no right, no room."""
    out = Path(place)
    suffix = out.suffix.lower()
    one = isinstance(source, Pictures) and len(source.paths) == 1
    is_folder = out.is_dir() or place.endswith(("/", os.sep)) or not suffix
    if not is_folder and suffix not in (*CODECS, *WRITTEN):
        raise UserMistake(
            f"--save {place}: the suffix tells the kind of file, and {suffix} is none of those that can be written",
            found=suffix,
            expected=f"a video as {' '.join(CODECS)}, a picture as {' '.join(WRITTEN)}, or a folder",
            attempt=f"--save {out.with_suffix('.jpg' if one else '.mp4')}, or --save {place}/ for a folder of that name",
        )
    if not is_folder and suffix in WRITTEN and not one:
        raise UserMistake(
            f"--save {place}: one picture file is too few",
            found=f"{source.count or 'many'} frames of {source.name}",
            expected="a folder for a picture each, or a video",
            attempt=f"--save {out.with_suffix('')}/, or --save {out.with_suffix('.mp4')}",
        )
    folder = out if is_folder else out.parent
    check_outside(folder / "picture" if is_folder else out, "--save")
    _make(folder)
    sweep(folder)
    check_room(folder)
    if is_folder:
        files = PictureFiles(source, folder)
        _check_free([files.place(Frame(i, p, None, None)) for i, p in enumerate(_paths(source))], source, force)
        if not isinstance(source, Pictures) and not force and not all(is_clutter(one.name) for one in folder.iterdir()):
            raise _taken(folder, "a folder that is not empty")
        return files
    _check_free([out], source, force)
    return OneVideo(source, out) if suffix in CODECS else PictureFiles(source, folder, out)


def _paths(source: Source) -> list[str]:
    return source.paths if isinstance(source, Pictures) else []


def _names(paths: list[str]) -> list[str]:
    """File names, with a number where two pictures of different folders have the same."""
    names: list[str] = []
    taken: set[str] = set()
    for path in map(Path, paths):
        suffix = path.suffix.lower() if path.suffix.lower() in WRITTEN else ".png"
        stem = path.stem if len(os.fsencode(path.stem + suffix)) <= MOST_OF_A_NAME else short(path.stem)
        name, number = stem + suffix, 1
        while name in taken:
            number += 1
            name = f"{short(path.stem)}-{number}{suffix}"
        taken.add(name)
        names.append(name)
    return names


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise cannot_write(folder, error) from None


def _check_free(places: list[Path], source: Source, force: bool) -> None:
    sources = {os.path.realpath(path) for path in [*_paths(source), source.name]}
    for place in places:
        if place.is_dir():
            raise _taken(place, "a folder")
        if os.path.realpath(place) in sources:
            raise UserMistake(
                f"--save would replace its own source {place}",
                expected="another place",
                because="what was drawn on a picture cannot be taken away again",
                attempt="--save another folder or name",
            )
        if os.path.lexists(place) and not force:
            raise _taken(place, "a file")


def _taken(place: Path, found: str) -> UserMistake:
    return UserMistake(
        f"--save {place}: that place is taken", found=found, expected="a free one", attempt="another name, or --force"
    )
