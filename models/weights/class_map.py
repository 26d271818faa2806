"""The names of the classes as a checkpoint or its folder records them, in the order of the outputs.

["cat", "dog"]    {"cat": 0, "dog": 1} (torchvision, timm)    {"0": "cat", "1": "dog"} (transformers)    -> ("cat", "dog")
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

KEYS = ("class_to_idx", "class_map", "label_names", "id2label", "idx_to_class", "class_names", "classes", "CLASSES")
INSIDE = ("dataset_meta",)  # of what OpenMMLab's trainings save as meta
MOST_CLASSES = 1_000_000
MOST_BYTES = 16_000_000


def class_map(words: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Empty where ``words`` record none; a class of no name is called by its number."""
    for key in KEYS:
        value = words.get(key)
        if (
            isinstance(value, str) and value.endswith(".txt") and len(value) < 250
        ):  # timm's --class-map: the file, which may have been copied beside the checkpoint
            value = _of_file(folder / Path(value).name)
        if names := _names(value):
            return names
    inner = (words[key] for key in INSIDE if isinstance(words.get(key), Mapping))
    return next((names for one in inner if (names := class_map(one, folder))), ())


def counted(words: Mapping[str, Any]) -> int | None:
    """How many classes the words say that there are."""
    found = words.get("num_classes", words.get("num_labels"))
    if found is None and isinstance(words.get("id2label"), Mapping):
        found = len(words["id2label"])
    return found if isinstance(found, int) and not isinstance(found, bool) and 0 < found <= MOST_CLASSES else None


def _of_file(file: Path) -> list[str] | None:
    """One name a line."""
    if file.suffix != ".txt" or not file.is_file() or file.stat().st_size > MOST_BYTES:
        return None
    return [line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]


def _decimal(index: Any) -> bool:
    return isinstance(index, (int, str)) and len(str(index)) < 10 and str(index).isdecimal()


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, (list, tuple)):
        pairs = list(enumerate(value))
    elif isinstance(value, Mapping) and all(isinstance(index, int) for index in value.values()):
        pairs = [(index, name) for name, index in value.items()]
    elif isinstance(value, Mapping):
        pairs = [(int(index), name) for index, name in value.items() if _decimal(index)]
    else:
        return ()
    if not pairs or not all(isinstance(name, str) and name.strip() and 0 <= i < MOST_CLASSES for i, name in pairs):
        return ()
    if all(name == f"LABEL_{index}" for index, name in pairs):  # what transformers writes where nobody named them
        return ()
    first: dict[int, str] = {}
    for index, name in pairs:
        first.setdefault(index, name)  # several folders may be one class
    return tuple(first.get(index, f"class {index}") for index in range(max(first) + 1))
