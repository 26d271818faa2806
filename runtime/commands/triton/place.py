"""Where a repository is written: a free place, or one that holds what was written here before; whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ...bundle.bundle import Bundle
from ...bundle.publish import swap, writing
from ...errors import UserMistake
from ...ground.places import check_outside, real_place
from ...ground.regular import is_clutter, read_regular
from ...ground.scratch import work_folder
from ...ground.version import __version__
from .config import CONFIG, text_of
from .models import Model

OURS = "edgesmith.json"  # beside the models; Triton looks at folders alone
MOST_BYTES = 2**20


def publish(out: str, models: Sequence[Model], bundles: Sequence[Bundle], force: bool) -> Path:
    """Write the models as a repository; its absolute path.

    Raises UserMistake: the place is taken, cannot be written, or a bundle was replaced meanwhile. Then nothing has changed.
    """
    place = real_place(out)
    check_outside(place, "--out")
    with writing(place, "repository"):
        _check_place(place, force)
        with work_folder(place) as work:
            stage = work / "new"
            stage.mkdir()
            stage.chmod(0o755)
            with _unchanged(bundles):
                for model in models:
                    _write(stage / model.name, model)
            ours = {"edgesmith": __version__, "models": [model.name for model in models]}
            _put(stage / OURS, json.dumps(ours, indent=1).encode() + b"\n")
            swap(stage, place)
    return place


def _check_place(place: Path, force: bool) -> None:
    what = f"cannot write the repository {place.name}: that place is taken"
    if place.is_symlink() or os.path.ismount(place):
        raise UserMistake(what, found="a link or a mount point", expected="a free path", attempt="a folder in it")
    if not os.path.lexists(place):
        return
    if not place.is_dir():
        raise UserMistake(what, found="a file", expected="a free path", attempt="another name")
    inside = sorted(one.name for one in place.iterdir() if not is_clutter(one.name))
    if not inside:
        return
    known = {OURS, *_written(place)}
    if foreign := [name for name in inside if name not in known]:
        raise UserMistake(
            what,
            found=f"{', '.join(foreign[:5])}, which edgesmith triton did not write",
            because="replacing the folder would delete it",
            attempt="another name, or move it",
        )
    if not force:
        raise UserMistake(
            what, found="a repository", expected="a free path", attempt="another name, or --force to replace it"
        )


def _written(place: Path) -> list[str]:
    """The models that were written here before; none where that is not told."""
    try:
        found = json.loads(read_regular(place / OURS, MOST_BYTES))
        return [name for name in found["models"] if isinstance(name, str)]
    except (OSError, ValueError, KeyError, TypeError, UserMistake, RecursionError):
        return []


@contextmanager
def _unchanged(bundles: Sequence[Bundle]) -> Iterator[None]:
    """What is copied inside is what was checked when the bundles were opened."""
    with ExitStack() as held:
        for bundle in bundles:
            held.enter_context(bundle.reading(*bundle.manifest["files"]))
        yield


def _write(folder: Path, model: Model) -> None:
    _put(folder / CONFIG, text_of(model.config, model.comment).encode())
    for name, content in model.files.items():
        _put(folder / name, content)


def _put(path: Path, content: bytes | Path) -> None:
    """One file, through to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        shutil.copyfile(content, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())
