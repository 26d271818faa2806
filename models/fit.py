"""Does this checkpoint fit this model, and if not, which one does it fit?

Everything here compares names and shapes; networks are built on the meta device, without memory.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..runtime.errors import UserMistake
from .registry import FAMILIES, find, list_models
from .spec import ModelSpec
from .weights.checkpoint import Checkpoint
from .weights.names.hints import attempt_for, because_of
from .weights.names.prefixes import both, nearest_tensors
from .weights.names.shapes import is_head, renamed
from .weights.values import check_kinds

SHOWN = 4  # names a kind in an error message: it must fit one screen


def head_classes(spec: ModelSpec, state: Mapping[str, Tensor]) -> int | None:
    """Rows of the classifier, None where the checkpoint has none (a backbone)."""
    return next((value.shape[0] for name, value in state.items() if is_head(spec, name) and value.ndim in (2, 4)), None)


def without_head(spec: ModelSpec, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The state for a network without a classifier, and a note where the checkpoint has one."""
    layers = tuple(name.removesuffix("weight") for name in state if is_head(spec, name))
    if not layers:
        return state, ()
    heads = [name for name in state if name.startswith(layers)]
    return {name: value for name, value in state.items() if name not in heads}, (
        f"the checkpoint's classifier is left out: {', '.join(heads)}",
    )


def check_fit(
    spec: ModelSpec, checkpoint: Checkpoint, state: dict[str, Tensor], template: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The state to load, and notes by name for what the model fills in itself; UserMistake where it does not fit."""
    import torch

    filled: dict[str, str] = {}
    fillable = spec.filled()
    for name in template:
        if name not in state and name.endswith("num_batches_tracked"):  # counts training steps, no part of the answer
            state[name] = torch.zeros((), dtype=torch.long)
        if name not in state and name in fillable:
            filled[name] = fillable[name]
    missing = [name for name in template if name not in state and name not in filled]
    unexpected = [name for name in state if name not in template]
    misshaped = [
        f"{name} {tuple(state[name].shape)}, expected {tuple(template[name].shape)}"
        for name in template
        if name in state and state[name].shape != template[name].shape
    ]
    if not (missing or unexpected or misshaped):
        return check_kinds(state, template, checkpoint.source), filled
    lists = (("missing", missing), ("unexpected", unexpected), ("mis-shaped", misshaped))
    raise UserMistake(
        f"{checkpoint.source} does not fit {spec.name}",
        found="\n".join(_listing(kind, names) for kind, names in lists if names),
        expected=f"the {len(template)} tensors of {spec.name}",
        because=because_of(checkpoint.named, missing),
        attempt=attempt_for(checkpoint.named, missing) or _nearest(spec, checkpoint),
    )


def _listing(kind: str, names: list[str]) -> str:
    more = f"\n  ... and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {kind}:\n  " + "\n  ".join(names[:SHOWN]) + more


def _nearest(spec: ModelSpec, checkpoint: Checkpoint) -> str:
    """What to try: the variant that shares most names and shapes with the checkpoint."""
    if spec.module is not None and spec.family not in FAMILIES:  # behind a door there is no list of neighbours
        ours, theirs = both(spec, nearest_tensors(spec, checkpoint))
        same = sum(theirs.get(name) == shape for name, shape in ours.items())
        if same:
            return f"--model-arg, where {spec.name} was changed in training: {same} of {len(ours)} tensors agree"
    files = [family for family in FAMILIES if not find(family).folder]  # the others' checkpoints are no single file
    shared = {family: _shared_names(find(family), checkpoint) for family in files}
    family = max(shared, key=lambda name: (shared[name], name == spec.family))
    if shared[family] < 0.2:
        *others, last = files
        return f"no model here is near: is this a checkpoint of {', '.join(others)} or {last}?"
    near = [other for other in list_models(fixtures=True) if other.family == family]
    scores = {other.name: _overlap(other, checkpoint) for other in near}
    best = max(scores, key=lambda name: (scores[name][0] / scores[name][1], name == spec.name))
    same, of = scores[best]
    if best == spec.name:
        return f"{best} is already the nearest ({same} of {of} tensors): the file may be of a changed network"
    whole = "fits" if same == of else f"is nearest, {same} of {of} tensors agree"
    classes = head_classes(find(best), renamed(find(best), nearest_tensors(find(best), checkpoint)))
    head = f" --num-classes {classes}" if classes not in (None, find(best).num_classes) else ""
    return f"--model {best}{head}: it {whole}"


def _shared_names(spec: ModelSpec, checkpoint: Checkpoint) -> float:
    """Names in both, as a share of the smaller: depth and width do not matter here, the family does."""
    ours, theirs = both(spec, nearest_tensors(spec, checkpoint))
    return len(ours.keys() & theirs.keys()) / max(1, min(len(ours), len(theirs)))


def _overlap(spec: ModelSpec, checkpoint: Checkpoint) -> tuple[int, int]:
    """(tensors that agree in name and shape, tensors in either); left out: what no mismatch should be told by."""
    ours, theirs = both(spec, nearest_tensors(spec, checkpoint))
    return sum(theirs.get(name) == shape for name, shape in ours.items()), len(ours.keys() | theirs.keys())
