"""The models by name: variant, alias or family -> ModelSpec."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from ..runtime.errors import UserMistake
from .fixtures.fixtures import FIXTURES
from .spec import ModelSpec
from .variants import ALIASES, FAMILIES, VARIANTS

__all__ = ["ALIASES", "FAMILIES", "MODELS", "ModelSpec", "families", "find", "list_models"]

MODELS: Mapping[str, ModelSpec] = MappingProxyType({spec.name: spec for spec in (*VARIANTS, *FIXTURES)})


def find(name: str) -> ModelSpec:
    """The spec of a variant, an alias or a family (its default variant); UserMistake with the nearest names."""
    key = name.strip().lower().replace("-", "_")
    key = FAMILIES.get(key, ALIASES.get(key, key))
    if key in MODELS:
        return MODELS[key]
    known = [*FAMILIES, *ALIASES, *MODELS]
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    raise UserMistake(
        "no model of this name",
        found=repr(name),
        expected=f"one of {', '.join(FAMILIES)} or a variant of them",
        attempt=(f"did you mean {' or '.join(near)}? " if near else "") + "`edgesmith list` prints all names",
    )


def families(task: str) -> dict[str, str]:
    """Family -> default variant, of the families for one task."""
    return {family: variant for family, variant in FAMILIES.items() if MODELS[variant].task == task}


def list_models(fixtures: bool = False) -> list[ModelSpec]:
    """All variants in the order of the families; with ``fixtures`` also the small ones that we trained."""
    return [spec for spec in MODELS.values() if fixtures or not spec.fixture]
