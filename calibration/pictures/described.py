"""A folder as ``imagefolder`` of Hugging Face has it: pictures with a table of what they show.

    metadata.csv      file_name,label            in the folder itself, or one in each of train/, validation/ and test/
    metadata.jsonl    {"file_name": "a.jpg", "label": "cat"}

A label is a name of the model's or its number; the column is called label, labels, class or category, or is the only other one.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...runtime.errors import UserMistake
from ...runtime.ground.regular import read_regular
from .files import HELD_OUT_FOLDERS
from .items import Opened, PictureFile, Pool
from .labels import class_number

TABLES = ("metadata.csv", "metadata.jsonl")
NAMES, LABELS = ("file_name", "image_file_name"), ("label", "labels", "class", "category")
MAX_TABLE_BYTES = 512 * 1024**2


def table_of(folder: Path) -> Path | None:
    """The table of a folder, where it has one."""
    return next((folder / name for name in TABLES if (folder / name).is_file()), None)


def open_described(root: Path, labels: Sequence[str]) -> Opened | None:
    """The pictures that the tables name; None where there is no table.

    Raises UserMistake: a table that cannot be read, a picture that is missing, a label that the model does not have.
    """
    held = next((name for name in HELD_OUT_FOLDERS if table_of(root / name)), "")
    if (whole := table_of(root)) is not None:
        return Opened(str(root), "folder", _pool(whole, labels), notes=(f"labels of {whole.name}",))
    train = table_of(root / "train")
    if train is None and not held:
        return None
    validation = _pool(found, labels) if (found := table_of(root / held)) and held else None
    pool = validation if train is None else _pool(train, labels)
    assert pool is not None
    used = root / (held or "train")
    return Opened(str(root), "folder", pool, validation, (f"labels of {used.name}/{(table_of(used) or used).name}",))


def _pool(table: Path, labels: Sequence[str]) -> Pool:
    rows = _rows(table)
    name_key, label_key = _keys(table, rows)
    names = [str(row.get(name_key) or "") for row in rows]
    missing = [name for name in names if not name or not (table.parent / name).is_file()]
    if missing:
        raise UserMistake(
            f"{len(missing)} of {len(names)} pictures that {table} names are missing",
            found="\n".join(missing[:3]),
            expected=f"paths below {table.parent}",
        )
    numbers = None
    if label_key and labels:
        numbers = [class_number(row.get(label_key), labels, f"{table}, row {at}") for at, row in enumerate(rows, 1)]
    groups = [str(row.get(label_key)) for row in rows] if label_key else [None] * len(rows)
    return Pool(names, groups, numbers, lambda index: PictureFile(str(table.parent / names[index])))


def _rows(table: Path) -> list[Mapping[str, Any]]:
    try:
        text = read_regular(table, MAX_TABLE_BYTES).decode("utf-8-sig")
        if table.suffix == ".csv":
            return list(csv.DictReader(io.StringIO(text, newline="")))
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except OSError as error:
        raise UserMistake(f"cannot read {table}", found=error.strerror or str(error)) from error
    except (ValueError, csv.Error, RecursionError) as error:
        raise UserMistake(
            f"{table} is no table of pictures", found=str(error)[:120], expected="a picture and its label in each row"
        ) from None
    if not all(isinstance(row, dict) for row in rows):
        raise UserMistake(
            f"{table} is no table of pictures", found="a row that is no object", expected='{"file_name": ...}'
        )
    return rows


def _keys(table: Path, rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The columns of the name and of the label; the latter is empty where there is none."""
    columns = [str(key) for key in dict.fromkeys(key for row in rows for key in row)]
    name = next((key for key in NAMES if key in columns), "")
    if not name:
        raise UserMistake(
            f"{table} does not name its pictures",
            found=f"columns {', '.join(columns[:8])}" if columns else "no row",
            expected="a column file_name",
        )
    others = [key for key in columns if key != name]
    label = next((key for key in LABELS if key in others), others[0] if len(others) == 1 else "")
    if others and not label:
        raise UserMistake(
            f"{table} does not say which column is the class",
            found=f"columns {', '.join(columns[:8])}",
            expected="one of them called label",
        )
    return name, label
