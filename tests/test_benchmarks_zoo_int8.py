"""int8 of the zoo: the models are of its list, crops that judge share no pixel with those that calibrate, the page counts what is missed."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch):
    """A module of the benchmark; they find each other beside themselves and in the zoo."""
    monkeypatch.syspath_prepend(str(FOLDER / "zoo"))
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def row(model: str, ours: float | None, peer: float, kept: bool = True) -> dict[str, Any]:
    times = {"ms": 1.0, "ratio": 0.5, "low": 0.4, "high": 0.6}
    figures = {
        name: {"sqnr_db": db, "agreement": 100.0, "cosine": 1.0}
        for name, db in (("ours.onnx", ours), ("peer.onnx", peer))
    }
    why = [{"why": "one-node SQNR 9.0 dB", "count": 2, "share": 0.1}] if kept else []
    return {
        "model": model,
        "ours": {"form": "u8", "share": 0.9, "sites": 9, "float": why, "notes": []},
        "peer": {"best": "u8s8 MinMax"},
        "judge": {"figures": figures, "times": dict.fromkeys(figures, times)},
    }


def told() -> dict[str, Any]:
    chip = {"cpu": "a chip", "cores": 2, "load": 0.1}
    return {"date": "today", "machine": chip, "torch": "1", "timm": "2", "onnxruntime": "3"}


def test_the_models_are_twelve_of_the_list(part):
    lines = (FOLDER / "zoo" / "models.txt").read_text().splitlines()
    models = part("zoo_int8").MODELS
    assert len(models) == 12 and models.keys() <= {line.split()[0] for line in lines if not line.startswith("#")}


def test_the_page_counts_what_falls_short_and_names_it(part):
    page = part("zoo_int8").page
    rows = [
        row("resnet10t", 31.0, 17.0),
        row("regnetx_002", 28.0, 29.0),
        row("ghostnet_050", 29.0, 12.0, kept=False),
        row("rexnet_100", None, 12.0),
        {"model": "mobileone_s1", "ours": {"failed": "MemoryError"}},
    ]
    text = "\n".join(page(rows, told()))
    assert "Measured: 4 of 5 models" in text
    assert "best file: 2 of 4 (regnetx_002, rexnet_100)" in text
    assert "30 dB and more: 1 of 4 (regnetx_002, ghostnet_050, rexnet_100)" in text
    assert "does not name layers kept and why: 1 (ghostnet_050)" in text
    assert "**mobileone_s1**, ours: MemoryError" in text and "no row yet: mobileone_s1" in text
    assert "2 x one-node SQNR 9.0 dB" in text


def test_crops_are_seeded_and_those_that_judge_are_of_other_halves(part, tmp_path, monkeypatch):
    steps = part("zoo_int8_steps")
    picture = np.zeros((300, 400, 3), np.uint8)
    picture[:, 200:] = 255
    monkeypatch.setattr(steps, "photographs", lambda split: (picture,))
    monkeypatch.setattr(steps, "SPLITS", {"calibration": 3, "held_out": 2})

    found = {split: sorted(steps.crops(tmp_path, split).glob("*.png")) for split in steps.SPLITS}
    assert [len(files) for files in found.values()] == [3, 2]
    assert {int(cv2.imread(str(file)).max()) for file in found["calibration"]} == {0}
    assert {int(cv2.imread(str(file)).min()) for file in found["held_out"]} == {255}
    assert steps.crops(tmp_path, "held_out") == tmp_path / "held_out", "what is there is not made again"
