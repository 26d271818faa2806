"""The benchmark of grounding: its page says what was measured, an official flow is one, and a flow that ends costs one row."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from grounding_bundle import WIDE, write_grounding_bundle

from edgesmith.models.families.gui_aima.shape import Shape

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch):
    """A script of benchmarks/, which is no package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module) -> dict[str, Any]:
    """A bundle of a few kilobytes as a flow; its words are those that the benchmark asks."""
    monkeypatch.setattr(module("grounding_parts"), "INSTRUCTIONS", ("red", "blue", "the red button"))
    bundle = write_grounding_bundle(tmp_path / "colours.edge")
    return {"kind": "ours", "bundle": str(bundle), "backend": "onnxruntime"}


def row(first: list[float], further: list[float], **more: Any) -> dict[str, Any]:
    pairs = {kind: [[wall, wall] for wall in walls] for kind, walls in (("first", first), ("further", further))}
    known = {"threads": 1, "rounds": len(first), "off": 1e-6, "life_bytes": 4e9, "growth_bytes": 2e9}
    return {"samples": pairs, **known, **more}


def report(module, **parts: Any) -> dict[str, Any]:
    figures = module("grounding_parts").figures
    for name, rows in parts.items():
        if name.startswith("table"):
            peers = {peer: rows[peer]["samples"] for peer in module("grounding_runs").PEERS if peer in rows}
            for one in rows.values():
                one |= figures(one["samples"], peers)
    return {
        "date": "d", "command": "c", "size": "middle", "network": "n", "parameters": 202e6, "screen": [1280, 800],
        "visual_tokens": 1334, "size_tokens": {"720p": 1196, "1080p": 2691}, "machine": {}, "versions": {"torch": "2"},
        "notes": [("int4_cpu", "parity does NOT hold")], "failed": {"a peer": "no environment"}, "parts": parts,
    }  # fmt: skip


def test_a_ratio_is_taken_within_a_round(module):
    """The machine was half as fast in the second round: the ratio is the same in both, that of the medians is not."""
    found = module("grounding_parts").figures(row([1.0, 2.0], [0.1, 0.4])["samples"], {"peer": row([10.0, 20.0], [])["samples"]})  # fmt: skip
    assert found["first of peer"] == pytest.approx([0.1, 0.1, 0.1])
    assert found["further of peer"][1] == pytest.approx(0.015)
    assert found["further of own first"] == pytest.approx([0.125, 0.15, 0.175])
    once = module("grounding_parts").figures(row([5.0], [5.0])["samples"], {"peer": row([10.0, 20.0], [])["samples"]})
    assert once["first of peer"] == [0.5, 0.5, 0.5]  # a flow of one round, beside the peer's first


def test_the_page_says_which_row_meets_what(module):
    runs = module("grounding_runs")
    rows = {
        runs.OFFICIAL: row([10.0] * 3, [10.0] * 3),
        runs.OFFICIAL_BF16: row([5.0] * 3, [5.0] * 3, off=0.1),
        runs.ORT_FP32: row([7.0] * 3, [0.1] * 3, life_bytes=1e9, growth_bytes=1e9),
        runs.OPENVINO_BF16: row([3.0] * 3, [0.3] * 3, life_bytes=1e9, growth_bytes=1e9),
    }
    page = module("grounding_page").written(report(module, **{"table 1": rows}), {})
    told = "- first, of the official first <= 0.5, beside the official flow in fp32: met by OpenVINO bf16, 1 threads (0.300). "
    assert told + "Missed by ONNX Runtime fp32, 1 threads (0.700)." in page
    assert f"| {runs.ORT_FP32} | 1 | fp32 | **0.700** | 0.010 | 0.014 | 0.250 | 0.50 |" in page
    assert f"| {runs.OPENVINO_BF16} | 1 | fp32 | 0.300 | 0.030 | **0.100** | 0.250 | 0.50 |" in page
    assert f"| {runs.OPENVINO_BF16} | 1 | bf16 | **0.600** | **0.060** | **0.100** | 0.250 | 0.50 |" in page
    assert "- a peer: no environment" in page and "- int4_cpu: parity does NOT hold" in page


