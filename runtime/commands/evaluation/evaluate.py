"""``edgesmith eval`` on the device: bundles of one task on an annotated set, judged as the task does (runtime/tasks)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ...bundle.bundle import Bundle, open_bundle
from ...tasks.evaluation import Asked, Progress, check_settings
from ...tasks.known import find_task, task_of
from .log import check_log, keep_log
from .page import check_page, keep_page, kept_lines


def evaluate(
    bundles: Sequence[str | os.PathLike[str] | Bundle],
    data: str | os.PathLike[str],
    asked: Asked | None = None,
    *,
    save: str | os.PathLike[str] | None = None,
    report: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    log: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """One row a bundle.  ``save`` writes the answers of the (one) bundle, ``report`` a page, which ``overwrite`` may
    replace, ``log`` a line for each row.

    A bundle whose engine is not here is a row that says so, unless it is the only one.  UserMistake for whatever cannot be
    used, before the first picture runs.
    """
    from ...backends.load import load

    asked = asked or Asked()
    opened = [one if isinstance(one, Bundle) else open_bundle(one) for one in bundles]
    task = task_of(opened[0].task)
    check_settings(asked, task.judged_with)
    page, logging = check_page(report, overwrite), check_log(log)
    result = task.evaluate(opened, data, asked, load, save, progress)
    if page is not None:
        keep_page(page, result, task)
    if logging is not None:
        keep_log(logging, result)
    return result


def show(result: Mapping[str, Any], per_class: bool = False) -> str:
    """The result as text: a table, with ``per_class`` another one, and the notes."""
    text = find_task(result["task"]).show(result, per_class)
    return text + kept_lines(result)
