"""What all tasks share when bundles are judged on an annotated set: the settings, the table of figures."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import UserMistake
from .described import Described

Progress = Callable[[str, int, int], None]  # what is done, how many, of how many
Load = Callable[..., Any]  # runtime/backends/load.py
OF_MASKS = ("ignore_label", "reduce_labels")


class Spread(Protocol):
    """Shares the pictures of a set out to other processes, or other machines."""

    def __call__(
        self,
        part: Callable[..., list[Any]],
        about: tuple[Any, ...],
        items: Sequence[Any],
        batch: int,
        name: str,
        progress: Progress | None,
    ) -> list[Any]:
        """``part(*about, some)`` for runs of ``items`` in order, joined: one answer an item.

        Every run but the last is a multiple of ``batch``, so the batches are those of one process. ``part`` stands in a
        module, and all that it is given is plain data.
        """


@dataclass(frozen=True)
class Asked:
    """The settings of one evaluation; None is what the bundle says."""

    images: str | os.PathLike[str] | None = None  # folder of the pictures; None: beside the annotations
    limit: int | None = None
    score: float | None = None
    iou: float | None = None
    backend: str | None = None
    threads: int | None = None
    agnostic_nms: bool = False
    ignore_label: int | None = None  # of masks: the value that is no class
    reduce_labels: bool = False  # of masks: classes count from 1
    spread: Spread | None = None  # None: this process does it all


def refuse_detector_settings(
    asked: Asked,
    save: str | os.PathLike[str] | None,
    bundle: Described,
    does: str,
    expected: str,
    saves: str = "",
    *,
    images: bool = False,
) -> None:
    """UserMistake for settings of detectors, where ``bundle`` ``does`` something else; ``images``: this task takes --images as well.

    ``saves`` says what keeps its answers instead of --save.
    """
    given = {"--score": asked.score, "--iou": asked.iou, "--images": None if images else asked.images, "--save": save}
    given["--agnostic-nms"] = asked.agnostic_nms or None
    for flag, value in given.items():
        if value is not None:
            raise UserMistake(
                f"{flag} belongs to a detector",
                found=f"{flag if value is True else f'{flag} {value}'}, {bundle.path.name} {does}",
                expected=expected,
                attempt=f"leave {flag} out" + (f"; {saves}" if saves and flag == "--save" else ""),
            )


def check_settings(asked: Asked, judged_with: Collection[str] = OF_MASKS) -> None:
    """UserMistake for a setting out of its range, or of masks where the task (``Task.judged_with``) has none."""
    for name in OF_MASKS:
        value, flag = getattr(asked, name), "--" + name.replace("_", "-")
        if value is not None and value is not False and name not in judged_with:
            raise UserMistake(
                f"{flag} belongs to a segmenter",
                found=flag if value is True else f"{flag} {value}",
                expected="bundles that segment, judged on masks",
                attempt=f"leave {flag} out",
            )
    if asked.ignore_label is not None and not 0 <= asked.ignore_label < 2**16:
        raise UserMistake(
            "--ignore-label is out of range", found=f"--ignore-label {asked.ignore_label}", expected="0 to 65535"
        )
    for name, value in (("--score", asked.score), ("--iou", asked.iou)):
        if value is not None and not 0 <= value <= 1:
            raise UserMistake(f"{name} is out of range", found=f"{name} {value:g}", expected="0 to 1")
    if asked.limit is not None and asked.limit < 1:
        raise UserMistake("--limit is out of range", found=f"--limit {asked.limit}", expected="1 picture or more")


def not_by_boxes(bundle: Described) -> UserMistake:
    """For a bundle whose answers are neither boxes nor masks, which is what a device is asked to judge today."""
    return UserMistake(
        f"{bundle.path} does not detect or segment",
        found=f"task {bundle.task}",
        expected="bundles of detectors, on annotated boxes, or of segmenters, on masks",
        attempt="others are evaluated on a folder whose sub-folders are the classes, with edgesmith[export] installed",
    )


def table(columns: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Aligned lines; columns of numbers stand to the right. A row may be shorter: its last cell runs on."""
    whole = [row for row in body if len(row) == len(columns)]
    leads = [row[:-1] if len(row) < len(columns) else row for row in (columns, *body)]
    widths = [max(len(row[at]) for row in leads if at < len(row)) for at in range(len(columns))]
    right = [at > 0 and all(row[at][:1] in "-0123456789" for row in whole) for at in range(len(columns))]
    lines = []
    for row in (columns, *body):
        cells = [
            cell.rjust(widths[at]) if right[at] and len(row) == len(columns) else cell.ljust(widths[at])
            for at, cell in enumerate(row)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
