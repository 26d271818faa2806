"""doctor tells what is so, for a whole installation, an empty one and a broken one."""

import importlib.metadata
import io
import json
import re
import subprocess
import sys

import pytest
from rich.console import Console

from edgesmith.exporter.commands import doctor as module
from edgesmith.exporter.commands.doctor import doctor, show
from edgesmith.exporter.plan.targets import TARGETS
from edgesmith.runtime.errors import BackendUnavailable


def ability(data, name):
    return next(row for row in data["targets"] if row["name"] == name)


def package(data, name):
    return next(row for row in data["packages"] if row["name"] == name)


def test_versions_are_those_installed():
    data = doctor()
    for name in ("numpy", "onnx", "torch"):
        assert package(data, name)["version"] == importlib.metadata.version(name)
    assert [row["name"] for row in data["targets"]] == list(TARGETS)
    assert json.loads(json.dumps(data)) == data


def test_with_nothing_installed_every_target_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(module, "_version", lambda name: None)
    data = doctor()
    assert {row["state"] for row in data["packages"]} == {"missing"}
    assert all("torch" in row["export_lacks"] for row in data["targets"])
    assert "onnxruntime" in ability(data, "cpu")["run_lacks"]
    assert data["edgesmith"]


def test_a_missing_engine_library_stops_only_its_target(monkeypatch):
    real = module._version
    monkeypatch.setattr(module, "_version", lambda name: None if name == "tensorrt-rtx" else real(name) or "99")
    data = doctor()
    assert ability(data, "rtx")["export_lacks"] == "needs tensorrt-rtx"
    assert ability(data, "cpu")["export_lacks"] == "" and ability(data, "jetpack6")["export_lacks"] == ""
    assert package(data, "tensorrt-rtx")["attempt"] == "pip install 'edgesmith[rtx]'"


def test_every_package_that_a_user_may_install_is_there():
    """Of each extra that pyproject.toml has; ``eval`` and ``grounding`` are parts of ``export`` for a device."""
    wanted = {
        re.match(r"[\w-]+", line)[0]
        for line in importlib.metadata.requires("edgesmith")
        if 'extra == "dev"' not in line
    }
    rows = doctor()["packages"]
    assert wanted - {"tomli", "onnxruntime-gpu"} == {row["name"] for row in rows}
    assert all(row["needed_for"] for row in rows)


def test_an_old_version_is_not_called_good(monkeypatch):
    monkeypatch.setattr(module, "_minima", lambda: {"torch": "2.13"})
    monkeypatch.setattr(module, "_version", lambda name: "2.9.1")
    row = package(doctor(), "torch")
    assert row["state"] == "old" and row["attempt"] == "pip install 'torch>=2.13'"


def test_minimum_versions_come_from_our_own_metadata():
    assert module._minima().get("onnxruntime") == "1.19"


def test_a_minimum_for_another_python_is_none_of_ours(monkeypatch):
    newer = 'onnxruntime>=1.31; python_version >= "3.11" and extra == "cpu"'
    older = 'onnxruntime>=1.23; python_version < "3.11" and extra == "cpu"'
    lines = [newer, older, 'torch>=2.13; extra == "export"']
    monkeypatch.setattr("importlib.metadata.requires", lambda name: lines)
    for version, minimum in (((3, 10, 1), "1.23"), ((3, 11, 0), "1.31"), ((3, 14, 0), "1.31")):
        monkeypatch.setattr(module.sys, "version_info", version)
        assert module._minima() == {"onnxruntime": minimum, "torch": "2.13"}


@pytest.mark.parametrize(("count", "lacks"), [(1, ""), (0, "a GPU")])
def test_rtx_runs_where_a_gpu_is(monkeypatch, count, lacks):
    monkeypatch.setattr(module, "_version", lambda name: "99")
    monkeypatch.setattr(module, "_gpu", lambda: {"count": count, "why": "" if count else "no driver"})
    row = ability(doctor(), "rtx")
    assert row["export_lacks"] == "" and row["run_lacks"] == (f"needs {lacks}" if lacks else "")


def test_a_driver_that_cannot_be_asked_is_no_crash(monkeypatch):
    from edgesmith.runtime.backends.gpu import cuda

    def broken():
        raise BackendUnavailable("no GPU here", found="libcuda.so.1 says 999")

    monkeypatch.setattr(cuda, "find_driver", broken)
    assert module._gpu() == {"count": 0, "why": "libcuda.so.1 says 999"}


def test_broken_metadata_of_another_package_is_no_crash(monkeypatch):
    def broken(name):
        raise ValueError("bad METADATA")

    monkeypatch.setattr(importlib.metadata, "version", broken)
    assert package(doctor(), "torch")["state"] == "missing"


def test_nothing_heavy_is_imported():
    code = (
        "import sys; from edgesmith.exporter.commands.doctor import doctor; doctor();"
        "print([m for m in ('torch', 'onnx', 'onnxruntime', 'openvino', 'tensorrt_rtx', 'timm', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_the_screen_names_everything(monkeypatch):
    monkeypatch.setattr(module, "_version", lambda name: None if name == "openvino" else "99")
    out = io.StringIO()
    show(doctor(), Console(file=out, width=160))
    text = out.getvalue()
    assert all(name in text for name in TARGETS)
    assert "pip install 'edgesmith[openvino]'" in text and "needs openvino" in text
