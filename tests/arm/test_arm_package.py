"""Every module of the runtime is imported where there is neither torch nor onnx; doctor knows the machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import edgesmith

IMPORTS = """
import importlib, pkgutil, sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "onnx", "onnx_ir", "onnxscript", "timm", "typer", "rich"}:
            raise AssertionError(f"{name} is imported")

sys.meta_path.insert(0, Refused())
import edgesmith.runtime as runtime
names = [found.name for found in pkgutil.walk_packages(runtime.__path__, "edgesmith.runtime.")]
for name in names:
    importlib.import_module(name)
print(len(names), *sorted({"cv2", "numpy", "tensorrt", "openvino", "onnxruntime"} & set(sys.modules)))
"""


@pytest.mark.skipif(
    os.environ.get("EDGESMITH_ARM_CHILDREN") == "0", reason="the kernel starts no programs for Arm here"
)
def test_every_module_of_the_runtime_is_imported_without_torch_and_onnx():
    done = subprocess.run([sys.executable, "-W", "error", "-c", IMPORTS], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    count, *libraries = done.stdout.split()
    files = [path for path in Path(__file__).parents[2].joinpath("runtime").rglob("*.py") if "native" not in path.parts]
    assert int(count) == len(files) - 1 and libraries == ["cv2", "numpy"]  # engines where they are opened


def test_doctor_knows_the_processor_and_what_runs_on_it():
    told = edgesmith("doctor", "--json")
    found = json.loads(told.out)
    assert told.code == 0 and platform.machine() in found["machine"]["system"]
    lacks = {target["name"]: target["run_lacks"] for target in found["targets"]}
    assert lacks["cpu"] == "" and "a Jetson" in lacks["jetpack6"]
    if platform.machine() == "aarch64":
        assert found["machine"]["cpu_features"] == ["asimdhp"]  # half precision, which Orin has
