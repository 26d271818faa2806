"""Where each pass stands: ours as ORDER says, the patterns of others where they say, and each after what it needs.

A pass is one pattern's turn in an order. What has to come before stands on its class: ``runs_after`` names what it cannot
do without, ``better_after`` what it works without. Both are held to when the passes are put together, and what an export
leaves out (``--skip``) takes those that cannot do without it along.

    class FoldMine(Pattern): ...                                     # in a file of one's own
    edgesmith.register_pattern(FoldMine, orders=["cpu"], after="FoldBatchNorm")
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ...runtime.errors import EdgesmithError, UserMistake
from ...runtime.ground.registry import Registry
from ..run.arguments import nearest
from . import ALL, ORDER
from .base import Pattern
from .fuse.fused import Fuse

Turn = tuple[type[Pattern], frozenset[str]]  # a pass, and the orders it runs in


@dataclass(frozen=True)
class Place:
    """A pattern, the orders it runs in, and the pass that it stands behind where that was told."""

    pattern: type[Pattern]
    orders: frozenset[str]
    after: str = ""


OURS = {step.__name__: Place(step, orders) for step, orders in ORDER}
PATTERNS: Registry[Place] = Registry("pattern", OURS)


def register_pattern(
    pattern: type[Pattern], *, orders: str | Iterable[str] | None = None, after: str = ""
) -> type[Pattern]:
    """Run ``pattern`` in ``orders`` (all of them unless told), behind the pass ``after``; the class is given back.

    Without ``after`` its turn comes as soon as what it names in ``runs_after`` and ``better_after`` has run, and one that
    names nothing runs last, before the closing clean-up.

    Raises:
        UserMistake: no pattern, an unknown order or pass, a name that is taken, or a place before something it needs.
    """
    if not isinstance(pattern, type) or not issubclass(pattern, Pattern) or pattern is Pattern:
        raise UserMistake(
            "That is no pattern",
            found=f"register_pattern({getattr(pattern, '__name__', repr(pattern))})",
            expected="a class derived from edgesmith.exporter.patterns.base.Pattern",
            attempt="derive from Pattern and write apply(model), which changes the model and counts the places",
        )
    name = pattern.__name__
    chosen = ALL if orders is None else frozenset(_words(orders, name, "orders"))
    if not chosen or not isinstance(after, str):
        raise _no_names(name, "orders", orders) if not chosen else _no_names(name, "after", after)
    for where, told in (("runs_after", pattern.runs_after), ("better_after", pattern.better_after)):
        if not isinstance(told, tuple):
            raise _no_names(name, where, told)
        for need in told:
            _words(need, name, where)
    place = Place(pattern, chosen, after)
    if name not in PATTERNS:
        _check_names("order", place.orders, ALL, name)
        _check_names("pass", [*([after] if after else []), *named(pattern)], list(PATTERNS), name)
        if wrong := misplaced(_placed(_turns(), place)):
            raise UserMistake(
                f"The pattern {name} stands before what it needs",
                found=wrong[0],
                expected="in every order, a place behind what runs_after and better_after name",
                because="it would look for what no pass has made yet",
                attempt='name another pass with after="...", or only the orders in which the pass that it needs runs',
            )
    PATTERNS.add(name, place)
    return pattern


def passes_for(order: str, plugins: Collection[str] = ()) -> list[type[Pattern]]:
    """The passes of one order ("cpu", "openvino", "rtx", "tensorrt", and the first, third, fourth "-quantised").

    ``plugins`` names the fused ops that were asked for; a pass that puts others in does not run.
    """
    wanted = set(plugins)
    return [
        step
        for step, orders in _turns()
        if order in orders and (not issubclass(step, Fuse) or not wanted.isdisjoint(step.ops))
    ]


def fuses() -> list[type[Fuse]]:
    """The passes that put fused ops in, in their order."""
    return [step for step, _ in _turns() if issubclass(step, Fuse)]


def needs(pattern: type[Pattern]) -> list[tuple[str, ...]]:
    """What has to run before, each as the passes of which one is enough."""
    return [(need,) if isinstance(need, str) else need for need in pattern.runs_after]


def named(pattern: type[Pattern]) -> list[str]:
    """Every pass that a pattern names, whether it needs it or not."""
    return [name for need in (*needs(pattern), pattern.better_after) for name in need]


def unmet(pattern: type[Pattern], ran: Collection[str]) -> str:
    """What ``pattern`` needs and no pass of ``ran`` is, in words; empty when it can run."""
    return next((" or ".join(need) for need in needs(pattern) if set(need).isdisjoint(ran)), "")


def misplaced(turns: Sequence[Turn]) -> list[str]:
    """Every pass that runs before something it names, in words."""
    return [
        words for order in sorted(ALL) for words in _misplaced([s for s, orders in turns if order in orders], order)
    ]


def _misplaced(steps: Sequence[type[Pattern]], order: str) -> Iterator[str]:
    names = [step.__name__ for step in steps]
    for index, step in enumerate(steps):
        if need := unmet(step, names[:index]):
            yield f"{step.__name__} needs {need} before it, and in the order {order} it is not there"
        for other in step.better_after:
            if other in names[index:] and other not in names[:index]:
                yield f"{step.__name__} is better after {other}, and in the order {order} stands before it"


def _turns() -> list[Turn]:
    """ORDER, and what was registered in its place."""
    turns = list(ORDER)
    for name, place in PATTERNS.items():
        if name not in OURS:
            turns = _placed(turns, place)
    return turns


def _placed(turns: list[Turn], place: Place) -> list[Turn]:
    """``place`` behind the first turn of each pass that it names; of several there, the one registered first is first."""
    names = [step.__name__ for step, _ in turns]
    anchors = [names.index(name) for name in ([place.after] if place.after else named(place.pattern)) if name in names]
    at = max(anchors) + 1 if anchors else len(turns) - 1
    while anchors and at < len(turns) and names[at] not in OURS:
        at += 1
    return [*turns[:at], (place.pattern, place.orders), *turns[at:]]


def _words(words: object, pattern: str, where: str) -> list[str]:
    """One name or several as a list; UserMistake for anything else."""
    several = [words] if isinstance(words, str) else list(words) if isinstance(words, Iterable) else [None]
    if not all(isinstance(word, str) for word in several):
        raise _no_names(pattern, where, words)
    return [str(word) for word in several]


def _no_names(pattern: str, where: str, found: object) -> UserMistake:
    return UserMistake(
        f"The place of {pattern} cannot be read",
        found=f"{where}: {found!r}",
        expected='names, such as orders=["cpu"], after="FoldBatchNorm", runs_after = ("FoldConstants",)',
        attempt="a pass has the name of its class, and is named by it",
    )


def _check_names(kind: str, words: Iterable[str], known: Collection[str], pattern: str) -> None:
    for word in words:
        if word not in known:
            raise UserMistake(
                f"There is no {kind} {word!r}",
                found=f"the pattern {pattern} names {word!r}",
                expected=f"one of {', '.join(sorted(known))}",
                attempt=nearest(word, known) or f"leave it out, or register the {kind} before",
            )


if wrong := misplaced(ORDER):
    raise EdgesmithError("ORDER does not keep what its passes need", found="; ".join(wrong))
