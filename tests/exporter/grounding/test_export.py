"""A tiny folder through the whole export: every precision, judged against PyTorch, opened on this machine as a device does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from command_line import edgesmith as command
from grounding_folder import golden_facts, write_folder
from openvino_here import openvino_or_skip

import edgesmith
from edgesmith.exporter.commands.inspect.inspect import inspect
from edgesmith.exporter.grounding.judge import TEXTS, Judged
from edgesmith.exporter.pipeline import Result, export
from edgesmith.runtime.bundle.bundle import open_bundle
from edgesmith.runtime.errors import ParityFailed, UserMistake

SCREEN = "220x170"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture(scope="module")
def plain(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return export("gui_aima", str(folder), screen=SCREEN, out=tmp_path_factory.mktemp("plain") / "plain.edge")


@pytest.fixture(scope="module")
def small(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    out = tmp_path_factory.mktemp("small") / "small.edge"
    return export("gui_aima", str(folder), precision="int4", kv_bits=4, screen=f"{SCREEN},300x200", out=out)


def picture(seed: int = 1, size: tuple[int, int] = (170, 220)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.slow
def test_the_bundle_answers_what_pytorch_answers(plain: Result):
    by_stage = {row.stage: row for row in plain.parity}
    assert set(by_stage) == {"vision", "prefix", "batch", "bundle"} and all(row.passed for row in plain.parity)
    assert by_stage["vision"].count == 48 and by_stage["prefix"].count == 4  # visual tokens, layers
    # another order of float32 sums; of unit vectors summed over the screen less is left of it
    assert by_stage["vision"].max_abs <= 1e-5 * by_stage["vision"].largest
    assert by_stage["prefix"].max_abs <= 1e-5 * by_stage["prefix"].largest
    assert by_stage["bundle"].max_abs <= 1e-4 * by_stage["bundle"].largest
    assert by_stage["bundle"].top1 == 1 and by_stage["bundle"].point_px < 0.1
    with edgesmith.load(plain.path) as session:
        assert all(row.passed for row in session.self_test())


@pytest.mark.slow
def test_the_manifest_says_what_the_device_needs(plain: Result):
    told = open_bundle(plain.path).manifest
    assert list(told["graphs"]) == ["vision_224x168", "prefix_224x168", "instruction"]
    assert told["grounding"]["buckets"] == [
        {
            "screen": [220, 170],
            "size": [168, 224],
            "grid": [6, 8],
            "vision": "vision_224x168",
            "prefix": "prefix_224x168",
        }
    ]
    assert told["grounding"]["kv"] == {"bits": 32, "scheme": "kivi", "bias_left_out": True}
    assert told["grounding"]["weighting"] == "query_1"
    assert "RESEARCH" in told["licence"]["weights"] and any("RESEARCH" in note for note in told["notes"])
    assert told["grounding"]["licence_note"] == told["licence"]["weights"]
    assert len(told["weights"]["sha256"]) == 64


@pytest.mark.slow
def test_the_report_shows_the_golden_screen_with_its_clicks(plain: Result):
    bundle = open_bundle(plain.path)
    (told,) = bundle.manifest["grounding_report"]["pictures"]
    assert [row["instruction"] for row in told["rows"]] == list(TEXTS)
    assert all(row["apart_px"] < 0.1 and 0 < row["score"] <= 1 for row in told["rows"])
    drawn = cv2.imread(str(plain.path / told["file"]))
    assert list(drawn.shape[1::-1]) == told["size"]
    golden = bundle.golden.picture
    assert golden is not None
    larger = drawn.shape[0] // golden.shape[0]
    bare = golden.repeat(larger, 0).repeat(larger, 1)[:, :, ::-1]
    assert np.abs(drawn.astype(int) - bare).mean() > 2  # the map, boxes and rings are on it
    for row in told["rows"]:
        x, y = (round(side * larger) for side in row["bundle"])
        assert np.ptp(drawn[y - 12 : y + 12, x - 12 : x + 12].astype(int)) > 100
    page = (plain.path / "report.html").read_text()
    assert told["file"] in page and "PyTorch clicks at" in page and TEXTS[1] in page


@pytest.mark.slow
def test_graphs_share_the_weights_of_the_language_model(plain: Result):
    places: dict[str, set[Any]] = {}
    for name in ("prefix_224x168", "instruction"):
        graph = onnx.load(plain.path / f"{name}.onnx", load_external_data=False).graph
        for tensor in graph.initializer:
            if tensor.name.endswith("up_proj.weight"):
                fields = {entry.key: entry.value for entry in tensor.external_data}
                places.setdefault(tensor.name, set()).add((fields["location"], fields["offset"], fields["length"]))
    assert len(places) == 4 and all(len(found) == 1 for found in places.values())
    weights = 831_488  # bytes: of the language model and its tables, each tensor on pages of its own
    assert (plain.path / "language.data").stat().st_size < 1.1 * weights


@pytest.mark.slow
def test_int4_is_what_pytorch_computes_with_the_same_codes(small: Result):
    codes = next(row for row in small.parity if row.stage == "batch")
    assert codes.passed
    told = open_bundle(small.path).manifest
    kinds = {node.op_type for node in onnx.load(small.path / "instruction.onnx", load_external_data=False).graph.node}
    assert "MatMulNBits" in kinds
    notes = " ".join(told["notes"])
    assert "28 weights in int4 blocks of 64" in notes and "int8 rows" in notes and "int8 channels" in notes
    assert told["grounding"]["kv"]["bits"] == 4
    with edgesmith.load(small.path) as session, session.open(picture(size=(200, 300))) as screen:
        click = screen.click("open the settings")
        assert 0 <= click.point[0] <= 1 and click.scores.shape == (7, 11)


@pytest.mark.slow
def test_rotated_keys_by_the_command_from_export_to_click(folder: Path, tmp_path: Path):
    out = tmp_path / "rotated.edge"
    choices = ("--screen", SCREEN, "--kv-bits", "8", "--kv-scheme", "rotatekv")
    made = command("export", "--model", "gui_aima", "--weights", str(folder), *choices, "--out", str(out))
    assert made.code == 0, made.err
    told = open_bundle(out).manifest
    assert told["grounding"]["kv"] == {"bits": 8, "scheme": "rotatekv", "bias_left_out": True}
    assert told["rewrite"]["fused"]["ops"]["DequantizeRotatedK"] == 4
    held = {row["stage"]: row for row in told["parity"]}["bundle"]
    assert held["limit"] == "cosine >= 0.99" and held["passed"]
    assert command("test", str(out)).code == 0
    shot = tmp_path / "shot.png"
    assert cv2.imwrite(str(shot), picture()[:, :, ::-1])
    clicked = command("run", str(out), str(shot), "--instruction", "open the settings")
    assert clicked.code == 0 and "pyautogui.click(" in clicked.out
    weighed = json.loads(command("kv-bytes", str(out), "--json").out)
    with edgesmith.load(out) as session, session.open(picture()):
        assert session.screens().pool.used_bytes == weighed["screens"][0]["screen_bytes"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "int4"])
def test_rotated_keys_are_turned_in_float32_whatever_is_around_them(precision: str, folder: Path, tmp_path: Path):
    out = tmp_path / "rotated.edge"
    export("gui_aima", str(folder), precision=precision, screen=SCREEN, kv_bits=8, kv_scheme="rotatekv", out=out)
    graph = onnx.load(out / "instruction.onnx", load_external_data=False).graph
    makers = {name: node for node in graph.node for name in node.output}
    ops = [node for node in graph.node if node.op_type == "DequantizeRotatedK"]
    assert len(ops) == 4
    for node in ops:
        cast = [makers[name].op_type for name in node.input[3:6] if name in makers]
        assert "Cast" not in cast and {"Slice"} <= set(cast)


@pytest.mark.slow
def test_two_buckets_have_a_tower_and_a_prefix_each_and_one_instruction_graph(small: Result):
    assert list(open_bundle(small.path).graphs) == [
        "vision_224x168", "prefix_224x168", "vision_308x196", "prefix_308x196", "instruction",
    ]  # fmt: skip


@pytest.mark.slow
def test_codes_alone_are_held_to_pytorch(folder: Path, tmp_path: Path):
    made = export("gui_aima", str(folder), precision="int4", screen=SCREEN, out=tmp_path / "codes.edge")
    codes = next(row for row in made.parity if row.stage == "codes")
    assert codes.limit == "cosine >= 0.99" and codes.passed and codes.cosine > 0.99


@pytest.mark.slow
def test_screens_make_whole_numbers_of_what_the_tower_multiplies(folder: Path, tmp_path: Path):
    import cv2

    (tmp_path / "screens").mkdir()
    for seed in range(3):
        cv2.imwrite(str(tmp_path / "screens" / f"{seed}.png"), picture(seed))
    out, data, cache = tmp_path / "w8a8.edge", tmp_path / "screens", tmp_path / "cache"
    made = export(
        "gui_aima", str(folder), precision="int8", data=data, calib_cache=cache, screen=SCREEN, out=out, check=False
    )
    ops = [node.op_type for node in onnx.load(out / "vision_224x168.onnx", load_external_data=False).graph.node]
    words = [node.op_type for node in onnx.load(out / "prefix_224x168.onnx", load_external_data=False).graph.node]
    blocks = golden_facts()["config"]["vision_config"]["depth"]
    assert ops.count("MatMulInteger") == 7 * blocks + 2  # q, k and v apart; and the merger's
    assert words.count("DequantizeLinear") == 28 and "MatMulInteger" not in words
    codes = next(row for row in made.parity if row.stage == "codes")
    assert codes.top1 == 1 and codes.point_px < 1  # three pictures of noise are no calibration to hold a cosine to
    assert any("3 screens; channels evened out" in note for note in made.notes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "precision"),
    [("cpu", "fp16"), ("cpu", "int8"), ("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int4")],
)
def test_other_precisions_and_engines_here(target: str, precision: str, folder: Path, tmp_path: Path):
    if target == "openvino":
        openvino_or_skip()
    out = tmp_path / "other.edge"
    made = export("gui_aima", str(folder), target=target, precision=precision, screen=SCREEN, out=out)
    assert [row.stage for row in made.parity][-1] == "bundle" and all(row.passed for row in made.parity)
    with edgesmith.load(out) as session, session.open(picture()) as screen:
        assert screen.click("close").scores.shape == (6, 8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "arch"), [("fp16", "sm89"), ("int4", "sm89"), ("fp16", "sm120"), ("int4", "sm120")]
)
def test_every_part_becomes_an_engine_of_tensorrt_rtx(precision: str, arch: str, folder: Path, tmp_path: Path):
    pytest.importorskip("tensorrt_rtx")
    out = tmp_path / "rtx.edge"
    made = export("gui_aima", str(folder), target="rtx", precision=precision, gpu_arch=arch, screen=SCREEN, out=out)
    assert made.bundle is not None
    graphs = made.bundle.graphs
    assert all(len(graph.engines) == 1 and graph.engines[0].arch == arch for graph in graphs.values())
    assert all(any(note.startswith(f"{name}: ") for note in made.notes) for name in graphs)
    told = made.bundle.manifest["graphs"]
    fused = {name: told[name]["engines"][0]["xray"]["fused_attention"] for name in graphs}
    assert fused == {"vision_224x168": 6, "prefix_224x168": 4, "instruction": 0}  # its rows of attention are an answer


@pytest.mark.slow
def test_files_for_a_jetson_are_written_and_say_that_they_did_not_run(folder: Path, tmp_path: Path):
    made = export("gui_aima", str(folder), target="jetpack6", precision="fp16", screen=SCREEN, out=tmp_path / "j.edge")
    assert made.bundle is not None and not made.parity
    assert any("not yet run on hardware" in note for note in made.notes)
    assert all(one["opset"]["ai.onnx"] <= 20 for one in inspect(made.path)["others"])


@pytest.mark.slow
def test_inspect_tells_of_every_graph(plain: Result):
    told = inspect(plain.path)
    assert told["manifest"]["task"] == "grounding"
    assert [one["name"] for one in told["others"]] == ["prefix_224x168", "instruction"]


@pytest.mark.slow
def test_a_wrong_graph_is_not_published(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wrong = Judged(np.ones((48, 64)), np.ones((4, 64)), np.full((3, 48), 1 / 48))
    monkeypatch.setattr("edgesmith.exporter.grounding.flow.judged", lambda *_: wrong)
    with pytest.raises(ParityFailed, match="does not answer what PyTorch answers"):
        export("gui_aima", str(folder), screen=SCREEN, out=tmp_path / "wrong.edge")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model-00002-of-00002.safetensors"])
def test_an_incomplete_folder_leaves_nothing_behind(missing: str, tmp_path: Path):
    path = write_folder(tmp_path / "weights" / "tiny")
    (path / missing).unlink()
    (tmp_path / "out").mkdir()
    with pytest.raises(UserMistake) as caught:
        export("gui_aima", str(path), screen=SCREEN, out=tmp_path / "out" / "some.edge")
    assert caught.value.exit_code == 2
    assert not list((tmp_path / "out").iterdir())
