"""A folder of pictures and masks -> the pairs, by name, each mask held against its picture and against the classes.

FOLDER/images/street/7.jpg      FOLDER/masks/street/7.png       or --data MASKS --images PICTURES
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import UserMistake
from ...ground.regular import is_clutter
from ...pictures.formats.suffixes import readable
from ...pictures.size import picture_size
from .masks import read_mask

IMAGES, MASKS = "images", "masks"  # the sub-folders
IGNORED = 255  # of a mask: a pixel that nobody has judged, by custom
SHOWN = 3  # names in an error


@dataclass(frozen=True)
class Pair:
    """A picture, and the mask that says what is in it."""

    picture: Path
    mask: Path


@dataclass(frozen=True)
class Reading:
    """How the values of masks are read: ``ignored`` is no class (None: there is no such value); ``from_one``: classes count
    from 1, and 0 is no class either.
    """

    classes: int
    ignored: int | None = IGNORED
    from_one: bool = False

    def truth(self, mask: np.ndarray) -> np.ndarray:
        """(H, W) int64: the class of each pixel, -1 where it does not count."""
        values = mask.astype(np.int64) - self.from_one
        return values if self.ignored is None else np.where(mask == self.ignored, -1, values)

    def words(self) -> str:
        told = "" if self.ignored is None else f"pixels of the value {self.ignored} are no class and do not count"
        more = "values of masks count from 1, and 0 does not count" if self.from_one else ""
        return "; ".join(filter(None, (told, more))) or "every pixel of a mask counts"


def find_pairs(
    data: str | os.PathLike[str], images: str | os.PathLike[str] | None, limit: int | None = None
) -> tuple[list[Pair], list[str]]:
    """The pairs in the order of their names, ``limit`` of them drawn with a fixed seed, and notes.

    Raises:
        UserMistake: no such folder, no picture in it, or a picture without a mask.
    """
    folder, masks = _folders(Path(data), None if images is None else Path(images))
    pictures = _files(folder, readable())
    there = {path.relative_to(masks).with_suffix("").as_posix(): path for path in _files(masks, (".png",))}
    named = {path: path.relative_to(folder).with_suffix("").as_posix() for path in pictures}
    if not pictures:
        raise UserMistake(f"There is no picture in {folder}", found="a folder without any", expected="pictures")
    without = [name for name in named.values() if name not in there]
    if without:
        some = ", ".join(without[:SHOWN]) + (" ..." if without[SHOWN:] else "")
        raise UserMistake(
            f"{len(without)} of {len(pictures)} pictures have no mask",
            found=f"{some}; {len(there)} PNG files in {masks}",
            expected=f"{masks / without[0]}.png, for one: a mask has the name of its picture",
            because="a picture without a mask cannot be judged",
            attempt="masks of all pictures, or a folder of those pictures that have one",
        )
    pairs = [Pair(path, there[name]) for path, name in named.items()]
    notes = []
    if spare := len(set(there) - set(named.values())):
        notes.append(f"{spare} masks without a picture are not used")
    if limit is not None and limit < len(pairs):
        notes.append(f"{limit} of {len(pairs)} pictures, drawn with a fixed seed")
        pairs = [pairs[at] for at in sorted(np.random.default_rng(0).permutation(len(pairs))[:limit].tolist())]
    return pairs, notes


def check_pairs(pairs: list[Pair], reading: Reading) -> None:
    """UserMistake for the first mask that is not of its picture's size, or holds a class that the network has not."""
    for pair in pairs:
        mask, size = read_mask(pair.mask), picture_size(pair.picture)
        if mask.shape != size:
            raise UserMistake(
                f"The mask {pair.mask} is not of the size of its picture",
                found="{} x {} pixels".format(*mask.shape[::-1]),
                expected="{} x {}, as {} has".format(*size[::-1], pair.picture.name),
                because="which pixel of the picture a value is for is not known",
                attempt="masks as they were drawn; one that is made larger needs cv2.INTER_NEAREST",
            )
        most = int(reading.truth(mask).max())
        if most >= reading.classes:
            raise UserMistake(
                f"The mask {pair.mask} holds a class that the network does not have",
                found=f"the value {most + reading.from_one}",
                expected=f"{reading.from_one:d} to {reading.classes - 1 + reading.from_one}; {reading.words()}",
                because="its answers could not be told right from wrong",
                attempt=_attempt(most, reading),
            )


def _attempt(most: int, reading: Reading) -> str:
    if most == reading.classes and not reading.from_one:
        return (
            "--reduce-labels, where values count from 1 and 0 is nothing (ADE20K); or masks with the network's numbers"
        )
    return f"masks with the network's numbers, or --ignore-label {most + reading.from_one} where that value is no class"


def _folders(data: Path, images: Path | None) -> tuple[Path, Path]:
    folders = (
        {"pictures": data / IMAGES, "masks": data / MASKS} if images is None else {"pictures": images, "masks": data}
    )
    if not data.exists() or any(not one.is_dir() for one in folders.values()):
        raise _no_folders(data, images, folders)
    return folders["pictures"], folders["masks"]


def _no_folders(data: Path, images: Path | None, folders: Mapping[str, Path]) -> UserMistake:
    missing = [f"no folder {place}" for place in folders.values() if not place.is_dir()]
    inside = sorted(one.name for one in data.iterdir() if one.is_dir())[:4] if data.is_dir() else []
    found = f"{data}: nothing at that path" if not data.exists() else "; ".join(missing)
    return UserMistake(
        f"{data} holds no pictures with masks",
        found=found + (f"; in it {', '.join(inside)}" if inside and images is None else ""),
        expected=f"a folder with the sub-folders {IMAGES} and {MASKS}, or --data MASKS --images PICTURES",
        because="a segmenter is judged pixel by pixel",
        attempt=f"--data {data} --images PICTURES, where {data} holds the masks"
        if data.is_dir()
        else "the path of the folder",
    )


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes and not is_clutter(path.name))
    return sorted(path for path in found if path.is_file())
