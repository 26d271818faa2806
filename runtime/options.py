"""A keyword that a call of the Python API does not have: a mistake of the user, told with the nearest that it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .errors import UserMistake


def refuse_unknown(call: Callable[..., Any], unknown: Mapping[str, Any]) -> None:
    """Raise UserMistake for the first of the ``unknown`` options of ``edgesmith.CALL``; nothing where there are none."""
    if not unknown:
        return
    import difflib  # these two only where something is wrong: the API's import is free
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
