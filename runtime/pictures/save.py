"""``--save``: where drawn frames go, decided by the suffix and checked before the model starts.

    one picture, out.jpg          that file
    pictures or a video, folder   one picture file a frame
    video, camera, stream, or     one video file
      pictures, out.mp4
    answers that are no pictures  a file of their own kind each, in the same way: out.npy, or a folder

Nothing that exists is replaced without ``--force``, and never the source itself.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import numpy as np

from ..errors import UserMistake
from ..ground.files import replacing
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
    """One file a frame: ``only`` that one, or in ``folder`` under the name of the frame.

    A picture; or bytes of another kind of file, ``kept_as`` its suffix.
    """

    def __init__(self, source: Source, folder: Path, only: Path | None = None, kept_as: str = "") -> None:
        self.folder, self.only, self.kept_as, self.saved = folder, only, kept_as, 0
        self._names = _names(source.paths, kept_as) if isinstance(source, Pictures) else None
        self._stem = short(NO_NAME.sub("", Path(source.name).stem.replace(" ", "_"))) or "frame"

    def place(self, frame: Frame) -> Path:
        if self.only is not None:
            return self.only
        return self.folder / (
            self._names[frame.index] if self._names else f"{self._stem}_{frame.index:06d}{self.kept_as or '.jpg'}"
        )

    def add(self, frame: Frame, made: np.ndarray | bytes) -> None:
        if isinstance(made, bytes):
            self._write(self.place(frame), made)
        else:
            write_image(self.place(frame), made)
        self.saved += 1

    def _write(self, place: Path, content: bytes) -> None:
        try:
            with replacing(place, hidden=True) as file:
                file.write(content)
        except OSError as error:
            raise cannot_write(place, error) from None

    def finish(self) -> str:
        """What was saved, in words."""
        if not self.saved:
            return ""
        what = f"{self.kept_as} file" if self.kept_as else "picture"
        return str(self.only or f"{self.folder}: {self.saved} {what}{'s' if self.saved > 1 else ''}")


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


def saver(place: str, source: Source, force: bool, kept_as: str = "", flag: str = "--save") -> Saver:
    """Where the frames of ``source`` go; ``kept_as``: the suffix of files that are no drawn pictures, named by ``flag``.

    UserMistake for a suffix that does not fit, a taken place, no right, no room.
    """
    out = Path(place)
    suffix = out.suffix.lower()
    one = isinstance(source, Pictures) and len(source.paths) == 1
    is_folder = out.is_dir() or place.endswith(("/", os.sep)) or not suffix
    files, videos = ((kept_as,), ()) if kept_as else (WRITTEN, tuple(CODECS))
    if not is_folder and suffix not in (*videos, *files):
        several = "" if kept_as else f"a video as {' '.join(videos)}, "
        instead = out.with_suffix(kept_as or (".jpg" if one else ".mp4"))
        raise UserMistake(
            f"{flag} {place}: the suffix tells the kind of file, and {suffix} is none of those that can be written",
            found=suffix,
            expected=f"{several}a {'file' if kept_as else 'picture'} as {' '.join(files)}, or a folder",
            attempt=f"{flag} {instead}, or {flag} {place}/ for a folder of that name",
        )
    if not is_folder and suffix in files and not one:
        kind, many = (f"{kept_as} file", "a file") if kept_as else ("picture file", "a picture")
        raise UserMistake(
            f"{flag} {place}: one {kind} is too few",
            found=f"{source.count or 'many'} frames of {source.name}",
            expected=f"a folder for {many} each" + ("" if kept_as else ", or a video"),
            attempt=f"{flag} {out.with_suffix('')}/" + ("" if kept_as else f", or {flag} {out.with_suffix('.mp4')}"),
        )
    folder = out if is_folder else out.parent
    check_outside(folder / "picture" if is_folder else out, flag)
    _make(folder)
    sweep(folder)
    check_room(folder)
    if is_folder:
        in_folder = PictureFiles(source, folder, kept_as=kept_as)
        free = [in_folder.place(Frame(i, p, None, None)) for i, p in enumerate(_paths(source))]
        _check_free(free, source, force, flag)
        if not isinstance(source, Pictures) and not force and not all(is_clutter(one.name) for one in folder.iterdir()):
            raise _taken(folder, "a folder that is not empty", flag)
        return in_folder
    _check_free([out], source, force, flag)
    return OneVideo(source, out) if suffix in videos else PictureFiles(source, folder, out, kept_as)


def _paths(source: Source) -> list[str]:
    return source.paths if isinstance(source, Pictures) else []


def _names(paths: list[str], kept_as: str = "") -> list[str]:
    """File names, with a number where two pictures of different folders have the same."""
    names: list[str] = []
    taken: set[str] = set()
    for path in map(Path, paths):
        suffix = kept_as or (path.suffix.lower() if path.suffix.lower() in WRITTEN else ".png")
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


def _check_free(places: list[Path], source: Source, force: bool, flag: str) -> None:
    sources = {os.path.realpath(path) for path in [*_paths(source), source.name]}
    for place in places:
        if place.is_dir():
            raise _taken(place, "a folder", flag)
        if os.path.realpath(place) in sources:
            raise UserMistake(
                f"{flag} would replace its own source {place}",
                expected="another place",
                because="what was drawn on a picture cannot be taken away again",
                attempt=f"{flag} another folder or name",
            )
        if os.path.lexists(place) and not force:
            raise _taken(place, "a file", flag)


def _taken(place: Path, found: str, flag: str) -> UserMistake:
    return UserMistake(
        f"{flag} {place}: that place is taken", found=found, expected="a free one", attempt="another name, or --force"
    )
