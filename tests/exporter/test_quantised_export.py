"""``edgesmith export --precision int8`` as a whole: what a bundle holds, what a missed budget and an interrupt leave."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import edgesmith as command
from digit_pictures import WEIGHTS, arrays, export, write_folder
from outliers import inject
from saturation import exact_products

import edgesmith
from edgesmith.calibration.statistics.cache import read
from edgesmith.exporter.engine import rtx
from edgesmith.exporter.pipeline import Result
from edgesmith.exporter.run.nouns import ExportedGraph
from edgesmith.models.fixtures.digits import digits
from edgesmith.runtime.bundle.bundle import open_bundle
from edgesmith.runtime.errors import ParityFailed, UserMistake

pytestmark = pytest.mark.usefixtures("each_graph_traced_once")
DIGITS = 64, 200  # to calibrate with, to judge by
VIT = "vit_ggem_mnist"
WORDS = ("export", "--model", VIT, "--weights", str(WEIGHTS / f"{VIT}.safetensors"), "--precision", "int8")
STATIC = {"precision": "int8", "int8_form": "static"}
needs_rtx = pytest.mark.skipif(not rtx.installed(), reason="TensorRT-RTX is not installed")


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Result:
    """int8 with static scales for the CPU, within a budget."""
    folder = tmp_path_factory.mktemp("static")
    return export(VIT, folder / "vit.edge", data=data, max_drop=1.0, keep=True, calib_cache=folder / "cache", **STATIC)


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Result:
    """int8 as the CPU gets it when nothing else is said."""
    return export(VIT, tmp_path_factory.mktemp("dynamic") / "vit.edge", data=data, precision="int8")


def manifest(result: Result) -> dict:
    return open_bundle(result.path).manifest


def test_the_stages_come_in_the_order_of_the_story(static: Result):
    assert [stage.name for stage in static.stages] == [
        "create", "trace", "rewrite", "calibrate", "quantise", "precision", "build", "verify", "compare", "bundle"
    ]  # fmt: skip
    details = {stage.name: stage.detail for stage in static.stages}
    assert "64 pictures of" in details["calibrate"] and "digits.npz" in details["calibrate"]
    assert "sites in int8" in details["quantise"] and "dB" in details["quantise"]


def test_the_manifest_has_what_was_decided_and_what_it_costs(static: Result, data: Path):
    told = manifest(static)["quantisation"]
    assert told["precision"] == "int8" and told["form"] == "qdq"
    assert 0.85 < told["share"] < 1 and told["share"] < told["share_of_weighted"] <= 1
    assert sum(row["share"] for row in told["nodes"] if row["quantised"]) == pytest.approx(told["share"])
    assert all(row["why"] for row in told["nodes"])
    assert all(row["scale"] > 0 and row["zero_point"] == 0 for row in told["nodes"] if row["quantised"])
    assert told["accuracy"]["metric"] == "top1" and told["accuracy"]["drop"]["n"] == 200
    assert told["accuracy"]["sqnr_db"] > 25 and told["accuracy"]["agreement"] > 97
    assert told["data"]["images"] == 64 and told["data"]["held_out"] == 200 and told["data"]["source"] == str(data)
    assert len(told["data"]["sha256"]) == len(told["scales_sha256"]) == 64
    assert told["budget"]["met"] and told["budget"]["max_drop"] == 1.0
    assert told["sizes"]["quantised"] < 0.5 * told["sizes"]["fp32"]
    assert told["sizes"]["quantised"] == (static.path / "model.onnx").stat().st_size
    assert static.quantisation == told


def test_the_accuracy_told_is_that_of_the_file_that_ships(static: Result):
    pictures, labels = (array[:200] for array in digits("held_out"))
    with edgesmith.load(static.path) as session:
        answers = [session(picture).top(1)[0].index for picture in pictures]
    told = manifest(static)["quantisation"]["accuracy"]["quantised"]
    assert 100 * float((np.asarray(answers) == labels).mean()) == pytest.approx(told["value"], abs=0.51)
    assert told["value"] > 90


def test_it_was_raced_against_the_float_bundle_on_one_thread(static: Result):
    latency = manifest(static)["quantisation"]["latency"]
    assert latency["against"] == "fp32" and latency["threads"] == 1 and latency["clock"] == "cpu"
    assert latency["time_ratio_low"] <= latency["time_ratio"] <= latency["time_ratio_high"]
    assert [row["name"] for row in latency["rows"]] == ["fp32", "int8"]
    assert latency["won"] == (latency["time_ratio_high"] < 1) == (static.beside is None)


@exact_products
def test_parity_stands_on_the_held_out_pictures_and_the_bundle_tests_itself(static: Result):
    rows = {(row.stage, row.inputs): row for row in static.parity}
    assert set(rows) == {
        ("rewritten", "seeded"),
        ("rewritten", "pictures"),
        ("int8", "pictures"),
        ("bundle", "pictures"),
    }
    assert all(row.passed for row in rows.values())
    assert rows["int8", "pictures"].cosine < rows["rewritten", "pictures"].cosine, "int8 that costs nothing is no int8"
    cosine = manifest(static)["precision_report"]["golden_cosine"]
    assert 0.99 < cosine < 1
    answer = command("test", str(static.path), "--json")
    row, pixels = json.loads(answer.out)
    assert answer.code == 0 and row["passed"] and pixels["passed"] and pixels["output"] == "preprocessing"
    assert float(row["limit"].removeprefix("cosine >= ")) == pytest.approx(1 - 4 * (1 - cosine), abs=1e-5)


def test_the_report_can_be_asked_for_again(static: Result):
    answer = command("quant-report", str(static.path), "--json")
    assert answer.code == 0, answer.err
    document, told = json.loads(answer.out), manifest(static)["quantisation"]
    assert document["met"] is True and told["scales_sha256"] in answer.out
    words = command("quant-report", str(static.path)).out
    assert f"{told['share']:.1%}" in words and "the budget of 1 points holds" in words


def test_the_numbered_graphs_are_kept_when_asked(static: Result):
    assert static.artefacts is not None
    assert {"10-exported.onnx", "20-rewritten.onnx", "25-quantised.onnx", "30-int8.onnx"} <= {
        path.name for path in static.artefacts.iterdir()
    }


@exact_products
def test_the_default_for_a_transformer_on_a_cpu_is_dynamic(dynamic: Result):
    told = manifest(dynamic)["quantisation"]
    assert told["form"] == "dynamic" and told["share"] > 0.9
    assert told["accuracy"]["drop"]["points"] <= 1 and "budget" not in told
    assert manifest(dynamic)["precision_report"]["golden_cosine"] > 0.999


def test_a_cpu_has_nothing_to_audit(dynamic: Result):
    assert "audit" not in [stage.name for stage in dynamic.stages]
    assert "xray" not in manifest(dynamic)["quantisation"]


def test_without_pictures_dynamic_int8_still_exports(tmp_path: Path):
    result = export(VIT, tmp_path / "vit.edge", precision="int8")
    told = manifest(result)["quantisation"]
    assert "accuracy" not in told and "data" not in told and told["share"] > 0.9
    assert {stage.name: stage.detail for stage in result.stages}["calibrate"] == "no pictures: the form needs none"


def test_the_second_export_reads_the_statistics_and_another_rule_needs_no_pass(
    static: Result, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fails(*_: object, **__: object) -> None:
        raise AssertionError("a second pass over the pictures")

    monkeypatch.setattr("edgesmith.calibration.statistics.collect._runner", fails)
    cache = static.path.parent / "cache"
    again = export(VIT, tmp_path / "a.edge", data=data, calib_cache=cache, **STATIC)
    other = export(VIT, tmp_path / "b.edge", data=data, calib_cache=cache, ranges="minmax", smooth=0.5, **STATIC)
    for result in (again, other):
        assert "from the cache" in {stage.name: stage.detail for stage in result.stages}["calibrate"]
    first, second, third = (manifest(result)["quantisation"] for result in (static, again, other))
    assert first["scales_sha256"] == second["scales_sha256"] != third["scales_sha256"]
    assert {row["rule"] for row in third["nodes"] if row["quantised"]} == {"minmax"}
    assert third["recipe"]["smooth"] == 0.5


def test_a_folder_of_classes_gives_labels(tmp_path: Path):
    photos = write_folder(tmp_path / "photos")
    result = export(VIT, tmp_path / "vit.edge", data=photos, calib_images=20, **STATIC)
    told = manifest(result)["quantisation"]
    assert told["data"]["kind"] == "folder" and told["data"]["images"] == 20 and told["data"]["held_out"] == 20
    assert told["accuracy"]["metric"] == "top1" and told["accuracy"]["reference"]["value"] > 80


def test_a_broken_picture_is_skipped_named_and_counted(tmp_path: Path):
    photos = write_folder(tmp_path / "photos")
    broken = min(photos.glob("*/*.png"))
    broken.write_bytes(broken.read_bytes()[:60])
    result = export(VIT, tmp_path / "vit.edge", data=photos, calib_images=30, check=False, **STATIC)
    (skipped,) = manifest(result)["quantisation"]["data"]["skipped"]
    assert broken.name in skipped["name"]
    assert any(broken.name in note and "cannot be used" in note for note in manifest(result)["notes"])


@pytest.mark.parametrize("kind", ["mapping", "pairs"])
def test_python_gives_pictures_in_memory(kind: str, static: Result, tmp_path: Path):
    known = arrays()
    pairs = list(zip(known["images"], map(int, known["labels"]), strict=True))
    given = known if kind == "mapping" else pairs
    result = export(VIT, tmp_path / "vit.edge", data=given, calib_images=32 if kind == "pairs" else 64, **STATIC)
    told = manifest(result)["quantisation"]
    assert told["data"]["kind"] == ("arrays" if kind == "mapping" else "iterable")
    assert told["accuracy"]["metric"] == "top1" and told["data"]["held_out"] == (200 if kind == "mapping" else 32)
    same = told["scales_sha256"] == manifest(static)["quantisation"]["scales_sha256"]
    assert same == (kind == "mapping"), "the same pictures give the same scales, others do not"


def test_pictures_in_memory_are_not_for_floating_point(tmp_path: Path):
    with pytest.raises(UserMistake, match="Pictures in memory"):
        export(VIT, tmp_path / "vit.edge", data=arrays())


def test_random_numbers_are_loud(tmp_path: Path):
    result = export(VIT, tmp_path / "vit.edge", data="random", calib_images=16, check=False, **STATIC)
    calibrate = {stage.name: stage.detail for stage in result.stages}["calibrate"]
    assert "RANDOM NUMBERS" in calibrate and any("RANDOM DATA" in note for note in manifest(result)["notes"])
    assert "CALIBRATED WITH RANDOM NUMBERS" in (result.path / "report.html").read_text()


def test_outliers_send_nodes_back_until_the_budget_holds(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Injected outliers, plain min-max and no smoothing: int8 breaks, so some nodes stay high, and the curve is told."""
    from edgesmith.exporter.trace import trace as module

    real = module.trace

    def hostile(*given: object, **choices: object) -> ExportedGraph:
        exported = real(*given, **choices)
        model, count = inject(exported.model)
        assert count >= 4
        return ExportedGraph(model, exported.name, exported.shapes)

    monkeypatch.setattr(module, "trace", hostile)
    monkeypatch.chdir(tmp_path)
    words = ("--int8-form", "static", "--data", str(data), "--ranges", "minmax", "--smooth", "0", "--max-drop", "0.5")
    answer = command(*WORDS, *words, "--out", "vit.edge")
    assert answer.code == 0, answer.err
    told = open_bundle(tmp_path / "vit.edge").manifest["quantisation"]
    full, *_, chosen = told["budget"]["curve"]
    assert full["high"] == 0 and full["drop"]["points"] > 3 and not full["holds"]
    assert told["budget"]["high"] > 0 and told["accuracy"]["drop"]["points"] <= 0.5
    assert chosen["share"] < full["share"]
    assert told["share"] == pytest.approx(next(row for row in told["budget"]["curve"] if row["holds"])["share"])
    kept = {row["node"]: row["why"] for row in told["nodes"] if not row["quantised"]}
    assert set(told["budget"]["keep"]) <= set(kept) and len(told["budget"]["keep"]) == told["budget"]["high"]
    assert all("one-node SQNR" in kept[node] for node in told["budget"]["keep"])
    assert "the budget of 0.5 points holds" in answer.out
    assert f"{full['high']:>3} nodes high" in answer.out and f"drop {full['drop']['points']:+.2f} points" in answer.out


