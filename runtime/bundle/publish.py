"""Putting a bundle in its place: built as a temporary sibling, checked, then renamed.

Whatever goes wrong on the way (disk full, Ctrl-C, a name that leads out), the place holds what it held before and the
sibling is removed. A killed process can leave a ``.<name>.<random>.partial`` folder behind, never half a bundle.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import BundleRefused, UserMistake
from .manifest import MANIFEST, read_manifest, sealed_text
from .vet import check_folder, check_name, graph_rows, is_device_engine, sha256, walk

Content = bytes | Path  # the content itself, or a file to copy


def check_place(out: Path, overwrite: bool) -> None:
    """Only a free path, an empty folder or, with ``overwrite``, a bundle without foreign files may be written to."""
    if not os.path.lexists(out) or (out.is_dir() and not out.is_symlink() and not any(out.iterdir())):
        return
    what = f"cannot write the bundle {out.name}: that place is taken"
    if out.is_symlink() or not out.is_dir():
        raise UserMistake(what, found="a link" if out.is_symlink() else "a file", expected="a free path")
    try:
        manifest = read_manifest(out)
        foreign = sorted(n for n in set(walk(out)) - set(manifest["files"]) - {MANIFEST} if not is_device_engine(n))
    except BundleRefused as error:
        raise UserMistake(
            what,
            found=f"a folder that is not a bundle ({error.found})",
            because="replacing it would delete something that Edgesmith did not write",
            attempt="another name",
        ) from None
    if foreign:
        raise UserMistake(
            what, found=f"a bundle with files of yours in it: {', '.join(foreign[:5])}", attempt="move them"
        )
    if not overwrite:
        raise UserMistake(what, found="a bundle", expected="a free path", attempt="another name, or overwrite it")


def publish(
    out: Path, manifest: Mapping[str, Any], files: Mapping[str, Content | None], old: Mapping[str, Any] | None = None
) -> None:
    """Build the whole bundle beside ``out``, check it, then rename it into place.

    With ``old``, the manifest of the bundle now at ``out``, its other files are kept; None as content removes one.
    """
    for name in files:
        check_name(name)
    stage = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
        stage.chmod(0o755)
        records = _keep(out, stage, old, files) if old else {}
        for name, content in files.items():
            if content is not None:
                records[name] = _put(stage / name, content)
        _put(stage / MANIFEST, sealed_text({**manifest, "files": dict(sorted(records.items()))}).encode())
        check_folder(stage, read_manifest(stage), hashes=False)  # what is published can be opened
        _swap(stage, out)
    except OSError as error:
        raise UserMistake(
            f"cannot write the bundle {out.name}",
            found=f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}",
            because="nothing was left behind; what was there before is still there",
            attempt="check the free space and the permissions of the folder, or choose another place",
        ) from error
    finally:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)


def _keep(
    out: Path, stage: Path, old: Mapping[str, Any], files: Mapping[str, Content | None]
) -> dict[str, dict[str, Any]]:
    """Take over what an update does not touch, as hard links where the file system has them; their records."""
    same = not any(row["file"] in files for row in graph_rows(old).values())  # then what was built here still fits
    device = [name for name in walk(out) if same and is_device_engine(name)]
    kept = [name for name in old["files"] if name not in files]
    for name in [*kept, *device]:
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(out / name, stage / name)
        except OSError:
            shutil.copyfile(out / name, stage / name)
    return {name: old["files"][name] for name in kept}


def _put(path: Path, content: Content) -> dict[str, Any]:
    """Write one file through to the disk; its record for the manifest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        shutil.copyfile(content, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return {"sha256": sha256(path), "bytes": path.stat().st_size}


def _swap(stage: Path, out: Path) -> None:
    """Put the finished folder at ``out``; a folder that was there comes back if that fails."""
    if not out.exists():
        os.replace(stage, out)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".old", dir=out.parent))
    os.replace(out, aside)
    try:
        os.replace(stage, out)
    except BaseException:
        os.replace(aside, out)
        raise
    shutil.rmtree(aside, ignore_errors=True)
