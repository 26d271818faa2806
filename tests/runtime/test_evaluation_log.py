"""``eval --log``: lines that are appended to a table, runs that MLflow is told of, places that cannot be."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import pytest

from edgesmith.runtime.commands.evaluation.log import EXPERIMENT, LEADING, check_log, keep_log
from edgesmith.runtime.errors import UserMistake


def result(**figures) -> dict:
    rows = [
        {"name": "a.edge", "precision": "int8", "backend": "onnxruntime", "worst": [], "confusion": {}, **figures},
        {"name": "b, c", "precision": "fp16", "why_not": "no engine"},
    ]
    return {"task": "classification", "data": "photos", "notes": [], "rows": rows}


def logged(asked: str, **figures) -> dict:
    told = result(**figures)
    keep_log(check_log(asked), told)
    return told


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_row_is_a_line_that_is_appended(tmp_path: Path):
    place = tmp_path / "runs.csv"
    assert logged(f"csv:{place}", top1=90.5, pictures=30)["log"] == str(place)
    logged(f"csv:{place}", top1=80.0, pictures=10)
    found = lines(place)
    assert [(row["name"], row["top1"], row["pictures"]) for row in found] == [
        ("a.edge", "90.5", "30"), ("b, c", "", ""), ("a.edge", "80.0", "10"), ("b, c", "", ""),
    ]  # fmt: skip
    assert found[1]["why_not"] == "no engine" and list(found[0]) == [*LEADING, "top1", "pictures"]
    assert place.read_text().count("time,edgesmith") == 1


def test_a_figure_that_is_new_gets_a_column_and_no_line_is_lost(tmp_path: Path):
    place = tmp_path / "runs.csv"
    logged(f"csv:{place}", top1=90.5)
    logged(f"csv:{place}", map=33.0)
    assert [(row["top1"], row["map"]) for row in lines(place)[::2]] == [("90.5", ""), ("", "33.0")]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("csv", "no file after csv:"),
        ("csv:", "no file after csv:"),
        ("json:a.json", "csv:FILE, mlflow or mlflow:URI"),
        ("csv:gone/runs.csv", "no folder"),
        ("csv:mine.csv", "is of something else(.|\n)*name, price"),
        ("csv:binary.csv", "is of something else(.|\n)*no table"),
    ],
)
def test_places_that_cannot_be_are_told_before_the_work(tmp_path: Path, monkeypatch, asked: str, says: str):
    monkeypatch.chdir(tmp_path)
    Path("mine.csv").write_text("name,price\na,1\n")
    Path("binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserMistake, match=says):
        check_log(asked)
    assert Path("mine.csv").read_text() == "name,price\na,1\n"


def test_what_cannot_be_written_after_all_does_not_lose_the_figures(tmp_path: Path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgesmith.runtime.commands.evaluation.log.replacing", full)
    told = logged(f"csv:{tmp_path / 'runs.csv'}")
    assert "No space left" in told["not_saved"] and "NOT logged" in told["notes"][0] and "log" not in told


class Client:
    """What MLflow's client has of what is asked of it."""

    told: ClassVar[list[tuple]] = []

    def __init__(self, tracking_uri=None):
        if tracking_uri == "nonsense":
            raise RuntimeError("unsupported URI 'nonsense'\nand more")
        self.told.append(("open", tracking_uri, os.environ.get("MLFLOW_DISABLE_TELEMETRY")))

    def get_experiment_by_name(self, name):
        known = [one for one in self.told if one == ("experiment", name)]
        return SimpleNamespace(experiment_id="7") if known else None

    def create_experiment(self, name):
        self.told.append(("experiment", name))
        return "7"

    def create_run(self, experiment, run_name):
        self.told.append(("run", experiment, run_name))
        return SimpleNamespace(info=SimpleNamespace(run_id=run_name))

    def __getattr__(self, name):
        return lambda *words: self.told.append((name, *words))


@pytest.fixture
def mlflow(monkeypatch):
    module = ModuleType("mlflow")
    module.MlflowClient = Client
    monkeypatch.setattr(Client, "told", [])
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    yield Client.told
    os.environ.pop("MLFLOW_DISABLE_TELEMETRY", None)


def test_each_row_is_a_run_and_telemetry_is_off(mlflow):
    assert "sqlite:///runs.db" in logged("mlflow:sqlite:///runs.db", top1=90.5)["log"]
    logged("mlflow", top1=80)
    assert mlflow[0] == ("open", "sqlite:///runs.db", "true") and ("open", None, "true") in mlflow
    assert mlflow.count(("experiment", EXPERIMENT)) == 1, "the second evaluation finds that of the first"
    assert [one[2:] for one in mlflow if one[0] == "log_metric"] == [("top1", 90.5), ("top1", 80.0)]
    assert ("log_param", "a.edge", "precision", "int8") in mlflow and (
        "set_tag",
        "b, c",
        "why_not",
        "no engine",
    ) in mlflow
    assert [one[1:] for one in mlflow if one[0] == "set_terminated"] == [("a.edge", "FINISHED"), ("b, c", "FAILED")] * 2


def test_a_place_that_mlflow_does_not_take_is_told_in_its_words(mlflow):
    with pytest.raises(UserMistake, match="unsupported URI 'nonsense'(.|\n)*sqlite:///"):
        check_log("mlflow:nonsense")


def test_without_mlflow_it_ends_before_the_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UserMistake, match="edgesmith\\[mlflow\\]"):
        check_log("mlflow")


@pytest.mark.filterwarnings("ignore")  # its own, about SQLAlchemy
def test_the_real_one_keeps_what_is_logged(tmp_path: Path):
    real = pytest.importorskip("mlflow", reason="MLflow is not in the environment of the tests")
    place = f"sqlite:///{tmp_path / 'runs.db'}"
    told = logged(f"mlflow:{place}", top1=90.5)
    assert not told["notes"]
    client = real.MlflowClient(tracking_uri=place)
    runs = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    assert {run.info.run_name: run.data.metrics for run in runs} == {"a.edge": {"top1": 90.5}, "b, c": {}}
