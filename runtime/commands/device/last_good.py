"""The last bundle of a place that held its self-test: a copy in the cache of the account, taken again where a newer one fails.

    good/NAME-DIGEST/current.json   the name of the folder that counts
    good/NAME-DIGEST/STAMP.edge/    the bundle, with the engines that were built for it here

DIGEST is that of the place the bundle is started from, so bundles of one name do not take each other's part; STAMP is that of the
manifest. A copy and no links: who writes over a bundle in its place must not write over this one. The old copy goes when the new one
is whole and counts, and never before.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path

from ...backends.user_cache import user_cache
from ...bundle.bundle import Bundle, open_bundle
from ...bundle.manifest import MANIFEST
from ...bundle.vet import is_whole_beside, walk
from ...errors import BundleRefused
from ...ground.files import replacing
from ...ground.scratch import alone, short, sweep, work_folder

FOLDER, CURRENT = "good", "current.json"
log = logging.getLogger("edgesmith")


def stamp_of(bundle: Bundle) -> str:
    """Of what a bundle holds; the manifest has the hash of every file."""
    return hashlib.sha256(json.dumps(bundle.manifest, sort_keys=True).encode()).hexdigest()[:24]


def folder_of(place: str | os.PathLike[str]) -> Path:
    """Where copies for bundles that are started from this place are; RuntimeError for an account without a home."""
    where = os.path.abspath(place)
    return (
        user_cache()
        / FOLDER
        / f"{short(os.path.basename(where))}-{hashlib.sha256(os.fsencode(where)).hexdigest()[:12]}"
    )


def last_good(place: str | os.PathLike[str]) -> Bundle | None:
    """The copy that counts, checked as every bundle is; None where there is none, or it does not hold."""
    with suppress(OSError, ValueError, RuntimeError, KeyError, TypeError):
        folder = folder_of(place)
        name = str(json.loads((folder / CURRENT).read_bytes())["bundle"])
        if os.path.basename(name) != name or name in ("", ".", ".."):
            return None
        try:
            return open_bundle(folder / name)
        except BundleRefused as error:
            log.warning("the last good bundle cannot be used: %s", error)
    return None


def keep(bundle: Bundle, place: str | os.PathLike[str]) -> bool:
    """Make this bundle, which has held its self-test, the last good one of the place; False, told, where that cannot be."""
    try:
        folder = folder_of(place)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = f"{stamp_of(bundle)}.edge"
        with alone(folder / "copy"):
            sweep(folder)
            if not (folder / name).is_dir():
                with work_folder(folder / name) as work:
                    _copy(bundle, work / "new")
                    os.replace(work / "new", folder / name)
            with replacing(folder / CURRENT, to_disk=True) as file:
                file.write(json.dumps({"bundle": name}).encode())
            others = [other for other in folder.iterdir() if other.name.endswith(".edge") and other.name != name]
            for other in others:
                with work_folder(other) as work:  # whole under its name, or not there: it may be the newest again
                    os.replace(other, work / "gone")
        return True
    except (OSError, RuntimeError) as error:  # the second: an account without a home
        log.warning("the bundle held its self-test and could not be kept for a rollback: %s", error)
        return False


def _copy(bundle: Bundle, to: Path) -> None:
    """Every file of the bundle, its signature and its engines of this device, through to the disk; the hashes are checked on the copy."""
    to.mkdir()
    beside = [name for name in walk(bundle.path) if is_whole_beside(name)]
    for name in [MANIFEST, *bundle.manifest["files"], *beside]:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.path / name, to / name)
        with (to / name).open("rb") as file:
            os.fsync(file.fileno())
    if stamp_of(open_bundle(to)) != stamp_of(bundle):
        raise OSError("it was replaced meanwhile")
