"""``--plugins``: which fused ops an export puts in, checked against the network and the target.

They go with every precision: in a quantised graph the layers around them are quantised, and what is inside computes in the
type of the rest, as the products of activations do without them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ...models.registry import MODELS, ModelSpec
from ...runtime.errors import UserMistake
from .targets import TARGETS, Target

if TYPE_CHECKING:
    from ..patterns.fuse.fused import Fuse


def plan_plugins(spec: ModelSpec, wanted: str | Iterable[str] | None) -> tuple[str, ...]:
    """The fused ops of this export, in the order of their passes.

    ``wanted`` is "none", "all" (those that occur in the network, which may be none), or names.

    Raises:
        UserMistake: an unknown op, or one that cannot occur in this network.
    """
    names = _names(wanted)
    if not names:
        return ()
    from ..patterns.order import fuses

    passes = fuses()
    if names == ["all"]:
        found = set(spec.fused_ops)
    else:
        found = {_found(name, spec, passes) for name in names}
    return tuple(op for step in passes for op in step.ops if not found.isdisjoint(step.ops))  # a pair goes together


def asked(wanted: str | Iterable[str] | None) -> bool:
    """Whether fused ops were asked for at all."""
    return bool(_names(wanted))


def _names(wanted: str | Iterable[str] | None) -> list[str]:
    """The words, "none" left out and "all" in lower case."""
    words: list[str] = wanted.split(",") if isinstance(wanted, str) else []
    if wanted is not None and not isinstance(wanted, str):
        given = list(wanted) if isinstance(wanted, Iterable) else [wanted]
        if strange := [word for word in given if not isinstance(word, str)]:
            raise UserMistake(
                "Fused ops are asked for by name",
                found=f"plugins={strange[0]!r}",
                expected='"none", "all", or names of ops',
                attempt='plugins="all"',
            )
        words = given
    names = [word.strip() for word in words if word.strip()]
    if [name.lower() for name in names] in (["none"], ["all"]):
        names = [names[0].lower()]
    if mixed := [name for name in names if name.lower() in ("none", "all")] if len(names) > 1 else []:
        raise UserMistake(
            f"--plugins {mixed[0]} and names do not go together",
            found=f"--plugins {','.join(names)}",
            expected="none, all, or names with commas between",
            attempt=f"--plugins {mixed[0].lower()}",
        )
    return [] if names == ["none"] else names


def check_native(target: Target, native: bool, plugins: tuple[str, ...], wanted: bool = False) -> str:
    """The route of the fused ops: the target's, or "native" where it is asked for and can be had.

    ``wanted`` is whether fused ops were asked for, also where none of them occurs in the model.
    """
    if not native:
        return target.plugin_route
    if not target.native_plugins:
        able = [name for name, other in TARGETS.items() if other.native_plugins]
        raise UserMistake(
            f"Target {target.name} has no use for the C++ plugin",
            found=f"--native-plugins --target {target.name}",
            expected=f"--target {' or '.join(able)}",
            because="TensorRT 10.9 and later takes plugins without it, and older ones than 10.3 and other engines not at all",
            attempt="leave --native-plugins out",
        )
    if not plugins and wanted:
        raise UserMistake(
            "There are no fused ops for the C++ plugin",
            found="--native-plugins --plugins all, and none of them occurs in this model",
            expected="a model with fused ops: edgesmith inspect --ops MODEL tells",
            attempt="leave --native-plugins and --plugins out",
        )
    if not plugins:
        raise UserMistake(
            "There are no fused ops for the C++ plugin",
            found="--native-plugins without --plugins",
            expected="--plugins all, or names of ops that occur in this model",
            attempt="--plugins all --native-plugins, or leave --native-plugins out",
        )
    return "native"


def _found(name: str, spec: ModelSpec, passes: list[type[Fuse]]) -> str:
    """The op of that name, in any case; UserMistake when there is none or it has no place in this network."""
    from ..plugins import OPS

    known = [op for step in passes for op in step.ops]
    for op in known:
        if op.lower() == name.lower():
            if op in spec.fused_ops:
                return op
            here = [other for other in known if other in spec.fused_ops]
            families = dict.fromkeys(other.family for other in MODELS.values() if op in other.fused_ops)
            raise UserMistake(
                f"{op} cannot occur in {spec.name}",
                found=f"--plugins {name} --model {spec.name}",
                expected=f"one of {', '.join(here)}" if here else "no --plugins: no fused op occurs in this family",
                because=f"it stands for a block of {' and '.join(families)}",
                attempt="--plugins all" if here else "leave --plugins out",
            )
    declared = next((op for op in OPS if op.lower() == name.lower()), None)
    lower = {op.lower(): op for op in known}
    raise UserMistake(
        f"No fused op that an export puts in is called {name!r}",
        found=f"--plugins {name}",
        expected="none, all, or of " + ", ".join(known),
        because=f"no rewrite puts {declared} in: it is for graphs that are made with it" if declared else "",
        attempt="--plugins all" if declared or not (near := _nearest(name, lower)) else near,
    )


def _nearest(name: str, lower: Mapping[str, str]) -> str:
    """``did you mean ...``, whatever the case."""
    found = difflib.get_close_matches(name.lower(), [*lower, "none", "all"], n=1, cutoff=0.4)
    return f"--plugins {lower.get(found[0], found[0])}" if found else ""