def test_a_size_that_does_not_fit_is_told_and_not_drawn(module):
    page = module("grounding_page")
    official, ours = module("grounding_runs").OFFICIAL, module("grounding_runs").ORT_FP32
    timed = {"first_wall_s": 2.0, "further_wall_s": 0.1, "growth_bytes": 1e9}
    sized = {
        official: {"threads": 2, "rounds": 1, "sizes": {"720p": timed, "1080p": {"why": "its maps take 99 GB"}}},
        ours: {"threads": 2, "rounds": 1, "sizes": {"720p": timed, "1080p": timed}},
    }
    told = report(module, sizes=sized)
    assert f"| {official} | first 2.00 s, 1,000 MB above the model | its maps take 99 GB |" in page.written(told, {"sizes": "s.svg"})  # fmt: skip
    drawing = ElementTree.fromstring(page.drawn(told)["sizes"])
    points = [len(line.attrib["points"].split()) for line in drawing.iter(f"{SVG}polyline")]
    assert points == [1, 2, 2]  # the official flow; first and further of ours


def test_lines_are_drawn_to_a_logarithmic_scale(module):
    text = module("grounding_plot").lines("t", "x", "y & z", {"a": [(1, 1.0), (2, 10.0), (3, 100.0)]})
    (line,) = ElementTree.fromstring(text).iter(f"{SVG}polyline")
    heights = [float(point.split(",")[1]) for point in line.attrib["points"].split()]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.2)
    assert heights[0] > heights[2]  # larger is higher up


def test_maps_of_the_official_way_are_counted(module):
    """The decoder's, of 576 heads, at full HD: 9.2 GB in float16 as the facts of the method have them; float32 is twice that."""
    shape = Shape(vision_heads=1)
    kept = 4 * shape.layers * shape.heads * (99 + 2691 + 32) ** 2
    found = module("grounding_parts").official_bytes(shape, (1920, 1080))
    assert kept < found < 1.01 * kept + 2 * kept / shape.layers
    assert module("grounding_parts").official_bytes(Shape(), (1920, 1080)) > found  # a vision block takes more


def test_an_official_flow_that_is_none_is_not_timed(module):
    parts, runs = module("grounding_parts"), module("grounding_runs")
    right, wrong = {"scores": [0.5, 0.25]}, {"scores": [0.5, 0.26]}
    assert parts.checked(runs.OFFICIAL, right, [0.5, 0.25]) == 0
    with pytest.raises(runs.FlowFailed, match="not the method"):
        parts.checked(runs.OFFICIAL, wrong, [0.5, 0.25])
    assert parts.checked(runs.OPENVINO_BF16, wrong, [0.5, 0.25]) == pytest.approx(0.02)
    assert parts.checked("plain", {"scores": None}, [0.5, 0.25]) is None


def test_a_run_goes_on_where_rows_are_kept(module, tmp_path: Path):
    kept = module("grounding_runs").Kept
    first = kept(tmp_path / "a" / "rows.json", again=False)
    first.put("table 1", {"a": {"x": 1}})
    second = kept(tmp_path / "a" / "rows.json", again=False)
    assert second.missing("table 1", ["a", "b"]) == ["b"] and second.missing("table 2", ["a"]) == ["a"]
    second.put("table 1", {"b": {"x": 2}})
    assert json.loads((tmp_path / "a" / "rows.json").read_text())["table 1"] == {"a": {"x": 1}, "b": {"x": 2}}
    assert kept(tmp_path / "a" / "rows.json", again=True).missing("table 1", ["a"]) == ["a"]


def test_a_flow_is_measured_in_a_process_and_one_that_ends_costs_its_own_row(module, colours, tmp_path: Path):
    """Of two flows one has no bundle: the other one's rows are whole, and both of its answers are there."""
    parts = module("grounding_parts")
    flows = {"ours, colours": colours, "ours, gone": {**colours, "bundle": str(tmp_path / "gone.edge")}}
    rows, failed = parts.table(flows, [1.0] * 40, threads=1, rounds=2, screen=WIDE)
    assert list(rows) == ["ours, colours"] and "ended with 1" in failed["ours, gone"]
    (found,) = rows.values()
    assert np.shape(found["samples"]["first"]) == np.shape(found["samples"]["further"]) == (2, 2)
    assert found["life_bytes"] > found["growth_bytes"] >= 0 and len(found["point"]) == 2


