"""A task of one's own: three things to say, and sessions, the command, the self-test and the report take it from there."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import onnx
import pytest

from edgesmith.runtime.backends.load import load
from edgesmith.runtime.bundle.bundle import write_bundle
from edgesmith.runtime.bundle.golden import golden_bytes
from edgesmith.runtime.bundle.report import write_report
from edgesmith.runtime.commands.cli import main
from edgesmith.runtime.commands.evaluation.evaluate import evaluate
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.preprocess import ImageContract
from edgesmith.runtime.tasks.known import TASKS, find_task, register_task, task_of
from edgesmith.runtime.tasks.task import Task

BRIGHT = """
<ir_version: 10, opset_import: ["" : 20]>
bright (float[1, 3, 8, 8] pixels) => (float[1, 1, 8, 8] masks)
<int64[1] channels = {1}> { masks = ReduceMean<keepdims = 1>(pixels, channels) }
"""


class Segmentation(Task):
    """Whether a pixel is bright, with the least that a task has to say."""

    name = "parsing"
    outputs = ("masks",)

    def answers(self, bundle, results, sizes, chosen, times):
        return [mask[0] > 0.5 for mask in results["masks"][: len(sizes)]]


@pytest.fixture
def parsing():
    yield register_task(Segmentation())
    del TASKS._things["parsing"]


@pytest.fixture
def bundle(tmp_path):
    pixels = np.random.default_rng(0).random((2, 3, 8, 8), dtype=np.float32)
    files = {
        "model.onnx": onnx.parser.parse_model(BRIGHT).SerializeToString(),
        "golden.npz": golden_bytes({"pixels": pixels}, {"masks": pixels.mean(axis=1, keepdims=True)}),
    }
    manifest = {
        "name": "bright",
        "task": "parsing",
        "target": "cpu",
        "precision": "fp32",
        "inputs": [{"name": "pixels", "dtype": "float32", "shape": [1, 3, 8, 8]}],
        "outputs": [{"name": "masks", "dtype": "float32", "shape": [1, 1, 8, 8]}],
        "input_contract": ImageContract((8, 8), crop_fraction=1.0, mean=(0, 0, 0), std=(1, 1, 1)).to_json(),
    }
    return write_bundle(tmp_path / "bright.edge", files, manifest)


def half_bright():
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, 4:] = 255
    return picture


def test_a_session_answers_with_it(parsing, bundle):
    with load(bundle, threads=1) as session:
        np.testing.assert_array_equal(session(half_bright()), half_bright()[..., 0] > 0)
        (row,) = session.self_test()
        assert row.output == "masks" and row.passed and row.cases == 2
        with pytest.raises(UserMistake, match="takes no score"):
            session(half_bright(), score=0.3)


def test_the_command_tells_and_draws_what_it_can(parsing, bundle, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "half.png"), half_bright())
    words = ["run", str(bundle.path), str(tmp_path / "half.png")]
    for more, said in (([], "[[False"), (["--json"], '"answer"'), (["--save", str(tmp_path / "out.png")], "[[False")):
        with pytest.raises(SystemExit) as left:
            main([*words, *more])
        told = capsys.readouterr()
        assert left.value.code == 0, told.err
        assert said in told.out and "infer" not in told.err, "only what the answer knows is timed"
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "out.png")), half_bright())
    with pytest.raises(SystemExit) as left:
        main([*words, "--top", "3"])
    assert left.value.code == 2 and "bright takes no --top" in capsys.readouterr().err


def test_reports_and_evaluations_take_the_defaults(parsing, bundle):
    rows = [{"stage": "bundle", "max_abs": 1e-7, "cosine": 1.0, "passed": True}]
    assert "1 of 1" in write_report({**bundle.manifest, "parity": rows})
    with pytest.raises(UserMistake, match="does not detect"):
        evaluate([bundle], "coco.json")


def test_outputs_by_name_and_as_one_array(parsing):
    masks = np.zeros((1, 1, 8, 8), np.float64)
    joined = parsing.joined({"masks": masks})
    assert joined.dtype == np.float32 and list(parsing.separated(joined)) == ["masks"]
    two = np.arange(14, dtype=np.float32).reshape(1, 2, 7)
    boxes = find_task("detection").separated(two)
    np.testing.assert_array_equal(find_task("detection").joined(boxes), two)
    assert {name: array.shape for name, array in boxes.items()} == {"boxes": (1, 2, 4), "scores": (1, 2, 3)}


def test_a_name_is_taken_once(parsing):
    class Another(Segmentation):
        pass

    with pytest.raises(UserMistake, match="a task parsing already"):
        register_task(Another())
    assert find_task("parsing") is register_task(Segmentation()), "the same class, which has no state"


def test_a_task_that_nobody_registered_gives_outputs_only(bundle):
    with pytest.raises(UserMistake, match="no task .parsing.(.|\n)*classification, detection"):
        find_task("parsing")
    assert task_of("parsing").report(bundle.manifest)
    with load(bundle) as session:
        assert session.self_test()[0].passed
        with pytest.raises(UserMistake, match="does not classify or detect(.|\n)*session.run"):
            session(half_bright())


def test_a_task_brings_no_library_before_it_is_used():
    code = "import sys, edgesmith.runtime.tasks.known as known; list(known.TASKS); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"cv2", "onnxruntime", "pycocotools"} & set(done.stdout.split())
