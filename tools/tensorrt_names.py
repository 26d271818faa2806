"""Which names do TensorRT's Python bindings have? Read from the real modules of several versions, without TensorRT or a GPU.

    python tools/tensorrt_names.py WHEEL_OR_MODULE ... [--out tests/data/tensorrt_names.json]

Each argument is a wheel of bindings for the Python that runs this (``pip download --no-deps tensorrt-cu12-bindings==10.3.0``), or the name of a
module that is installed. The bindings call a handful of C functions of libraries that the wheels do not hold: empty ones stand in
their place (needs gcc), which is enough to import the module and to look at its classes. Only the classes that the runtime uses are
kept, and of the module's own names those that are no class. tests/runtime/test_tensorrt_names.py holds our source to this table.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

OUT = Path(__file__).parents[1] / "tests" / "data" / "tensorrt_names.json"
CLASSES = (
    "Builder", "BuilderFlag", "ComputeCapability", "DataType", "DeviceType", "IBuilderConfig", "ICudaEngine", "IExecutionContext",
    "IHostMemory", "ILogger", "INetworkDefinition", "IOptimizationProfile", "IProgressMonitor", "ITensor", "ITimingCache", "Logger",
    "MemoryPoolType", "NetworkDefinitionCreationFlag", "OnnxParser", "ParserError", "ProfilingVerbosity", "Runtime", "TensorIOMode",
)  # fmt: skip
LOOK = """
import ctypes, importlib, json, sys
for path in json.loads(sys.argv[3]):
    ctypes.CDLL(path)
sys.path.insert(0, sys.argv[2])
module = importlib.import_module(sys.argv[1])
classes = {name: sorted(one for one in dir(getattr(module, name)) if not one.startswith("_")) for name in json.loads(sys.argv[4]) if hasattr(module, name)}
others = sorted(name for name in dir(module) if not name.startswith("_") and callable(getattr(module, name)) and not isinstance(getattr(module, name), type))
print(json.dumps({"version": module.__version__, "classes": classes, "functions": others}))
"""


def names_of(module: str, folder: Path, binary: Path | None, work: Path) -> dict[str, Any]:
    """{"version", "classes": {class: [member]}, "functions"} of the bindings in ``folder``, looked at in a process of its own."""
    libraries = _empty_libraries(binary, work) if binary else []
    words = [sys.executable, "-c", LOOK, module, str(folder), json.dumps(libraries), json.dumps(CLASSES)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{module} of {folder} cannot be imported\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _empty_libraries(binary: Path, work: Path) -> list[str]:
    """One for each TensorRT library that the bindings ask for; all of them have all functions, which give back nothing."""
    needed = subprocess.run(["readelf", "-d", str(binary)], capture_output=True, text=True, check=True).stdout
    missing = subprocess.run(
        ["nm", "-D", "--undefined-only", str(binary)], capture_output=True, text=True, check=True
    ).stdout
    names = re.findall(r"\bU (_ZN\d*nv(?:uff|caffe)\w+|\w*(?:Infer|Onnx|Plugin)\w*)$", missing, re.MULTILINE)
    source = work / "empty.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in sorted(set(names)) if name[0] != "P"))
    made = []
    for library in re.findall(r"\[(libnv\w+\.so\.\d+)\]", needed):
        path = work / library
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-w", f"-Wl,-soname,{library}", "-o", str(path), str(source)], check=True
        )
        made.append(str(path))
    return made


def look(asked: str) -> tuple[str, dict[str, Any]]:
    """(key of the table, names) of a wheel or of an installed module."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if not asked.endswith(".whl"):
            import importlib.util

            spec = importlib.util.find_spec(asked)
            if spec is None or spec.origin is None:
                raise SystemExit(f"no module {asked}")
            inside = Path(spec.origin).parent
            binary = inside / "tensorrt.so"
            found = names_of(asked, inside.parent, binary if binary.exists() else None, work)
        else:
            with zipfile.ZipFile(asked) as archive:
                archive.extractall(work)
            found = names_of("tensorrt_bindings", work, work / "tensorrt_bindings" / "tensorrt.so", work)
    library = "tensorrt_rtx" if "rtx" in asked else "tensorrt"
    return f"{library} {found.pop('version')}", found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("asked", nargs="+", metavar="WHEEL_OR_MODULE")
    parser.add_argument("--out", type=Path, default=OUT)
    told = parser.parse_args()
    table = dict(look(one) for one in told.asked)
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in table.items()]
    told.out.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print("\n".join(table))


if __name__ == "__main__":
    main()
