"""Which output of a graph holds the logits, where it has several or calls them something else.

(N, C)    or with axes of one entry: (N, C, 1, 1), (N, 1, C)    may be logits
(N, tokens, C), (N, C, H, W)                                    may not: somebody has to say what becomes of the other axis
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

LOGITS = "logits"
NEEDED = "an output (batch, classes), or with further axes of one entry"


def classes_of(shape: Sequence[Any]) -> Any:
    """The size of the class axis, a name where it is open, 1 for one logit; None where the shape is not that of logits."""
    if not shape:
        return None
    sizes = [size for size in shape[1:] if size != 1]
    return None if len(sizes) > 1 else sizes[0] if sizes else 1


def find_logits(
    shapes: Mapping[str, Sequence[Any]], classes: int | None = None, unread: Collection[str] | None = None
) -> str:
    """The name of the output, empty where none or several may be meant.

    ``classes``: how many there are, where that is known. ``unread``: the outputs that no node of the graph reads; features
    are read by the head behind them.
    """
    able = [name for name, shape in shapes.items() if classes_of(shape) is not None]
    if LOGITS in able:
        return LOGITS
    rules = (
        lambda name: classes is not None and classes_of(shapes[name]) == classes,
        lambda name: unread is not None and name in unread,
        lambda name: len(shapes[name]) == 2,
    )
    for rule in rules:
        able = [name for name in able if rule(name)] or able
    if len(able) > 1 and len({classes_of(shapes[name]) for name in able}) > 1:
        return ""
    return able[0] if able else ""