def test_open_screens_are_counted_by_the_pool(module, colours):
    """Two screens fit: with three open, one is computed again whenever its turn comes."""
    parts = module("grounding_parts")
    rooms = {"all": 1.0, "two": 2.5 * (3 + 40) * 4 * 2 * 2 / 2**20}
    found = {name: parts.screens({**colours, "pool_mb": room}, WIDE, (1, 2, 3), 1)["rows"] for name, room in rooms.items()}  # fmt: skip
    assert [one["kept"] for one in found["all"]] == [1, 2, 3]
    assert [one["kept"] for one in found["two"]] == [1, 2, 2]
    sizes = [one["pool_bytes"] for one in found["all"]]
    assert sizes == [sizes[0], 2 * sizes[0], 3 * sizes[0]]


def test_a_peer_without_its_environment_says_so(module, tmp_path: Path):
    assert "no environment" in module("grounding_exports").peer_export(tmp_path, tmp_path / "out", tmp_path / "python")


def test_a_config_is_written_as_the_published_one(module):
    """transformers 4.x looks for rope_scaling and rope_theta, at the top and in the text's part."""
    rope = {"rope_type": "default", "rope_theta": 5e5, "mrope_section": [1, 2, 3]}
    found = module("grounding_peer").as_published({"a": 1, "text_config": {"b": 2, "rope_parameters": rope}})
    for part in (found, found["text_config"]):
        assert part["rope_theta"] == 5e5 and part["rope_scaling"]["mrope_section"] == [1, 2, 3]
    assert found["a"] == 1 and found["text_config"]["b"] == 2


def test_only_what_is_missing_is_measured_beside_the_official_flows(module, tmp_path: Path, monkeypatch):
    main = module("grounding")
    asked = {"tiny": True, "rounds": 1, "again": False, "flows": ["OpenVINO"]}
    monkeypatch.setattr(main, "write_folder", lambda shape, path: path)
    benchmark = main.Benchmark(argparse.Namespace(**asked), tmp_path)
    officials = [main.OFFICIAL, main.OFFICIAL_BF16]
    assert benchmark.flows("table 1") == [*officials, *(name for name in main.OURS if "OpenVINO" in name)]
    benchmark.kept.put("table 1", {name: {} for name in main.OURS if "OpenVINO" in name})
    assert benchmark.flows("table 1") == []
    assert benchmark.flows("sizes") == [main.OPENVINO_BF16]


def test_the_page_of_the_real_size_says_what_is_not_the_same(module):
    page = module("grounding_3b").written
    told = {
        "date": "d", "command": "c", "machine": {}, "versions": {}, "network": "n", "precision": "int4", "target": "cpu",
        "kv_bits": 16, "screen": [1280, 800], "export": {"seconds": 90.0, "peak_bytes": 25e9},
        "answer": {"threads": 2, "cold_s": 9.0, "first_s": 5.0, "further_s": 0.5, "peak_bytes": 5e9, "pool_bytes": 1000},
        "bundle": {"bytes": 2.5e9, "stages": [{"name": "open", "detail": "x", "seconds": 1.0, "size_bytes": None}],
                   "parity": [{"stage": "bundle", "cosine": 0.98, "limit": "told, no limit"}], "notes": ["a note"],
                   "tokens": 1433, "kv_bytes": 1000},
    }  # fmt: skip
    found = page(told)
    assert "| peak memory of the export | 25.0 GB | <= 24: **missed** |" in found
    assert "| bundle, vision tower included | 2.50 GB | <= 2.6: met |" in found
    assert "kv-bytes: 1,000, the same |" in found and "- a note" in found
    told["answer"]["pool_bytes"] = 1001
    assert "kv-bytes: 1,000, **not the same** |" in page(told)


@pytest.mark.slow
def test_the_official_flows_give_the_scores_of_the_judge(module, tmp_path: Path):
    """All maps, or the rows that are read computed again: the same scores; and a flow without the method finds no point."""
    models, flows = module("grounding_models"), module("grounding_flows")
    folder = models.write_folder(models.SHAPES[models.TINY], tmp_path / "tiny")
    settings = {"folder": str(folder), "threads": 1, "dtype": "float32"}
    picture, text = models.screenshot(models.SCREENS[models.TINY]), models.INSTRUCTIONS[1]
    judge = module("grounding_ours").Judge.open(settings).first(picture, text)
    for how in ("maps", "again"):
        found = flows.Eager.open({**settings, "how": how}).first(picture, text)
        assert np.abs(found.scores - judge.scores).max() < 1e-4 * judge.scores.max()
        assert found.point == pytest.approx(judge.point)
    assert flows.Eager.open({**settings, "how": "none"}).first(picture, text).point is None
