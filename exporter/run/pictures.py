"""Real photographs for parity, the demo and measurements: the user's own, or those that installed packages ship.

Random numbers alone prove little: a network is nearly flat far from pictures, and a wrong rewrite can hide there.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from ...runtime.errors import UserMistake
from ...runtime.ground.regular import is_clutter
from ...runtime.pictures.formats.suffixes import left_out, readable

# (package, folder inside it, files): photographs in the wheels themselves, so nothing is downloaded
PACKAGED = (
    ("skimage", "data", ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")),
    ("sklearn", "datasets/images", ("china.jpg", "flower.jpg")),
)


@dataclass(frozen=True)
class Picture:
    """One picture on disk; read by the runtime's own preprocessing, never by another decoder."""

    name: str
    path: Path


def packaged_pictures() -> tuple[Picture, ...]:
    """The photographs of scikit-image and scikit-learn, as far as these are installed; may be empty."""
    found = []
    for package, folder, names in PACKAGED:
        spec = importlib.util.find_spec(package)  # finds the folder without importing the package
        if spec is None or not spec.submodule_search_locations:
            continue
        root = Path(next(iter(spec.submodule_search_locations))) / folder
        found += [Picture(Path(name).stem, root / name) for name in names if (root / name).is_file()]
    return tuple(found)


def pictures(data: str | Path | None = None, limit: int = 8) -> tuple[Picture, ...]:
    """The pictures to judge by: those under ``data`` (a folder or one file), else the packaged photographs.

    From a larger folder ``limit`` pictures are taken, evenly over the sorted names, so that the choice is the same
    every time. Raises UserMistake when ``data`` is missing or holds no picture.
    """
    if data is None:
        return packaged_pictures()[:limit]
    root = Path(data)
    if not root.exists():
        raise UserMistake(
            f"There is no folder of pictures at {root}",
            found="nothing at that path",
            expected="a folder with pictures, or one picture",
            attempt="check the spelling of --data, or leave it out to use the photographs of installed packages",
        )
    files = _files(root)
    images = [path for path in files if path.suffix.lower() in readable()]
    if not images:
        kinds = sorted({path.suffix or "no suffix" for path in files})[:6]
        raise UserMistake(
            f"No pictures in --data {root}",
            found=f"{len(files)} files, of kind: {', '.join(kinds)}" if files else "an empty folder",
            expected="pictures: " + " ".join(readable()),
            because=left_out([path.suffix for path in files]),
            attempt="name the folder that holds the pictures; sub-folders are searched too",
        )
    chosen = [images[index * len(images) // min(limit, len(images))] for index in range(min(limit, len(images)))]
    return tuple(Picture(path.name, path) for path in chosen)


def pictures_left_out(data: object) -> tuple[str, ...]:
    """A note on the pictures of a folder that cannot be decoded here, none where there are none."""
    if not isinstance(data, (str, os.PathLike)) or not Path(data).is_dir():
        return ()
    told = left_out([path.suffix for path in _files(Path(data)) if path.suffix.lower() not in readable()])
    return (told,) if told else ()


def _files(root: Path) -> list[Path]:
    """The file itself, or all files below a folder in the order of their names; hidden ones and clutter are passed over."""
    if root.is_file():
        return [root]
    found = sorted(path for path in root.rglob("*") if path.is_file())
    names = [path.relative_to(root) for path in found]
    hidden = [any(part.startswith(".") for part in name.parts) or is_clutter(name.as_posix()) for name in names]
    return [path for path, is_hidden in zip(found, hidden, strict=True) if not is_hidden]
