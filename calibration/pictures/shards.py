"""A dataset of Hugging Face on this machine: what ``save_to_disk`` wrote, or shards of Parquet, with the pictures inside.

    dataset_dict.json, test/state.json, test/data-00000-of-00001.arrow      save_to_disk of several parts
    state.json, data-00000-of-00001.arrow                                   of one
    train-00000-of-00002.parquet, test-...                                  in the folder, or in data/

Read by pyarrow (extra ``hf``), a table at a time. A picture is written to a temporary folder when it is asked for.
"""

from __future__ import annotations

import atexit
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from ...runtime.errors import UserMistake
from .described import LABELS
from .files import HELD_OUT_FOLDERS
from .items import Opened, PictureFile, Pool
from .labels import class_number

Table = Callable[[], Any]  # a pyarrow table, read when it is asked for
NOTHING_READ = (OSError, ValueError, KeyError)  # of pyarrow, whose own errors are of these


@dataclass(frozen=True)
class Columns:
    """Where a table has its pictures and classes; ``names`` of the classes, empty where nobody told them."""

    picture: str
    label: str
    names: tuple[str, ...]


def open_shards(root: Path, labels: Sequence[str]) -> Opened | None:
    """The held-out part and the one to draw from; None for a folder of another kind.

    Raises UserMistake: no pyarrow, a table that cannot be read or has no picture, a label that the model does not have.
    """
    parts = _parts(root)
    if not parts:
        return None
    held = next((name for name in HELD_OUT_FOLDERS if name in parts), "")
    train = "train" if "train" in parts else held or next(iter(parts))
    notes: list[str] = []
    pools = {name: _pool(root, parts[name], labels, notes) for name in dict.fromkeys((train, held or train))}
    notes.append(f"{held or train}: {len(pools[held or train].names)} pictures of a dataset")
    return Opened(str(root), "folder", pools[train], pools[held] if held else None, tuple(dict.fromkeys(notes)))


def _parts(root: Path) -> dict[str, list[Path]]:
    """Name -> files of each part; "" where there is one."""
    if (root / "dataset_dict.json").is_file():
        return {place.name: _saved(place) for place in sorted(root.iterdir()) if (place / "state.json").is_file()}
    if (root / "state.json").is_file() and (root / "dataset_info.json").is_file():
        return {"": _saved(root)}
    found: dict[str, list[Path]] = {}
    for file in sorted(root.glob("*.parquet")) or sorted(root.glob("data/*.parquet")):
        found.setdefault(file.stem.split("-")[0] if "-" in file.stem else "", []).append(file)
    return found


def _saved(folder: Path) -> list[Path]:
    """The tables of one part, in the order that its state says."""
    try:
        state = json.loads((folder / "state.json").read_text())
        files = [folder / Path(str(one["filename"])).name for one in state["_data_files"]]
        shuffled = bool(state.get("_indices_data_files"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserMistake(f"{folder / 'state.json'} is damaged", found=str(error)[:100]) from None
    if shuffled:
        raise UserMistake(
            f"{folder} holds an order beside its tables",
            found="indices, as select() and shuffle() leave them",
            attempt="dataset.flatten_indices() before save_to_disk",
        )
    return files


def _pool(root: Path, files: Sequence[Path], labels: Sequence[str], notes: list[str]) -> Pool:
    tables, heads = [], []
    for file in files:
        try:
            some = list(_tables(file))
            heads.append(some[0][1] if some else None)
            tables += [table for table, _ in some]
        except NOTHING_READ as error:
            raise UserMistake(f"cannot read {file}", found=str(error).splitlines()[0][:120]) from None
    schema = next((head for head in heads if head is not None), None)
    if schema is None:
        raise UserMistake(f"{root} holds no picture", found=f"{len(files)} tables without a row")
    columns = _columns(root, schema)
    places: list[tuple[int, int]] = []
    known: list[Any] = []
    for number, table in enumerate(tables):
        whole = table()
        places += [(number, row) for row in range(whole.num_rows)]
        known += whole[columns.label].to_pylist() if columns.label else []
    folder = tempfile.TemporaryDirectory(prefix="edgesmith-pictures-")
    atexit.register(folder.cleanup)  # pictures outlive the pool

    @lru_cache(maxsize=1)
    def pictures(number: int) -> Any:
        return tables[number]()[columns.picture]

    def item(index: int) -> PictureFile:
        number, row = places[index]
        told = pictures(number)[row].as_py()
        data, name = (
            (told, "") if isinstance(told, bytes) else ((told or {}).get("bytes"), (told or {}).get("path") or "")
        )
        if data is None:
            return PictureFile(os.path.join(root, name))
        place = Path(folder.name, f"{index}{Path(name).suffix[:8]}")
        if not place.exists():
            place.write_bytes(data)
        return PictureFile(str(place))

    names = [f"picture {index}" for index in range(len(places))]
    numbers = _numbers(root, known, columns, labels, notes) if known and labels else None
    return Pool(names, [str(one) for one in known] or [None] * len(names), numbers, item)


def _tables(file: Path) -> Iterator[tuple[Table, Any]]:
    """Each with its schema: a group of rows of Parquet, or all of an Arrow file, which stays on disk."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UserMistake(
            f"{file} is a table of Arrow or Parquet",
            found="no module pyarrow",
            attempt="pip install 'edgesmith[hf]', or save the pictures as files in folders of their classes",
        ) from None
    if file.suffix == ".parquet":
        whole = parquet.ParquetFile(file)
        for group in range(whole.num_row_groups):
            yield partial(whole.read_row_group, group), whole.schema_arrow
        return
    stream = pyarrow.ipc.open_stream(pyarrow.memory_map(str(file))).read_all()
    yield (lambda: stream), stream.schema


def _columns(root: Path, schema: Any) -> Columns:
    """As the dataset describes itself, else by type and name."""
    told = _described(schema)
    kinds = {name: one.get("_type", "") for name, one in told.items()}
    structs = [field.name for field in schema if str(field.type).startswith("struct<bytes: binary")]
    picture = next((name for name in schema.names if kinds.get(name) == "Image"), next(iter(structs), ""))
    if not picture:
        raise UserMistake(
            f"{root} holds no pictures",
            found=f"columns {', '.join(schema.names[:8])}",
            expected="a column of pictures, as datasets.Image writes it",
        )
    classed = [name for name in schema.names if kinds.get(name) == "ClassLabel"]
    label = next((name for name in (*classed, *LABELS) if name in schema.names), "")
    names = told.get(label, {}).get("names") or () if label in classed else ()
    return Columns(picture, label, tuple(map(str, names)))


def _described(schema: Any) -> dict[str, dict[str, Any]]:
    """The features of the columns, as the dataset tells them; empty where it does not, or another tool wrote something else."""
    try:
        told = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: one for name, one in told.items() if isinstance(one, dict)}
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}


def _numbers(root: Path, known: Sequence[Any], columns: Columns, labels: Sequence[str], notes: list[str]) -> list[int]:
    """By the names of the classes; where the model calls them otherwise and there are as many, by their order."""
    names = columns.names
    found: dict[int, int] = {}
    try:
        for at, name in enumerate(names):
            found[at] = class_number(name, labels, str(root))
    except UserMistake:
        if len(names) != len(labels) or any(at != number for at, number in found.items()):
            raise
        found = {at: at for at in range(len(names))}
        notes.append(f"the {len(names)} classes are taken in their order: {names[0]} = {labels[0]} ...")
    return [
        found[value] if value in found else class_number(value, labels, f"{root}, picture {at}")
        for at, value in enumerate(known)
    ]