@pytest.fixture
def wrong_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that answers the class beside the right one, whatever is quantised: no budget can hold."""
    from edgesmith.calibration.budget import hold

    real = hold.judged

    def judged(facts: hold.Facts, model: object) -> object:
        run = real(facts, model)
        return lambda images: np.roll(run(images), 1, axis=1)

    monkeypatch.setattr(hold, "judged", judged)


def test_a_missed_budget_is_exit_code_1_and_keeps_the_graphs(
    wrong_engine: None, data: Path, tmp_path: Path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    answer = command(*WORDS, "--data", str(data), "--max-drop", "0", "--out", "vit.edge")
    assert answer.code == 1, answer.err
    assert "misses the accuracy budget" in answer.err and "Traceback" not in answer.err
    assert "at most 0 points" in answer.err and "nodes high" in answer.err and "vit.run" in answer.err
    assert (tmp_path / "vit.run" / "25-quantised.onnx").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"vit.run"}, "no bundle, no temporary folder"


def test_no_check_writes_the_bundle_and_says_that_the_budget_is_missed(wrong_engine: None, data: Path, tmp_path: Path):
    result = export(VIT, tmp_path / "vit.edge", data=data, precision="int8", max_drop=0, check=False)
    assert manifest(result)["quantisation"]["budget"]["met"] is False
    assert any("the loss is not that of the rounding" in note for note in result.notes)
    assert "is MISSED" in (result.path / "report.html").read_text()


def test_a_parity_that_does_not_hold_is_still_exit_code_1(data: Path, tmp_path: Path, monkeypatch):
    """Scales a hundred times too small: the graph is legal and computes nonsense."""
    import dataclasses

    from edgesmith.calibration.codes import scales

    real = scales.build_table

    def tiny(*given: object, **choices: object) -> object:
        table = real(*given, **choices)
        found = {name: dataclasses.replace(one, scale=one.scale / 100) for name, one in table.activations.items()}
        return dataclasses.replace(table, activations=found)

    monkeypatch.setattr("edgesmith.calibration.quantise.build_table", tiny)
    with pytest.raises(ParityFailed, match="does not compute what PyTorch computes") as failure:
        export(VIT, tmp_path / "vit.edge", data=data, **STATIC)
    (told,) = (line for line in str(failure.value).splitlines() if "changes the numbers" in line)
    assert "the change to int8 changes the numbers, first at MatMul" in told or "first at Sub" in told
    assert {path.name for path in tmp_path.iterdir()} == {"vit.run"}


def test_json_is_one_document(data: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = command(*WORDS, "--data", str(data), "--max-drop", "2", "--out", "vit.edge", "--json")
    assert answer.code == 0, answer.err
    document = json.loads(answer.out)
    assert document["quantisation"]["budget"]["met"] and document["plan"]["quantise"]["max_drop"] == 2
    assert document["plan"]["quantise"]["calibration"]["sha256"] == document["quantisation"]["data"]["sha256"]
    assert document["beside"] in (None, str(tmp_path / "vit.fp32.edge"))
    assert [line.split()[0] for line in answer.err.splitlines()][3:5] == ["calibrate", "quantise"]


def test_a_dry_run_shows_the_calibration_and_writes_nothing(data: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = (*WORDS, "--int8-form", "static", "--data", str(data), "--max-drop", "0.4", "--ranges", "mse", "--dry-run")
    document = json.loads(command(*words, "--json").out)["plan"]["quantise"]
    assert document["form"] == "qdq" and document["ranges"] == "mse" and document["max_drop"] == 0.4
    assert document["calibration"]["images"] == 64 and document["calibration"]["held_out"] == 200
    answer = command(*words)
    assert answer.code == 0 and "qdq" in answer.out and "64" in answer.out
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_no_bundle_and_keeps_what_was_counted(data: Path, tmp_path: Path, monkeypatch):
    """Ctrl-C after 40 of 64 pictures; the next run counts the other 24 and ends with the same scales."""
    from edgesmith.exporter.run.stages import Silent

    class Impatient(Silent):
        def step(self, note: str, done: int, total: int) -> None:
            if note == "calibrating" and done >= 40:
                raise KeyboardInterrupt

    cache = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        export(VIT, tmp_path / "vit.edge", data=data, calib_cache=cache, progress=Impatient(), **STATIC)
    assert {path.name for path in tmp_path.iterdir()} == {"cache"}
    (saved,) = cache.glob("*.npz")
    done = read(saved)[0]["done"]
    assert 0 < done < 64
    second = export(VIT, tmp_path / "vit.edge", data=data, calib_cache=cache, **STATIC)
    assert any(f"continued after {done} of 64 images" in note for note in second.notes)
    whole = export(VIT, tmp_path / "whole.edge", data=data, calib_cache=tmp_path / "other", **STATIC)
    found = [manifest(result)["quantisation"]["scales_sha256"] for result in (second, whole)]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "stage",
    ["calibration.budget.hold.quantise", "exporter.precision.typed.to_precision", "exporter.bundle.rivals.duel.fight"],
)
def test_an_interrupt_anywhere_leaves_nothing(stage: str, data: Path, tmp_path: Path, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(f"edgesmith.{stage}", interrupted)
    answer = command(*WORDS, "--data", str(data), "--out", "vit.edge", "--keep")
    assert answer.code == 130 and "interrupted" in answer.err and "Traceback" not in answer.err
    assert list(tmp_path.iterdir()) == []


@exact_products
def test_any_batch_from_one_to_four(data: Path, tmp_path: Path):
    result = export(VIT, tmp_path / "vit.edge", data=data, batch="1..4", **STATIC)
    assert {row.shape[0] for row in result.parity if row.stage == "bundle"} >= {1, 4}
    assert all(row.passed for row in result.parity)
    pictures = digits("held_out")[0][:4]
    with edgesmith.load(result.path) as session:
        assert all(row.passed for row in session.self_test())
        together = [answer.top(1)[0].index for answer in session(list(pictures))]
        assert together == [session(picture).top(1)[0].index for picture in pictures]


def test_a_block_that_divides_no_layer_is_refused_in_words(tmp_path: Path, monkeypatch):
    """A network whose layers have 64 inputs each: int4 with one scale for 128 of them, and for all that fit."""
    from edgesmith.calibration.sites import sites as module

    real = module.find_sites

    def narrow(*given: object) -> tuple:
        return tuple(site for site in real(*given) if site.weight_shape[site.weight_in_axis] == 64)

    monkeypatch.setattr(module, "find_sites", narrow)
    monkeypatch.chdir(tmp_path)
    words = (*WORDS[:-1], "int4", "--out", "vit.edge")
    answer = command(*words, "--block", "128")
    assert answer.code == 2 and "128" in answer.err and "64" in answer.err, answer.err
    assert any(line.startswith("  try ") for line in answer.err.splitlines())
    assert list(tmp_path.iterdir()) == []
    answer = command(*words)
    assert answer.code == 0, answer.err
    told = open_bundle(tmp_path / "vit.edge").manifest["quantisation"]
    assert {row["block"] for row in told["nodes"] if row["quantised"]} == {64}, "the widest block that fits is taken"


@needs_rtx
def test_rtx_gets_an_engine_that_was_read_beside_that_of_fp16(data: Path, tmp_path: Path):
    result = export(VIT, tmp_path / "vit.edge", data=data, precision="int8", target="rtx", batch="1..4")
    stages = [stage.name for stage in result.stages]
    assert stages[stages.index("build") :] == ["build", "audit", "verify", "bundle"]
    told = manifest(result)["quantisation"]
    assert told["form"] == "qdq" and "latency" not in told and result.beside is None
    xray = told["xray"]
    assert xray["attention_lost"] == [] and "TensorRT-RTX for sm89" in xray["builder"]
    assert xray["quantised"]["fused_attention"] >= xray["fp16"]["fused_attention"] > 0
    assert xray["sites_on_integer_kernels"] == xray["sites"] > 0
    assert {row.stage for row in result.parity} == {"rewritten", "int8"} and all(row.passed for row in result.parity)
    assert any("not run here" in note for note in result.notes)
    assert manifest(result)["engines"][0]["arch"] == "sm89"
