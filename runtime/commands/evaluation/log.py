"""``edgesmith eval --log csv:FILE`` or ``--log mlflow[:URI]``: a row of an evaluation becomes a row of a table, or a run.

    csv:runs.csv                    one line a row, appended; a column for each figure that is one number
    mlflow                          where MLflow itself would write
    mlflow:sqlite:///runs.db        a place of yours, or a server as mlflow:http://HOST:5000

Asked about before the work, written after it. MLflow's own telemetry is switched off.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ...errors import UserMistake
from ...ground.files import replacing
from ...ground.places import check_output
from ...ground.regular import read_regular
from ...ground.version import __version__

LEADING = ("time", "edgesmith", "task", "data", "name", "precision", "backend", "why_not")
MAX_TABLE_BYTES = 256 * 1024**2
EXPERIMENT = "edgesmith eval"
Log = Callable[[Mapping[str, Any]], str]  # the result -> where it was logged


def check_log(asked: str | None) -> Log | None:
    """What logs a result; UserMistake for a kind that there is not, a file of others, no MLflow."""
    if asked is None:
        return None
    kind, _, place = asked.partition(":")
    if kind == "csv" and place:
        path = Path(place)
        check_output(path, "--log")
        _table(path)
        return lambda result: _to_csv(path, result)
    if kind == "mlflow":
        client = _mlflow(place or None)
        return lambda result: _to_mlflow(client, place, result)
    raise UserMistake(
        f"--log {asked} is no place to log to",
        found="no file after csv:" if kind == "csv" else kind,
        expected="csv:FILE, mlflow or mlflow:URI",
        attempt="--log csv:evaluations.csv",
    )


def keep_log(log: Log, result: dict[str, Any]) -> None:
    """Log it and say so in the result; where that fails after all, the figures are worth showing all the same."""
    try:
        result["log"] = log(result)
    except Exception as error:  # noqa: BLE001 a server that is away, a full disk: of a library of others
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        result["not_saved"] = why
        result["notes"].append(f"this was NOT logged: {why}")


def told(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One for each row: what it is of, and its figures that are one number."""
    about = {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "edgesmith": __version__,
        "task": result.get("task", ""),
        "data": result["data"],
    }
    return [
        about | {key: value for key, value in row.items() if key in LEADING or _number(value)} for row in result["rows"]
    ]


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and lines of a table that earlier evaluations wrote; UserMistake for a file of others."""
    if not path.exists():
        return [], []
    try:
        reader = csv.DictReader(io.StringIO(read_regular(path, MAX_TABLE_BYTES).decode(), newline=""))
        columns, lines = list(reader.fieldnames or []), list(reader)
        ours = not columns or (tuple(columns[: len(LEADING)]) == LEADING and all(None not in line for line in lines))
    except (OSError, ValueError, csv.Error):
        columns, lines, ours = [], [], False
    if not ours:
        raise UserMistake(
            f"--log csv:{path}: this file is of something else",
            found=f"columns {', '.join(columns[:6])}" if columns else "no table of evaluations",
            expected=f"a new file, or one that begins with {','.join(LEADING[:4])}",
            attempt="another name",
        )
    return columns, lines


def _to_csv(path: Path, result: Mapping[str, Any]) -> str:
    """The lines so far and the new ones, whole or not at all; a figure that is new gets a column at the end."""
    columns, lines = _table(path)
    rows: Sequence[Mapping[str, Any]] = told(result)
    wide = list(dict.fromkeys([*(columns or LEADING), *(key for row in rows for key in row)]))
    with replacing(path, hidden=True) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        writer = csv.DictWriter(text, wide, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows([*lines, *rows])
        text.detach()
    return str(path)


def _mlflow(place: str | None) -> Any:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read when it is imported
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise UserMistake(
            "--log mlflow needs MLflow",
            found="no module mlflow",
            attempt="pip install 'edgesmith[mlflow]', or --log csv:FILE",
        ) from None
    try:
        return MlflowClient(tracking_uri=place)
    except Exception as error:  # noqa: BLE001 of a library of others; said in its words
        raise UserMistake(
            f"--log mlflow:{place or ''}: MLflow does not take this place",
            found=str(error).splitlines()[0][:200],
            expected="sqlite:///FILE, or http://HOST:PORT of a server",
            attempt="--log mlflow:sqlite:///mlflow.db",
        ) from None


def _to_mlflow(client: Any, place: str, result: Mapping[str, Any]) -> str:
    """A run for each row, in the experiment "edgesmith eval"; of a row without figures it says that it failed."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    number = client.create_experiment(EXPERIMENT) if experiment is None else experiment.experiment_id
    for row in told(result):
        run = client.create_run(number, run_name=row["name"]).info.run_id
        status = "FAILED"
        try:
            for key, value in row.items():
                if _number(value):
                    client.log_metric(run, key, float(value))
                elif key not in ("time", "why_not"):
                    client.log_param(run, key, str(value))
            if "why_not" in row:
                client.set_tag(run, "why_not", row["why_not"])
            else:
                status = "FINISHED"
        finally:
            with suppress(Exception):
                client.set_terminated(run, status)
    return f"mlflow, experiment {EXPERIMENT!r}" + (f", {place}" if place else "")
