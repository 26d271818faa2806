"""The pictures that an annotation file names -> where they are, and whether they are the pictures that were annotated."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserMistake
from ..pictures.size import picture_size

OTHER_SHARE = 0.01  # of the pictures may have another size than annotated and are left out; more is another set


def locate(
    file: Path, images: str | os.PathLike[str] | None, pictures: Mapping[Any, Mapping[str, Any]], notes: list[str]
) -> dict[Any, Path]:
    """The path of each picture; UserMistake when some are missing."""
    names = [str(entry["file_name"]) for entry in pictures.values()]
    if images is not None:
        folder = Path(images)
        if not folder.is_dir():
            found = "a file" if folder.exists() else "nothing at that path"
            raise UserMistake(f"there are no pictures in {folder}", found=found, expected="the folder of the pictures")
    else:
        places = beside(file)
        folder = max(places, key=lambda place: sum(_path(place, name).is_file() for name in names[:20]))
        if not any(_path(folder, name).is_file() for name in names[:20]):
            raise UserMistake(
                f"the pictures of {file} are not beside it",
                found=f"{printable(names[0])} in none of\n" + "\n".join(map(str, places)),
                expected="the folder of the pictures",
                attempt="--images DIR",
            )
        notes.append(f"pictures of {folder}")
    paths = {number: _path(folder, str(entry["file_name"])) for number, entry in pictures.items()}
    missing = [path for path in paths.values() if not path.is_file()]
    if missing:
        named = ", ".join(printable(path.name) for path in missing[:3])
        raise UserMistake(
            f"{len(missing)} of {len(paths)} pictures of {file} are missing",
            found=named + (f" and {len(missing) - 3} more" if len(missing) > 3 else "") + f": not in {folder}",
            because="figures of a part of the set compare with nobody's",
            attempt="--images with the folder that has them",
        )
    return paths


def beside(file: Path) -> list[Path]:
    """Where the pictures of an annotation file usually are: instances_val2017.json > val2017, ../val2017, images/..."""
    here, stem = file.parent, file.stem
    part = stem.split("_", 1)[1] if "_" in stem else stem
    above = here.parent if here.name else here / ".."
    places = [here, here / "images", here / stem, here / part, above / part, above / "images" / part, above / "images"]
    return [place for place in dict.fromkeys(places) if place.is_dir()]


def leave_out(
    file: Path, paths: Mapping[Any, Path], entries: Mapping[Any, Mapping[str, Any]], notes: list[str]
) -> dict[Any, tuple[int, int]]:
    """id -> (height, width) of each picture as it is decoded; those annotated at another size, or broken, are left out."""
    sizes: dict[Any, tuple[int, int]] = {}
    wrong: list[str] = []
    turned = 0
    for number, path in paths.items():
        entry = entries[number]
        asked = (entry.get("height"), entry.get("width"))
        try:
            found = picture_size(path)
        except UserMistake as mistake:
            wrong.append(f"{printable(path.name)}: {mistake.found}")
            continue
        if None in asked or asked == found:
            sizes[number] = found
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
    if wrong:
        notes.append(f"{len(wrong)} pictures left out, broken or not of the annotated size: {'; '.join(wrong[:3])}")
    return sizes


def _path(folder: Path, name: str) -> Path:
    """``name`` in the folder; some tools write paths of which only the last part is there."""
    path = folder / name
    return path if path.is_file() else folder / name.replace("\\", "/").rsplit("/", 1)[-1]


def printable(name: str) -> str:
    """A file name as it may stand on a screen."""
    return name if name.isprintable() else name.encode("unicode_escape").decode("ascii")
