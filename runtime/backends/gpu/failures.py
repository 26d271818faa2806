"""What the end of a builder means, in words."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from ...errors import BackendUnavailable, EdgesmithError, UserMistake
from .memory import advice, because_of, is_short, read_memory


class BuildFailed(EdgesmithError):
    """The parser or the builder refused the graph, or died; the graph is ours, so this is no mistake of the user."""

    of_memory = False  # then a build that asks for less may do


def failure(
    refused: Callable[[str], str], code: int, last: dict[str, Any], tail: list[str], timeout_s: float | None
) -> EdgesmithError:
    """What the end of a child means: its exit code, its last event, and the last lines of its stderr."""
    if code < 0:
        return _of_signal(refused, -code, tail, timeout_s)
    kind = {2: UserMistake, 3: BackendUnavailable}.get(code, BuildFailed)
    if "refused" in last:  # one of our own errors: it has its four lines already
        return kind(**last["refused"])
    errors = last.get("errors") or tail[-3:] or [f"it gave no reason and ended with exit code {code}"]
    said = "\n".join([str(error).strip()[:400] for error in errors[:5]])
    stage = last.get("stage", "build")
    if kind is BuildFailed and stage == "build" and is_short("\n".join([*map(str, errors), *tail])):
        return _of_memory(refused("build"), said, "\n".join([said, *tail]))
    attempt = "a network without that operator, or another --target" if stage == "parse" else "edgesmith doctor"
    return kind(refused(stage), found=said, attempt=attempt)


def _of_signal(refused: Callable[[str], str], number: int, tail: list[str], timeout_s: float | None) -> BuildFailed:
    name = signal.Signals(number).name
    limit = f" (limit {timeout_s:g} s)" if timeout_s else ""
    found = "\n".join([f"the builder ended by signal {number}, {name}{limit}", *tail])
    if number == signal.SIGKILL and not timeout_s:
        return _of_memory(refused("build"), found, found, "the system takes memory back this way")
    late = number == signal.SIGKILL
    return BuildFailed(
        refused("build"),
        found=found,
        because="a build that takes longer is ended" if late else "an error inside the library",
        attempt="close other programs, add swap, or a smaller batch" if late else "another version of it",
    )


def _of_memory(what: str, found: str, said: str, because: str = "") -> BuildFailed:
    error = BuildFailed(what, found=found, because=because or because_of(said), attempt=advice(read_memory(), said))
    error.of_memory = True
    return error
