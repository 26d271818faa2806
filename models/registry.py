"""The models by name: variant, alias or family -> ModelSpec; ours from their families' facts, and those of others.

    edgesmith.register_model(ModelSpec(name="toy_small", family="toy", module=__name__, ...))

spec.py says what a spec and the module that it names must have.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from ..runtime.errors import UserMistake
from ..runtime.ground.registry import NAME, Registry, check_type
from .doors.building import tuples, with_arguments
from .doors.kinds import as_made
from .doors.names import EXAMPLES, PLACES, door_of, meant, spec_of
from .doors.timm_names import timm_names
from .families.convit import facts as convit
from .families.damo_yolo import facts as damo_yolo
from .families.davit import facts as davit
from .families.gui_aima import facts as gui_aima
from .families.smt import facts as smt
from .families.van import facts as van
from .families.vit_ggem import facts as vit_ggem
from .fixtures.fixtures import FIXTURES
from .spec import ModelSpec

__all__ = ["ALIASES", "FAMILIES", "MODELS", "ModelSpec", "families", "find", "list_models", "register_model"]

FACTS: tuple[ModuleType, ...] = (
    convit,
    smt,
    davit,
    van,
    vit_ggem,
    damo_yolo,
    gui_aima,
)  # the order of every list of models
MODELS = Registry("model", {spec.name: spec for spec in (*(s for f in FACTS for s in f.VARIANTS), *FIXTURES)})
FAMILIES = Registry("family", {facts.VARIANTS[0].family: facts.VARIANTS[0].name for facts in FACTS})  # -> its default
ALIASES: dict[str, str] = {**vit_ggem.ALIASES, **damo_yolo.ALIASES, **gui_aima.ALIASES}


def register_model(spec: ModelSpec) -> ModelSpec:
    """Add a variant; the first of a new family becomes that family's default. The same spec twice changes nothing.

    Raises:
        UserMistake: the name is taken or cannot be typed, or the family is new and ``spec.module`` does not say where it is.
    """
    check_type(spec, ModelSpec, "register_model")
    told = f"register_model: {spec.name!r} of family {spec.family!r}"
    for name in (spec.name, spec.family):
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise UserMistake(
                f"A model cannot be called {name!r}",
                found=told,
                expected="lower case, no spaces, underscores instead of dashes",
                because="names are looked up in this spelling, so that SMT-Tiny finds smt_tiny",
                attempt=f"the name {re.sub('[^a-z0-9_.]+', '_', _key(str(name))) or 'mine'!r}",
            )
    if spec.name in ALIASES or FAMILIES.get(spec.name, spec.name) != spec.name:
        raise UserMistake(
            f"{spec.name} is the name of a family or an alias",
            found=told,
            expected="a name that nobody has taken",
            attempt=f"the name {spec.name}_1",
        )
    if spec.family not in FAMILIES and spec.family in (*ALIASES, *(name for name in MODELS if name != spec.name)):
        raise UserMistake(
            f"{spec.family} is the name of a model or an alias",
            found=told,
            expected="a family of a name that nobody has taken",
            because="the name of a family finds its first variant, so the model would be found no more",
            attempt=f"the family {MODELS[spec.family].family if spec.family in MODELS else spec.family + '_1'}",
        )
    if spec.module is None and spec.family not in FAMILIES:
        raise UserMistake(
            f"Where is the network of the family {spec.family}?",
            found=f"{told}, without a module",
            expected="ModelSpec(module=...): the import name of a module with build(num_classes, image_size, **config)",
            attempt="module=__name__, where build stands in the same file",
        )
    MODELS.add(spec.name, spec)
    if spec.family not in FAMILIES:
        FAMILIES.add(spec.family, spec.name)
    return spec


def find(name: str, model_args: Mapping[str, Any] | None = None) -> ModelSpec:
    """The spec of a variant, an alias or a family (its default variant), or of what a door names (doors/names.py).

    ``model_args``: arguments of the network's builder that are others than the spec's. UserMistake with the nearest names.
    """
    key = _key(name)
    key = FAMILIES.get(key, ALIASES.get(key, key))
    if key in MODELS:
        return with_arguments(MODELS[key], model_args) if model_args else MODELS[key]
    if spec := spec_of(name, model_args or {}):
        return spec
    known = [*FAMILIES, *ALIASES, *MODELS]
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    near += difflib.get_close_matches(key, timm_names() - {*near}, n=3, cutoff=0.7)
    raise UserMistake(
        "no model of this name",
        found=repr(name),
        expected=f"one of {', '.join(FAMILIES)} or a variant of them; or {EXAMPLES}",
        attempt=meant(name)
        or (f"did you mean {' or '.join(near)}? " if near else "") + "`edgesmith list` prints all names",
    )


def is_name(word: str) -> bool:
    """Whether ``find`` knows where to look for a word: quick, where what it names may take seconds to open."""
    key = _key(word)
    return FAMILIES.get(key, ALIASES.get(key, key)) in MODELS or door_of(word) is not None


def find_recorded(manifest: Mapping[str, Any], typed: str | None = None) -> ModelSpec:
    """The model that a bundle says it was made from; ``typed``: what the user names in its place. UserMistake as name_recorded."""
    task = manifest.get("task")
    return as_made(find(*name_recorded(manifest, typed)), task if isinstance(task, str) else None)


def name_recorded(manifest: Mapping[str, Any], typed: str | None = None) -> tuple[str, dict[str, Any]]:
    """Name and model_args of what a bundle was made from. A bundle may come from anywhere: it names no file to be opened or run.

    Raises:
        UserMistake: it is a file or folder of somebody's, which only the user may name, or the arguments are none.
    """
    name, told = typed or _recorded_name(manifest), manifest.get("model_args") or {}
    if typed is None and names_a_place(manifest):
        raise UserMistake(
            "The network of this bundle is a file or folder of its maker's",
            found=f"model {name} in its manifest",
            expected="a name of edgesmith list, timm or torchvision",
            because="a bundle may come from anywhere, so no code or folder is opened because it says so",
            attempt="edgesmith bench BUNDLE --model path/to/it, or edgesmith compare BUNDLE path/to/it",
        )
    if not isinstance(told, Mapping) or not all(isinstance(key, str) and key.isidentifier() for key in told):
        raise UserMistake("The bundle's model_args cannot be used", found=repr(told)[:80], expected="arguments by name")
    return name, {key: tuples(value) for key, value in told.items()}


def names_a_place(manifest: Mapping[str, Any]) -> bool:
    """Whether the bundle was made from a file or folder, of which its manifest has the name and nothing has the place."""
    name = _recorded_name(manifest)
    door = None if _key(name) in MODELS else door_of(name)
    return door is not None and door[0] in PLACES


def _recorded_name(manifest: Mapping[str, Any]) -> str:
    return str(manifest.get("model", manifest.get("name")))


def _key(name: str) -> str:
    return name.strip().lower().replace("-", "_")


def families(task: str) -> dict[str, str]:
    """Family -> default variant, of the families for one task."""
    return {family: variant for family, variant in FAMILIES.items() if MODELS[variant].task == task}


def list_models(fixtures: bool = False) -> list[ModelSpec]:
    """All variants in the order of the families; with ``fixtures`` also the small ones that we trained."""
    return [spec for spec in MODELS.values() if fixtures or not spec.fixture]
