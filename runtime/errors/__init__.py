"""What goes wrong, said in four lines: found, expected, because, try.

A mistake of the user (exit code 2), a result that does not hold (exit code 1) and a bug of ours (a traceback) are
different types, so that a script can tell them apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .addresses import shown_in

# control characters but tab and line feed, those that turn the direction of text round, that cannot be seen, or are half
# of a character: a terminal would obey the first, a reader be deceived by the others, a stream break on the last
STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)


def shown(text: str) -> str:
    """Text from anywhere as it may be shown: what would steer a terminal stands there as its number, ``\\u001b``."""
    return STEERING.sub(_as_number, text) if STEERING.search(text) else text


def _as_number(found: re.Match[str]) -> str:
    code = ord(found[0])  # as JSON spells it, so that a document stays one
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def one_line(text: str) -> str:
    """The same without ends of lines, for a name in a table or a sentence."""
    return shown(text).replace("\n", "\\n").replace("\t", "\\t")


class EdgesmithError(Exception):
    """Base of every error we raise on purpose; ``str(error)`` is the whole message, at most one screen."""

    exit_code = 1

    def __init__(self, what: str, *, found: str = "", expected: str = "", because: str = "", attempt: str = "") -> None:
        # a password in an address would be printed, logged and kept in JSON
        self.what, self.found, self.expected = shown_in(what), shown_in(found), shown_in(expected)
        self.because, self.attempt = shown_in(because), shown_in(attempt)
        rows = (("found", self.found), ("expected", self.expected), ("because", self.because), ("try", self.attempt))
        lines = [f"  {label:<10}" + text.replace("\n", "\n" + " " * 12) for label, text in rows if text]
        super().__init__(shown("\n".join([self.what, *lines])))

    def to_json(self) -> dict[str, dict[str, str]]:
        """What a command prints with ``--json`` in the place of its result."""
        fields = {"what": self.what, "found": self.found, "expected": self.expected}
        fields |= {"because": self.because, "try": self.attempt}
        return {"error": {key: value for key, value in fields.items() if value}}


class UserMistake(EdgesmithError):
    """Input that cannot be used as given: a missing file, an unknown name, a checkpoint of another model."""

    exit_code = 2


class BundleRefused(UserMistake):
    """A bundle whose schema, hashes or paths do not hold."""


class BundleChanged(BundleRefused):
    """A file of an open bundle is not the one that was checked: another one has come to its place."""


class BackendUnavailable(UserMistake):
    """The library or the device that a backend needs is not here."""


class EngineFailed(UserMistake):
    """The engine is here and gives up: not enough memory, a kernel that it lacks, a graph that is not the manifest's."""


class ParityFailed(EdgesmithError):
    """The graph or engine does not compute what the PyTorch model computes."""


def refuse_unknown(call: Callable[..., Any], unknown: Mapping[str, Any]) -> None:
    """Raise UserMistake for the first of the ``unknown`` options of ``edgesmith.CALL``, with the nearest that it has."""
    if not unknown:
        return
    import difflib  # these two only where something is wrong: importing edgesmith is free
    import inspect

    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = [name for name, one in inspect.signature(call).parameters.items() if one.kind in kinds]
    name, value = next(iter(unknown.items()))
    close = difflib.get_close_matches(name, known, n=2, cutoff=0.6)
    raise UserMistake(
        f"edgesmith.{call.__name__} has no option {name!r}",
        found=f"{name}={value!r}",
        expected="one of " + ", ".join(known),
        attempt=f"did you mean {' or '.join(close)}?" if close else f"help(edgesmith.{call.__name__})",
    )
