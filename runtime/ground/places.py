"""May this be written? Asked before the work whose result goes there, so that nothing is lost at its end."""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from pathlib import Path

from ..errors import UserMistake
from .scratch import sweep

MANIFEST = "manifest.json"  # of a bundle; browser extensions and web pages have files of this name too
OF_A_BUNDLE = ("schema", "files")
MAX_MANIFEST_BYTES = 64 * 1024 * 1024


def check_output(path: Path, what: str) -> None:
    """A file can be made at ``path`` later on, or replaced there. ``what`` asks for it: ``"--save"``.

    What killed runs left in its folder is removed.

    Raises UserMistake: a folder or a device in its place, no folder around it, nothing may be written in that, inside a
    bundle.
    """
    found, attempt = _in_its_place(path), f"{what} with the name of a file"
    if not found:
        check_outside(path, what)
        found, attempt = _around_it(path.absolute().parent)
    if found:
        raise UserMistake(
            f"{what} {path}: nothing can be written there",
            found=found,
            expected="a file that may be written, in a folder that exists",
            attempt=attempt or f"{what} in another folder",
        )
    sweep(path.absolute().parent)


def check_outside(path: Path, what: str) -> None:
    """UserMistake for a file or folder that lies, or would lie, in a bundle: it could not be opened any more."""
    if (bundle := bundle_around(path)) is not None:
        raise UserMistake(
            f"{what} {path} lies inside the bundle {bundle}",
            expected="a place outside of bundles",
            because="a bundle with a file that it does not list is refused when it is opened",
            attempt=f"{what} {bundle.parent / path.name}",
        )


def real_place(path: str | os.PathLike[str]) -> Path:
    """The absolute path at which the system would make ``path``: links and ``..`` before the last name are followed."""
    absolute = Path.cwd() / path  # not os.path.abspath: that drops "link/.." without looking where the link leads
    if absolute.name == "..":
        return Path(os.path.realpath(absolute))
    return Path(os.path.realpath(absolute.parent), absolute.name)


def spelled(path: str | os.PathLike[str]) -> str:
    """The path as text for a library that opens it itself and takes UTF-8, whatever this process calls its names.

    Raises UserMistake: its bytes are no UTF-8. Some libraries fail on such a name, others end the process.
    """
    try:
        return os.fsencode(path).decode("utf-8")
    except UnicodeDecodeError:
        raise UserMistake(
            f"the name of {path} is no UTF-8 text",
            found=repr(os.fsencode(path))[:200],
            expected="a path that the libraries which open it can spell",
            attempt="rename the file or the folder, or name it by a link",
        ) from None


def bundle_around(path: Path) -> Path | None:
    """The innermost folder around ``path`` that is a bundle, links and ``..`` followed as the system follows them."""
    real = Path(os.path.realpath(path.parent))
    return next((folder for folder in (real, *real.parents) if is_bundle(folder)), None)


def is_bundle(folder: Path) -> bool:
    """Whether a folder is a bundle, be it whole or not; never raises."""
    path = folder / MANIFEST
    try:
        if not stat.S_ISREG(path.lstat().st_mode) or path.stat().st_size > MAX_MANIFEST_BYTES:
            return False
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):  # not to be read, or damaged
        return path.is_file() and folder.suffix == ".edge"
    return isinstance(content, dict) and all(key in content for key in OF_A_BUNDLE)


def _in_its_place(path: Path) -> str:
    """What is at ``path`` and cannot be replaced by a file; empty where there is nothing of the kind."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:  # a name that is too long, a file where a folder should be, too many links
        return _said(error)
    return "" if stat.S_ISREG(mode) else "a folder" if stat.S_ISDIR(mode) else "no plain file"


def _around_it(folder: Path) -> tuple[str, str]:
    """What speaks against new files in ``folder``, and what to do about it; both empty where nothing does."""
    import tempfile

    if not folder.exists():
        return f"no folder {folder}", f"mkdir -p {folder}"
    try:  # asking for the permission bits is not enough: root, full quotas and odd file systems answer wrongly
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)  # a full disk takes the name, but not the content
            file.flush()
    except OSError as error:
        with suppress(OSError):
            if not folder.is_dir():
                return f"{folder} is not a folder", ""
        return f"no file can be made in {folder}: {_said(error)}", ""
    return "", ""


def _said(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
