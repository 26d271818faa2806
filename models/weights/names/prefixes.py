"""Which tensors of a checkpoint are those of this network: the prefix under which most of them fit by name and shape.

    Checkpoint, ModelSpec -> Chosen(tensors by the names of the layout they were published in, notes about what was left)

Every beginning of a name that ends at a dot is a candidate, whoever wrote it: keys of dicts (``state_dict``, ``params_ema``) and
parts of names (``module.``, ``model.backbone.``) are the same here. Of candidates that fit as well the averaged one counts, as in timm;
where two others do, the file does not say which network it means, and neither does this.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ....runtime.errors import UserMistake
from ...spec import ModelSpec
from ..files.stored import Stored
from .heads import head_apart
from .shapes import Shapes, renamed, told_by, wanted
from .wrappers import WRAPPERS, no_average, told_average

if TYPE_CHECKING:
    from ..checkpoint import Checkpoint

AVERAGE = re.compile(r"(?:.*_)?(?:ema|averaged?|swa|shadow)(?:_.*)?|teacher")  # a part of a prefix
OF_TRAINING = re.compile(
    r"(?:.*\.)?state\.\d+\..*|(?:.*_)?(?:optim\w*|scheduler\w*|scaler|amp\w*|callbacks|loops|rng\w*|initted|step)(?:\.|$).*"
)
COUNTERS = ("n_averaged", "num_batches_tracked")
SHARE = 0.5  # of the network's tensors that a candidate has at least; below it no prefix is told
MOST_CANDIDATES = 64


@dataclass(frozen=True)
class Chosen:
    """``tensors`` without the ``prefix`` that they were under."""

    tensors: dict[str, Stored]
    prefix: str = ""
    average: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    prefix: str
    tensors: dict[str, Stored]
    agree: int  # tensors of the network that are here in their shape
    beside: int  # tensors here that the network does not have

    @property
    def rank(self) -> tuple[int, int]:
        return self.agree, -self.beside

    @property
    def average(self) -> bool:
        return any(AVERAGE.fullmatch(part) for part in self.prefix.split("."))

    @property
    def known(self) -> int:
        """Place of the first part in the order of wrappers; as many as there are where it is none of them."""
        first = self.prefix.split(".")[0]
        return WRAPPERS.index(first) if first in WRAPPERS else len(WRAPPERS) if self.prefix else -1


def choose(spec: ModelSpec, checkpoint: Checkpoint) -> Chosen:
    """The tensors for ``spec``; those of no comparison where nothing is near. UserMistake where two networks fit alike."""
    found = candidates(spec, checkpoint.named)
    if not found:
        return Chosen(checkpoint.guessed[0], "", checkpoint.guessed[2], checkpoint.guessed[1])
    plain = _best([one for one in found if not one.average], checkpoint)
    average = _best([one for one in found if one.average], checkpoint)
    if checkpoint.ema and average is None:
        raise no_average(checkpoint.content, checkpoint.source)
    notes: tuple[str, ...] = ()
    taken = average if average and (checkpoint.ema or plain is None) else plain
    if average and plain:
        lacking = len(plain.tensors.keys() - average.tensors.keys())
        if checkpoint.ema is None and average.agree >= plain.agree and not lacking:
            taken = average
        notes = told_average(average.prefix.rstrip("."), taken is average, lacking)
    assert taken is not None  # of several candidates one is the best
    tensors, borrowed = head_apart(spec, taken.tensors, taken.prefix, _outside(checkpoint.named, taken.prefix))
    others = [one.prefix for one in (plain, average) if one and one is not taken]
    left = _left(checkpoint.named, taken.prefix, others, borrowed)
    return Chosen(tensors, taken.prefix, taken.average, (*notes, *_told(taken.prefix, left, borrowed)))


def nearest_tensors(spec: ModelSpec, checkpoint: Checkpoint) -> Mapping[str, Stored]:
    """What ``spec`` would be compared with, where another network was asked for."""
    found = candidates(spec, checkpoint.named)
    return found[0].tensors if found else checkpoint.guessed[0]


def candidates(spec: ModelSpec, named: Mapping[str, Stored]) -> list[Candidate]:
    """Prefixes under which at least a half of the network's tensors are, best first."""
    found = _scored(spec, named)
    if not found or found[0].beside:  # DistributedDataParallel around a part of the network: inside the names
        without = {re.sub(r"(?<=\.)module\.", "", name): value for name, value in named.items()}
        if len(without) == len(named) and without.keys() != named.keys():
            found = sorted((*found, *_scored(spec, without)), key=lambda one: one.rank, reverse=True)
    return found


