"""Words on the command line: every spelling that users bring along means the same, and JSON stays JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from command_line import Answer, edgesmith

from edgesmith import __main__ as entry
from edgesmith.exporter.commands import cli, usage
from edgesmith.exporter.run import arguments
from edgesmith.runtime.errors import UserMistake


def plan(*words: str) -> dict:
    answer = edgesmith("export", "--dry-run", "--json", *words)
    assert answer.code == 0, answer.err
    return json.loads(answer.out)["plan"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_family_means_its_default_variant():
    assert plan("--model", "smt")["model"] == "smt_tiny"


@pytest.mark.parametrize(
    "words",
    [
        ("--precision", "fp16"),
        ("-p", "half"),
        ("--half",),
        ("--quantize", "16"),
        ("precision=fp16",),
        ("half=True",),
        ("--half", "--precision", "float16"),
    ],
)
def test_every_spelling_of_half_precision(words: tuple[str, ...]):
    assert plan("--model", "smt", *words)["precision"] == "fp16"


def test_key_value_as_yolo_users_write_it():
    assert plan("model=van_b0", "imgsz=[256,320]", "half=False", "batch=4")["opt_shape"] == [4, 3, 256, 320]


@pytest.mark.parametrize("words", [("--imgsz", "256", "320"), ("--image-size", "256x320"), ("--imgsz=256x320",)])
def test_height_and_width_can_be_given_in_three_ways(words: tuple[str, ...]):
    assert plan("--model", "smt", *words)["opt_shape"] == [1, 3, 256, 320]


def test_one_number_is_a_square():
    assert plan("--model", "smt", "--imgsz", "192")["opt_shape"] == [1, 3, 192, 192]


def test_a_batch_range_opens_the_batch():
    asked = plan("--model", "smt", "--batch", "1..8")
    assert (asked["min_shape"][0], asked["opt_shape"][0], asked["max_shape"][0]) == (1, 1, 8)
    assert plan("--model", "smt", "--dynamic")["max_shape"][0] == 8


def test_shapes_in_the_spelling_of_trtexec():
    asked = plan("--model", "van", "--min-shapes", "images:1x3x224x224", "--max-shapes", "4x3x320x384")
    assert (asked["min_shape"], asked["max_shape"]) == ([1, 3, 224, 224], [4, 3, 320, 384])


def test_the_target_decides_what_was_not_asked():
    asked = plan("--model", "smt", "--target", "rtx", "--gpu-arch", "8.6")
    assert (asked["precision"], asked["gpu_arch"], asked["engine"]) == ("fp16", "sm86", "tensorrt_rtx")


def test_the_bundle_is_named_after_the_variant():
    assert plan("--model", "smt_base")["out"] == "smt_base.edge"


def test_a_dry_run_writes_nothing(tmp_path: Path):
    assert edgesmith("export", "--model", "smt", "--dry-run").code == 0
    assert list(tmp_path.iterdir()) == []


def test_list_names_every_variant_and_its_licence():
    listed = json.loads(edgesmith("list", "--json").out)
    assert {"convit_tiny", "smt_tiny", "davit_tiny", "van_b0", "vit_ggem_tiny_patch16"} <= {
        one["name"] for one in listed
    }
    assert all(one["licence_code"] and one["licence_weights"] and one["paper"] for one in listed)
    assert "smt_large" in edgesmith("list").out


def test_errors_are_json_too_when_json_was_asked_for():
    answer = edgesmith("export", "--model", "smtt", "--json")
    assert answer.code == 2
    assert set(json.loads(answer.out)["error"]) >= {"what", "found", "expected", "try"}


def test_version_and_help_are_printed():
    assert edgesmith("--version").out.startswith("edgesmith ")
    assert "export" in edgesmith("--help").out


def test_a_bug_of_ours_is_called_one(monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise RuntimeError("inside out")

    monkeypatch.setattr("edgesmith.exporter.commands.listing.models", broken)
    answer = edgesmith("list", "--json")
    assert answer.code == 70
    assert "Traceback" in answer.err and "inside out" in answer.err and "a bug of ours" in answer.err


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgesmith.exporter.commands.listing.models", interrupted)
    answer = edgesmith("list", "--json")
    assert (answer.code, "Traceback" in answer.err) == (130, False)


def test_two_precisions_that_disagree_are_a_mistake():
    answer: Answer = edgesmith("export", "--model", "smt", "--half", "--precision", "fp32")
    assert answer.code == 2 and "--half" in answer.err and "--precision fp32" in answer.err


def test_shapes_fill_each_other_in():
    shapes = arguments.shapes((224, 224), (1, 4))
    assert (shapes.min, shapes.opt, shapes.max) == ((1, 3, 224, 224), (1, 3, 224, 224), (4, 3, 224, 224))
    with pytest.raises(UserMistake, match="min 2, opt 1, max 4"):
        arguments.shapes((224, 224), (1, 1), minimum=(2, 3, 224, 224), maximum=(4, 3, 224, 224), usual=(1, 3, 224, 224))


@pytest.mark.parametrize("word", ["run", "export"])
def test_ctrl_c_while_the_command_is_still_imported_shows_no_traceback(word, monkeypatch, capsys):
    def pressed(words):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["edgesmith", word])
    monkeypatch.setattr(entry, "_plain", pressed)
    with pytest.raises(SystemExit) as end:
        entry.main()
    assert end.value.code == 130 and capsys.readouterr().err == "edgesmith: interrupted\n"


@pytest.mark.parametrize(
    "words", [("--model", "resnet81"), ("-m", "resnet81"), ("--model=resnet81",), ("model=resnet81",), ("resnet81",)]
)
def test_a_name_that_no_model_has_is_told_before_the_settings_are_put_together(words: tuple[str, ...]):
    with pytest.raises(UserMistake, match="no model of this name"):
        usage.strict(["export", *words, "--force"], cli._command(["export"]))


def test_help_and_other_mistakes_come_first_where_they_did():
    assert edgesmith("export", "--model", "resnet81", "--help").code == 0
    assert "--model" in edgesmith("export", "--model").err
