"""int8 against the float bundle on the machine at hand: the words, the verdict, and both bundles where int8 loses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command_line import edgesmith as command
from digit_pictures import WEIGHTS, export

import edgesmith
from edgesmith.exporter.bundle.rivals import duel
from edgesmith.exporter.bundle.rivals.duel import Duel
from edgesmith.models.fixtures.digits import digits
from edgesmith.runtime.bundle.bundle import open_bundle

pytestmark = pytest.mark.usefixtures("each_graph_traced_once")
DIGITS = 32, 40  # to calibrate with, to judge by
VIT = "vit_ggem_mnist"
RATIOS = ("time_ratio", "time_ratio_low", "time_ratio_high")


def made(ratio: float, low: float, high: float) -> Duel:
    rows = [{"name": "fp32", "median_ms": 10.0}, {"name": "int8", "median_ms": 10.0 * ratio}]
    return Duel("int8", "fp32", ratio, low, high, {"rows": rows, "threads": 1})


@pytest.mark.parametrize(
    "ratio, low, high, won, said",
    [
        (0.5, 0.45, 0.6, True, "int8 is faster here: time ratio 0.50 (0.45 to 0.60) to fp32, 5.0 against 10.0 ms"),
        (
            0.97,
            0.9,
            1.01,
            False,
            "int8 is no faster within the spread here: time ratio 0.97 (0.90 to 1.01) to fp32, 9.7 ",
        ),
        (1.01, 0.99, 1.04, False, "int8 is no faster within the spread here: time ratio 1.01 (0.99 to 1.04) to fp32"),
        (1.3, 1.2, 1.4, False, "int8 LOST here: time ratio 1.30 (1.20 to 1.40) to fp32, 13.0 against 10.0 ms"),
    ],
)
def test_it_wins_and_loses_only_by_more_than_the_spread(ratio: float, low: float, high: float, won: bool, said: str):
    found = made(ratio, low, high)
    assert found.won is won and str(found).startswith(said)
    told = found.to_json()
    assert (told["time_ratio"], told["time_ratio_low"], told["time_ratio_high"], told["won"]) == (ratio, low, high, won)


def verdict(monkeypatch: pytest.MonkeyPatch, won: bool) -> None:
    monkeypatch.setattr(duel, "measure", lambda calls, *_, **__: _timings(calls, 0.5 if won else 2.0))


def _timings(calls: dict[str, Any], ratio: float) -> dict[str, Any]:
    """Both really run once; the clock says what the test wants."""
    from edgesmith.runtime.session.benchmark import measure

    found = measure(calls, 2, 0, "cpu")
    ours = found["int8"]
    return {**found, "int8": type(ours)(**{**vars(ours), **dict.fromkeys(RATIOS, ratio)})}


def test_where_int8_loses_both_bundles_are_kept_and_each_is_whole(data: Path, tmp_path: Path, monkeypatch):
    verdict(monkeypatch, won=False)
    monkeypatch.chdir(tmp_path)
    weights = str(WEIGHTS / f"{VIT}.safetensors")
    answer = command("export", "--model", VIT, "--weights", weights, "--int8", "--data", str(data), "--out", "vit.edge")
    assert answer.code == 0, answer.err
    assert "int8 LOST here: time ratio 2.00" in answer.out and "vit.fp32.edge: not slower on this machine" in answer.out
    assert {path.name for path in tmp_path.iterdir()} == {"vit.edge", "vit.fp32.edge"}
    ours, beside = (open_bundle(tmp_path / name).manifest for name in ("vit.edge", "vit.fp32.edge"))
    assert ours["precision"] == "int8" and ours["quantisation"]["latency"]["won"] is False
    assert "int8 LOST on the machine that made this" in (tmp_path / "vit.edge" / "report.html").read_text()
    assert beside["precision"] == "fp32" and beside["quantisation"] is None and beside["name"] == "vit.fp32"
    limits = {row["limit"].split()[0] for row in beside["parity"]}
    assert limits == {"max"}, "a float bundle is held to the limits of floating point"
    assert {row["inputs"] for row in beside["parity"]} == {"seeded", "pictures"}
    assert not any("no photographs" in note for note in beside["notes"])
    picture = digits("held_out")[0][0]
    with edgesmith.load(tmp_path / "vit.fp32.edge") as session, edgesmith.load(tmp_path / "vit.edge") as other:
        assert all(row.passed for row in (*session.self_test(), *other.self_test()))
        assert session(picture).top(1)[0].index == other(picture).top(1)[0].index


def test_a_bundle_that_is_there_already_is_replaced_only_when_asked(data: Path, tmp_path: Path, monkeypatch):
    verdict(monkeypatch, won=False)
    first = export(VIT, tmp_path / "vit.edge", data=data, precision="int8")
    assert first.beside is not None and first.beside.path == tmp_path / "vit.fp32.edge"
    before = (first.beside.path / "manifest.json").stat().st_mtime_ns
    second = export(VIT, tmp_path / "vit.edge", data=data, precision="int8", overwrite=True)
    assert second.beside is not None and (second.beside.path / "manifest.json").stat().st_mtime_ns > before
    (tmp_path / "vit.edge").rename(tmp_path / "old.edge")
    before = (second.beside.path / "manifest.json").stat().st_mtime_ns
    third = export(VIT, tmp_path / "vit.edge", data=data, precision="int8")
    assert third.beside is None and (tmp_path / "vit.fp32.edge" / "manifest.json").stat().st_mtime_ns == before


def test_where_int8_wins_one_bundle_is_written(data: Path, tmp_path: Path, monkeypatch):
    verdict(monkeypatch, won=True)
    result = export(VIT, tmp_path / "vit.edge", data=data, precision="int8")
    assert result.beside is None and {path.name for path in tmp_path.iterdir()} == {"vit.edge"}
    assert {stage.name: stage.detail for stage in result.stages}["compare"].startswith(
        "int8 is faster here: time ratio 0.50"
    )
    assert open_bundle(result.path).manifest["quantisation"]["latency"]["won"] is True


def test_without_the_engine_nothing_is_timed(data: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(duel, "fight", lambda *_, **__: None)
    result = export(VIT, tmp_path / "vit.edge", data=data, precision="int8")
    assert {stage.name: stage.detail for stage in result.stages}["compare"] == "the engine does not run here: not timed"
    assert result.beside is None and "latency" not in open_bundle(result.path).manifest["quantisation"]
