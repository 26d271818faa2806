"""On a device with the base install only, ``edgesmith`` still runs bundles and tests itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import BASE_ONLY
from small_bundle import write_small_bundle


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


@pytest.mark.parametrize(
    "verb", ["export", "compare", "list", "inspect", "doctor", "quant-report", "kv-bytes", "sweep"]
)
def test_a_command_of_the_workstation_names_the_extra_that_brings_it(folder: Path, verb: str):
    done = device(folder, verb, "small.edge", "--any-flag")
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr
    assert f"edgesmith {verb} " in done.stderr and "pip install 'edgesmith[export]'" in done.stderr


def test_bench_measures_without_torch_and_names_what_only_the_workstation_has(folder: Path):
    done = device(folder, "bench", "small.edge", "--rounds", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert [row["name"] for row in json.loads(done.stdout)["rows"]] == ["Edgesmith, onnxruntime, fp32"]
    peers = device(folder, "bench", "small.edge", "--against", "eager")
    assert peers.returncode == 2 and "edgesmith bench --against is an option of the workstation" in peers.stderr


@pytest.mark.parametrize("flag", ["-w", "--weights", "--weights=x.pth"])
def test_an_option_of_the_workstation_does_as_well(folder: Path, flag: str):
    done = device(folder, "eval", "small.edge", "--data", "set.json", flag, "x.pth")
    assert done.returncode == 2 and done.stdout == ""
    assert f"edgesmith eval {flag.split('=')[0]} is an option of the workstation" in done.stderr
    assert "pip install 'edgesmith[export]'" in done.stderr


def test_the_commands_of_the_workstation_are_those_that_the_device_lacks():
    from typer.main import get_command

    from edgesmith.exporter.commands.cli import app
    from edgesmith.runtime.commands.cli import WORKSTATION

    here = {"run", "test", "bench", "eval", "serve", "triton", "sign", "verify"}
    assert set(WORKSTATION) == set(get_command(app).commands) - here


def test_the_version_is_told_on_the_device(folder: Path):
    from edgesmith import __version__

    done = device(folder, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"edgesmith {__version__}\n", "")


@pytest.mark.parametrize("words", [("export", "--model", "smt"), ("inspect", "small.edge")])
def test_half_of_the_extra_is_told_as_well(folder: Path, words: tuple[str, ...]):
    """typer and rich are there, as many other packages bring them, and the rest of the extra is not."""
    half = BASE_ONLY.replace('"typer", "rich", ', "").replace('in ("typer", "rich")', "in ()")
    assert half.count("typer") == 0
    done = subprocess.run([sys.executable, "-c", half, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "pip install 'edgesmith[export]'" in done.stderr and "no Python module" in done.stderr


OTHER_OPENCV = """
import sys, types, cv2
told = []
if sys.argv[1] == "4":
    cv2.utils.__dict__.pop("logging", None)
    cv2.setLogLevel = told.append
else:
    cv2.__dict__.pop("setLogLevel", None)
    cv2.utils.logging = types.SimpleNamespace(setLogLevel=told.append)
from edgesmith.runtime.commands.run import Asked, run
print(run(Asked("small.edge", ("blue.png",))), told)
"""


@pytest.mark.parametrize("release", ["4", "5"])
def test_run_works_with_the_opencv_of_today_and_of_boards(folder: Path, release: str):
    """OpenCV 4 has setLogLevel in cv2, OpenCV 5 in cv2.utils.logging; each has only the one."""
    done = subprocess.run(
        [sys.executable, "-c", OTHER_OPENCV, release], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "0 [0]", done.stderr


WHAT_IT_IMPORTS = """
import sys
from edgesmith.runtime.commands.run import Asked, run
run(Asked("small.edge", ("blue.png",)))
print(sorted(name for name in sys.argv[1:] if name in sys.modules))
"""


def test_a_run_imports_nothing_that_it_does_not_need(folder: Path):
    """Each of these takes as long as to open a bundle: what finds extensions, what registers plugins, the other engines."""
    unwanted = [
        "importlib.metadata",
        "email",
        "statistics",
        "argparse",
        "edgesmith.runtime.plugins.register",
        "openvino",
    ]
    command = [sys.executable, "-c", WHAT_IT_IMPORTS, *unwanted]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("test", "missing.edge"), "cannot open the bundle missing.edge"),
        (("run", "small.edge", "missing.png"), "cannot read the picture missing.png"),
        (("run", "small.edge"), "nothing to look at"),
        (("test", "small.edge", "--backend", "none"), "there is no backend 'none'"),
        (("eval", "small.edge", "--data", "missing.json"), ""),
        (("test", "small.edge", "--threads", "many"), "edgesmith test cannot read its command line"),
        (("export",), "edgesmith export is a command of the workstation"),
    ],
)
def test_with_json_a_mistake_is_the_document_as_on_the_workstation(folder: Path, words: tuple[str, ...], said: str):
    done = device(folder, *words, "--json")
    assert done.returncode == 2, done.stderr
    told = json.loads(done.stdout)
    assert list(told) == ["error"] and said in told["error"]["what"] and done.stderr == ""
    assert {"found"} <= set(told["error"]) <= {"what", "found", "expected", "because", "try"} or "expected" in told[
        "error"
    ]
