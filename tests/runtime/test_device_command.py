"""On a device with the base install only, ``edgesmith`` still runs bundles and tests itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_bundle import write_small_bundle

BASE_ONLY = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"typer", "rich", "torch", "onnx", "onnx_ir", "onnxscript", "timm"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in ("typer", "rich") else real(name, *rest)
import edgesmith.__main__ as command
sys.argv = ["edgesmith", *sys.argv[1:]]
command.main()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("device")
    write_small_bundle(made / "small.edge")
    cv2.imwrite(str(made / "blue.png"), np.full((16, 16, 3), (255, 0, 0), np.uint8))  # OpenCV writes BGR
    return made


def device(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BASE_ONLY, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_run_names_the_class(folder: Path):
    done = device(folder, "run", "small.edge", "blue.png", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["top"][0]["label"] == "blue"
    assert device(folder, "run", "small.edge", "blue.png", "--top", "1").stdout.split()[-1] == "blue"


def test_the_self_test_holds_on_the_device(folder: Path):
    done = device(folder, "test", "small.edge")
    assert (done.returncode, done.stdout.startswith("logits: holds")) == (0, True), done.stderr


def test_self_test_fails_when_the_device_computes_something_else(folder: Path):
    from edgesmith.runtime.bundle.bundle import open_bundle, update_bundle
    from edgesmith.runtime.bundle.golden import golden_bytes

    wrong = open_bundle(write_small_bundle(folder / "wrong.edge"))
    images = np.ones((1, 3, 8, 8), np.float32)
    update_bundle(wrong, {"golden.npz": golden_bytes({"images": images}, {"logits": np.zeros((1, 3), np.float32)})})
    done = device(folder, "test", "wrong.edge")
    assert (done.returncode, "FAILS" in done.stdout) == (1, True), done.stderr


def test_a_mistake_ends_with_2_on_the_device(folder: Path):
    done = device(folder, "run", "missing.edge", "blue.png")
    assert done.returncode == 2 and "Traceback" not in done.stderr and "missing.edge" in done.stderr


def test_run_detects_draws_and_films(folder: Path):
    from clips import frames_of, write_clip
    from detection_bundle import write_detection_bundle

    write_detection_bundle(folder / "d.edge")
    write_clip(folder / "clip.mp4", frames=5)
    done = device(
        folder, "run", "d.edge", "--source", "clip.mp4", "--save", "out.mp4", "--json-lines", "--score", "0.6"
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["frame"] for line in done.stdout.splitlines()] == list(range(5))
    assert len(frames_of(folder / "out.mp4")) == 5 and "5 frames in" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "small.edge"), "--source 0"),
        (("run", "small.edge", "blue.png", "--score", "nan"), "--score"),
        (("run", "small.edge", "blue.png", "--score", "0.5"), "--top"),
        (("run", "small.edge", "blue.png", "--top", "0"), "1 or more"),
        (("run", "small.edge", "--source", "gone.mp4"), "gone.mp4"),
        (("run", "small.edge", "blue.png", "--save", "out.xyz"), ".mp4"),
    ],
)
def test_mistakes_are_two_here_as_well(folder: Path, words: tuple[str, ...], said: str):
    done = device(folder, *words)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr and done.stdout == ""
