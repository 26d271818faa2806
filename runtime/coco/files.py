"""The pictures that an annotation file names -> where they are, and whether they are the pictures that were annotated.

Every entry finds its own file: a ``file_name`` is looked for below one folder, with the same leading folders left away for
all entries of the set (``/data/frames/cam0/1.png`` below ``frames`` is ``cam0/1.png``).  So ``cam0/1.png`` and ``cam1/1.png`` never
become one file, and where two entries lead to one all the same (a link, capitals, ``./``) that is an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserMistake
from ..pictures.file import read_image
from ..pictures.size import sized
from .fields import side_of

OTHER_SHARE = 0.01  # of the pictures may have another size than annotated and are left out; more is another set
LOOK_AT = 20  # names, evenly spread, that decide where the pictures are
ELSEWHERE = re.compile(r"[/\\]|[A-Za-z]:[/\\]|\w+://")  # an absolute path, here or on Windows, or a URL


def locate(
    file: Path,
    images: str | os.PathLike[str] | None,
    pictures: Mapping[Any, Mapping[str, Any]],
    chosen: Collection[Any],
    notes: list[str],
) -> dict[Any, Path]:
    """The path of each ``chosen`` picture; UserMistake when some are missing, or two are one file."""
    names = [str(entry["file_name"]) for entry in pictures.values()]
    if images is not None:
        folder, given = Path(images), True
        if not folder.is_dir():
            found = "a file" if folder.exists() else "nothing at that path"
            raise UserMistake(f"there are no pictures in {folder}", found=found, expected="the folder of the pictures")
        left_away = _left_away([folder], names, given)[1]
    else:
        places, given = beside(file), False
        folder, left_away = _left_away(places, names, given)
        if not any(_find(folder, name, left_away, given) for name in _some(names)):
            raise UserMistake(
                f"the pictures of {file} are not beside it",
                found=f"{printable(str(pictures[next(iter(chosen))]['file_name']))} in none of\n"
                + "\n".join(map(str, places)),
                expected="the folder of the pictures",
                attempt="--images DIR",
            )
        notes.append(f"pictures of {folder}")
    found_at = {n: _find(folder, str(pictures[n]["file_name"]), left_away, given) for n in chosen}
    missing = [str(pictures[number]["file_name"]) for number, path in found_at.items() if path is None]
    if missing:
        raise _missing(file, folder, missing, len(found_at))
    paths = {number: path for number, path in found_at.items() if path is not None}
    if left_away:
        _tell_left_away(file, folder, names, left_away, notes)
    _refuse_one_file_twice(file, paths, pictures)
    return paths


def beside(file: Path) -> list[Path]:
    """Where the pictures of an annotation file usually are: instances_val2017.json > val2017, ../val2017, images/..."""
    here, stem = file.parent, file.stem
    part = stem.split("_", 1)[1] if "_" in stem else stem
    above = here.parent if here.name else here / ".."
    places = [here, here / "images", here / stem, here / part, above / part, above / "images" / part, above / "images"]
    return [place for place in dict.fromkeys(places) if place.is_dir()]


def _some(names: Sequence[str]) -> Sequence[str]:
    return names[:: max(1, len(names) // LOOK_AT)]


def _parts(name: str) -> list[str]:
    """Folders and file of a name, written with / or with backslashes."""
    return [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]


def _find(folder: Path, name: str, left_away: int, given: bool) -> Path | None:
    """The file of ``name`` below ``folder``, its first ``left_away`` folders left away.

    An absolute name is taken as it is where no folder is ``given``.
    """
    if not left_away:
        if not given and os.path.isabs(name) and os.path.isfile(name):
            return Path(name)
        if not ELSEWHERE.match(name) and os.path.isfile(folder / name):  # a backslash may be a letter of the name
            return folder / name
    path = folder.joinpath(*_parts(name)[left_away:])
    return path if os.path.isfile(path) else None  # of os.path: False for names that no file can have


def _left_away(folders: Sequence[Path], names: Sequence[str], given: bool) -> tuple[Path, int]:
    """(folder, how many leading folders of all names to leave away): the fewest with which pictures are found."""
    shared = len(os.path.commonprefix([_parts(name)[:-1] for name in names]))
    some = _some(names)
    for count in range(shared + 1):
        found = [sum(_find(folder, name, count, given) is not None for name in some) for folder in folders]
        if max(found):
            return folders[found.index(max(found))], count
    return folders[0], 0


def _tell_left_away(file: Path, folder: Path, names: Sequence[str], left_away: int, notes: list[str]) -> None:
    """A note where the folders left away are not the name of ``folder`` itself; an error where the named file is elsewhere."""
    gone, whole = _parts(names[0])[:left_away], folder.absolute()
    if [part for part in gone if part != ".."] in (
        list(whole.parts[-left_away:]),
        list(whole.resolve().parts[-left_away:]),
    ):
        return
    taken = folder.joinpath(*_parts(names[0])[left_away:])
    root = _above(file, folder, names[0])
    if root is not None and not (taken.exists() and root.joinpath(*_parts(names[0])).samefile(taken)):
        raise UserMistake(
            f"{folder} is not the folder that {file} names",
            found=f"{printable(names[0])} is in {root}, and {folder} has another picture of that name",
            expected="pictures that are found by the whole of their file_name",
            attempt=f"--images {root}",
        )
    notes.append(f"file names begin with {printable('/'.join(gone))}: what stands behind it is looked for in {folder}")


def _above(file: Path, folder: Path, name: str) -> Path | None:
    """The folder above ``folder``, or that of the annotations, in which a relative name is found as it is."""
    places = () if ELSEWHERE.match(name) else (file.absolute().parent, *folder.absolute().parents)
    return next((place for place in places if os.path.isfile(place.joinpath(*_parts(name)))), None)


def _missing(file: Path, folder: Path, missing: Sequence[str], total: int) -> UserMistake:
    shown = [(printable(name) if name == name.strip() else repr(name)) + _like(folder, name) for name in missing[:3]]
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    root = _above(file, folder, missing[0])
    return UserMistake(
        f"{len(missing)} of {total} pictures of {file} are missing",
        found=f"{', '.join(shown)}{more}: not in {folder}",
        because="figures of a part of the set compare with nobody's",
        attempt=f"--images {root or 'with the folder'}, below which every file_name is found",
    )


def _like(folder: Path, name: str) -> str:
    """Words about a file there whose name differs in capitals or in blanks at its ends."""
    path = folder.joinpath(*_parts(name))
    try:
        near = sorted(os.listdir(path.parent))
    except (OSError, ValueError):
        return ""
    like = next((other for other in near if other.strip().casefold() == path.name.strip().casefold()), None)
    return "" if like is None else f" (there is {like!r})"


def _refuse_one_file_twice(file: Path, paths: Mapping[Any, Path], pictures: Mapping[Any, Mapping[str, Any]]) -> None:
    seen: dict[tuple[int, int], Any] = {}
    for number, path in paths.items():
        status = os.stat(path)
        first = seen.setdefault((status.st_dev, status.st_ino), number)
        if first != number:
            one, other = (f"{printable(str(pictures[n]['file_name']))} (id {n!r})" for n in (first, number))
            raise UserMistake(
                f"two pictures of {file} are one file",
                found=f"{one} and {other}: {path}",
                expected="a file for each picture, links and capitals looked through",
                because="the boxes of one would be judged on the pixels of the other",
                attempt="list the picture once, or --images with the folder that holds both",
            )


def leave_out(
    file: Path, paths: Mapping[Any, Path], entries: Mapping[Any, Mapping[str, Any]], notes: list[str]
) -> dict[Any, tuple[int, int]]:
    """id -> (height, width) of each picture as it is decoded; those annotated at another size, or broken, are left out."""
    sizes: dict[Any, tuple[int, int]] = {}
    wrong: list[str] = []
    turned = by_exif = 0
    for number, path in paths.items():
        where = f"the picture {number!r}"
        asked = tuple(side_of(file, where, entries[number], side) for side in ("height", "width"))
        try:
            found, exif = sized(path)
        except UserMistake as mistake:
            wrong.append(f"{printable(path.name)}: {mistake.found}")
            continue
        if all(side in (None, real) for side, real in zip(asked, found, strict=True)):
            sizes[number] = found
            by_exif += exif
            continue
        turned += asked == found[::-1]
        wrong.append(f"{printable(path.name)}: {found[1]} x {found[0]}, annotated at {asked[1]} x {asked[0]}")
    if len(wrong) > OTHER_SHARE * len(paths):
        why = "the camera's orientation (EXIF) turns the picture when it is read" if turned else ""
        raise UserMistake(
            f"{len(wrong)} of {len(paths)} pictures cannot be used: broken or not of the size that {file} says",
            found="\n".join(wrong[:3]),
            because=why or "boxes in pixels fit only the picture that was annotated",
            attempt="turn the files for good and annotate those, or take the orientation out of the files"
            if turned
            else "--images with the folder of the pictures as they were annotated",
        )
    if by_exif:
        notes.append(f"{by_exif} pictures are turned by EXIF: boxes are those of the turned picture")
    if wrong:
        notes.append(f"{len(wrong)} pictures left out, broken or not of the annotated size: {'; '.join(wrong[:3])}")
    return sizes


def read_annotated(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The picture as uint8 (H, W, 3) RGB; UserMistake where it is decoded at another size than ``leave_out`` found."""
    image = read_image(path)
    check_size(path, image, size)
    return image


def check_size(path: str | os.PathLike[str], image: np.ndarray, size: tuple[int, int]) -> None:
    """UserMistake where a picture was decoded at another size than its boxes are held to."""
    if image.shape[:2] != size:
        raise UserMistake(
            f"the picture {path} was decoded at another size than its file says",
            found=f"{image.shape[1]} x {image.shape[0]} pixels",
            expected=f"{size[1]} x {size[0]}",
            because="its boxes would be those of another picture",
            attempt="save it again as PNG, or run the command again if it changed meanwhile",
        )


def printable(name: str) -> str:
    """A file name as it may stand on a screen."""
    return name if name.isprintable() else name.encode("unicode_escape").decode("ascii")
