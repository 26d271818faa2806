"""``edgesmith list``: families and variants with task, parameters, image size, paper and licence."""

from __future__ import annotations

import json
import re
from typing import Any

from ...models.doors.timm_names import timm_matching
from ...models.registry import FAMILIES, list_models
from . import screen

COLUMNS = ("model", "task", "parameters", "image", "pretrained", "paper", "licence of the weights")


def show(as_json: bool) -> None:
    """Print them: one JSON document, or a table."""
    print(json.dumps(models(), indent=2) if as_json else screen.table(COLUMNS, rows(), right=("parameters", "image")))


def show_timm(pattern: str, as_json: bool) -> None:
    """Names of timm that match, one a line; UserMistake with near ones where none does."""
    names = timm_matching(pattern)
    print(json.dumps(names, indent=2) if as_json else "\n".join(names))


def models() -> list[dict[str, Any]]:
    """Every variant as plain values, in the order of the registry."""
    return [
        {
            "name": spec.name,
            "family": spec.family,
            "default_of_family": FAMILIES.get(spec.family) == spec.name,
            "task": spec.task,
            "parameters": spec.parameters,
            "num_classes": spec.num_classes or None,
            "image_size": list(spec.contract.size),
            "fixed_size": spec.fixed_size,
            "size_multiple": spec.size_multiple,
            "paper": spec.paper,
            "licence_code": spec.licence_code,
            "licence_weights": spec.licence_weights,
            "pretrained": spec.pretrained,
        }
        for spec in list_models()
    ]


def rows() -> list[tuple[str, ...]]:
    """The same for a screen; the default variant of a family carries a star."""
    return [
        (
            entry["name"] + ("*" if entry["default_of_family"] else ""),
            entry["task"],
            f"{entry['parameters']:,}",
            "x".join(map(str, entry["image_size"])),
            "yes" if entry["pretrained"] else "-",
            " ".join(re.findall(r"arXiv:[\d.]+", entry["paper"])[:1]),
            _first(entry["licence_weights"]),
        )
        for entry in models()
    ]


def _first(sentence: str) -> str:
    """The first clause; an ellipsis says that ``--json`` has more."""
    clause = re.split("[;,(]", sentence)[0].strip()
    return clause if clause == sentence else clause + " ..."
