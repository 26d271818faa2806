"""A folder or a list file -> the pictures that may be drawn, in an order that is the same on every machine.

photos/cat/a.jpg            sub-folders are classes (nested folders belong to the first one)
photos/train/..., val/...   train calibrates, val (or valid, validation, test) is held out
list.txt                    one path a line, relative to the file; after a tab or the last blank a label may follow
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path

from ...runtime.errors import UserMistake
from ...runtime.ground.regular import is_clutter, read_regular
from ...runtime.pictures.formats.suffixes import left_out, readable
from .items import Opened, PictureFile, Pool
from .labels import class_number, folder_classes

HELD_OUT_FOLDERS = ("val", "valid", "validation", "test")  # the first that is there is taken
MAX_LIST_BYTES = 256 * 1024 * 1024


def open_folder(root: Path, labels: Sequence[str]) -> Opened:
    """The pictures under ``root``; UserMistake when there are none."""
    names, others = _walk(root)
    if not names:
        kinds = ", ".join(f"{number} {kind or 'without suffix'}" for kind, number in others.most_common(4))
        raise UserMistake(
            f"there are no pictures in {root}",
            found=f"{others.total()} other files: {kinds}" if others else "an empty folder",
            expected="pictures: " + " ".join(readable()),
            because=left_out(others),
            attempt="name the folder that holds the pictures; sub-folders are searched, hidden ones are not",
        )
    notes = [told] if (told := left_out(others)) else []
    train, held = _split(names, labels)
    names = [name for name in names if name.startswith((train, held))]
    folders = sorted({group for name in names if (group := _group(name, train, held))})
    classes, note = folder_classes(folders, labels) if folders else (None, "")
    if note:
        notes.append(note)

    def pool(part: str) -> Pool:
        chosen = [name for name in names if name.startswith(part)]
        groups = [_group(name, train, held) for name in chosen]
        known = classes if classes and all(groups) else None
        numbers = [known[group] for group in groups] if known else None
        return Pool(chosen, groups, numbers, lambda index: PictureFile(str(root / chosen[index])))

    return Opened(str(root), "folder", pool(train), pool(held) if held else None, tuple(notes))


def open_list(path: Path, labels: Sequence[str]) -> Opened:
    """The pictures that ``path`` lists; UserMistake for a path that is missing or a label on only some lines."""
    try:
        text = read_regular(path, MAX_LIST_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise UserMistake(f"cannot read {path}", found=error.strerror or str(error)) from error
    except UnicodeDecodeError:
        raise UserMistake(
            f"{path} is not a list of pictures",
            found="bytes that are no UTF-8 text",
            expected="text, one path a line, or a folder, a picture, .npz or .npy",
        ) from None
    names, numbers, missing = [], [], []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, label = _parse(line.strip(), path.parent)
        if name is None:
            missing.append(f"line {number}: {line.strip()[:60]}")
            continue
        names.append(name)
        numbers.append(None if label is None else class_number(label, labels, f"{path}, line {number}"))
    if missing:
        raise UserMistake(
            f"{len(missing)} of {len(missing) + len(names)} pictures listed in {path} are missing",
            found="\n".join(missing[:3]) + (f"\nand {len(missing) - 3} more" if len(missing) > 3 else ""),
            expected="a path, or a path and a label, on each line",
            attempt=f"write absolute paths, or paths relative to {path.parent}",
        )
    if not names:
        raise UserMistake(f"{path} lists no picture", found="no line with a path", expected="one path a line")
    bare = numbers.count(None)
    if 0 < bare < len(numbers):
        raise UserMistake(f"{path} has labels on some lines only", found=f"{bare} of {len(numbers)} lines without one")
    known = None if bare else [number for number in numbers if number is not None]
    pool = Pool(names, numbers, known, lambda index: PictureFile(str(path.parent / names[index])))
    return Opened(str(path), "list", pool)


def open_picture(path: Path) -> Opened:
    """One picture file."""
    return Opened(str(path), "list", Pool([path.name], [None], None, lambda index: PictureFile(str(path))))


def _walk(root: Path) -> tuple[list[str], Counter[str]]:
    """Sorted names of the pictures below ``root``, and how many other files there are of each suffix.

    Links are followed, a folder that is reached twice (a link back, a loop) counts once; hidden names are left out.
    """
    names: list[str] = []
    others: Counter[str] = Counter()
    seen: set[tuple[int, int]] = set()
    waiting = deque([""])  # linked folders wait at the end, so that a picture goes by its real path
    while waiting:
        folder = waiting.popleft()
        try:
            status = os.stat(root / folder)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(root / folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise UserMistake(f"cannot read the folder {root / folder}", found=error.strerror or str(error)) from error
        for entry in entries:
            name = f"{folder}{entry.name}"
            if entry.name.startswith(".") or is_clutter(entry.name):
                continue
            link = entry.is_symlink()
            if os.path.isdir(entry.path) if link else entry.is_dir():
                waiting.append(name + "/") if link else waiting.appendleft(name + "/")
            elif os.path.isfile(entry.path) if link else entry.is_file():  # no pipes, no devices, no broken links
                suffix = os.path.splitext(name)[1].lower()
                names.append(name) if suffix in readable() else others.update([suffix])
    return sorted(names), others


def _split(names: Sequence[str], labels: Sequence[str]) -> tuple[str, str]:
    """("train/", "val/") when the folder is divided so, else ("", ""); a model may have a class "train", too."""
    tops = {top.casefold(): top for name in names if (top := _group(name, "", ""))}
    held = next((tops[name] for name in HELD_OUT_FOLDERS if name in tops), "")
    if "train" not in tops or not held or {"train", held.casefold()} <= {label.casefold() for label in labels}:
        return "", ""
    return tops["train"] + "/", held + "/"


def _group(name: str, train: str, held: str) -> str:
    """The folder that stands for the class: the first below the root or the split; "" directly in it."""
    for part in (train, held):
        if part and name.startswith(part):
            name = name[len(part) :]
            break
    return name.split("/", 1)[0] if "/" in name else ""


def _parse(line: str, folder: Path) -> tuple[str | None, str | None]:
    """(path, label) of one line; the path is None when there is no such file. Blanks in paths are fine."""
    if os.path.isfile(folder / line):
        return line, None
    for separator in ("\t", " ", ","):
        name, found, label = line.rpartition(separator)
        if found and os.path.isfile(folder / name.strip()):
            return name.strip(), label.strip()
    name, found, label = line.partition("\t")  # a label with blanks: a tab stands before it
    return (name.strip(), label.strip()) if found and os.path.isfile(folder / name.strip()) else (None, None)