def _scored(spec: ModelSpec, named: Mapping[str, Stored]) -> list[Candidate]:
    under: dict[str, int] = {"": len(named)}
    for name in named:
        at = name.find(".")
        while at >= 0:
            under[name[: at + 1]] = under.get(name[: at + 1], 0) + 1
            at = name.find(".", at + 1)
    least = SHARE / 2 * len(told_by(spec, wanted(spec, {})))  # a detector's other form has fewer
    scored: list[Candidate] = []
    for prefix in sorted((p for p, count in under.items() if count >= least), key=lambda p: (len(p), p))[
        :MOST_CANDIDATES
    ]:
        tensors = {name[len(prefix) :]: value for name, value in named.items() if name.startswith(prefix)}
        if len(tensors) > 1:
            tensors = {name: value for name, value in tensors.items() if name not in COUNTERS}
        agree, beside, of = fitting(spec, tensors)
        if agree >= SHARE * of:
            scored.append(Candidate(prefix, tensors, agree, beside))
    return sorted(scored, key=lambda one: one.rank, reverse=True)


def fitting(spec: ModelSpec, tensors: Mapping[str, Stored]) -> tuple[int, int, int]:
    """(tensors that agree in name and shape, others of the checkpoint, all of the network); counters and the like left out."""
    ours, theirs = both(spec, tensors)
    agree = sum(theirs.get(name) == shape for name, shape in ours.items())
    return agree, len(theirs) - agree, len(ours)


def both(spec: ModelSpec, tensors: Mapping[str, Stored]) -> tuple[Shapes, Shapes]:
    """Shapes of the network, in the form that the checkpoint has, and those of the checkpoint in its names."""
    state = renamed(spec, tensors)
    try:
        changes, _ = spec.changes_for(state)
    except UserMistake:  # of a mixture of forms; loading says so, where it is this network that is nearest
        changes = {}
    theirs = {name: tuple(value.shape) for name, value in state.items()}
    return told_by(spec, wanted(spec, changes)), told_by(spec, theirs)


def _best(found: list[Candidate], checkpoint: Checkpoint) -> Candidate | None:
    """The first of the best; UserMistake where another fits as well, holds other tensors, and no usual word tells them apart."""
    if not found:
        return None
    top = [one for one in found if one.rank == found[0].rank]
    first = min(top, key=lambda one: (one.known, len(one.prefix)))
    rivals = [one for one in top if one.known == first.known and one.tensors != first.tensors]
    origins = [value.origin for value in first.tensors.values()]
    rivals = [one for one in rivals if [value.origin for value in one.tensors.values()] != origins]
    if not rivals or first.average:
        return first
    names = sorted(one.prefix.rstrip(".") for one in (first, *rivals))
    raise UserMistake(
        f"{checkpoint.source}: several networks in this file fit",
        found=", ".join(names[:4]),
        expected="one, or one that is called model or state_dict",
        because="nothing in the file says which of them is meant",
        attempt=f"save the one you mean alone: torch.save(torch.load(FILE)[{names[0]!r}], 'one.pth')",
    )


def _outside(named: Mapping[str, Stored], prefix: str) -> dict[str, Stored]:
    return {name: value for name, value in named.items() if not name.startswith(prefix)} if prefix else {}


def _left(named: Mapping[str, Stored], prefix: str, others: list[str], borrowed: Mapping[str, str]) -> list[str]:
    """Tensors that are not taken, without those of an optimiser and of the candidate that a note of its own is about."""
    outside = [name for name in named if not name.startswith(prefix) and name not in borrowed]
    if not prefix:
        outside = [name for name in named if name in COUNTERS]
    told = tuple(other for other in others if other and not prefix.startswith(other))
    return [name for name in outside if not OF_TRAINING.fullmatch(name) and not (told and name.startswith(told))]


def _told(prefix: str, left: list[str], borrowed: Mapping[str, str]) -> tuple[str, ...]:
    notes = []
    if borrowed:
        pairs = ", ".join(f"{there} as {here}" for there, here in borrowed.items())
        notes.append(f"took the tensors under {prefix.rstrip('.')!r}, and {pairs}")
    if left:
        more = f" and {len(left) - 3} more" if left[3:] else ""
        where = f"outside of {prefix.rstrip('.')!r}" if prefix else "beside the network"
        notes.append(f"left what stands {where}: {', '.join(left[:3])}{more}")
    return tuple(notes)
