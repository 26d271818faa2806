"""Every name of TensorRT that our source uses exists in the real classes, of each version that we say we run on.

The names are collected from the source (``ast``); those of the libraries stand in tests/data/tensorrt_names.json, read from the bindings of
TensorRT 8.6 to 11.4 and TensorRT-RTX by tools/tensorrt_names.py. A name that some version lacks has to be looked for with ``getattr``
or ``hasattr`` somewhere, and must be there in another. What the installed bindings say is compared with the table.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = json.loads((ROOT / "tests" / "data" / "tensorrt_names.json").read_text())
BACKENDS = ROOT / "runtime" / "backends"
FILES = [BACKENDS / "tensorrt.py", BACKENDS / "engine_child.py", BACKENDS / "gpu" / "lane.py", BACKENDS / "gpu" / "builder_settings.py"]  # fmt: skip
KINDS = {  # what stands for an object of which class, in those files
    "builder": "Builder", "config": "IBuilderConfig", "network": "INetworkDefinition", "parser": "OnnxParser", "profile": "IOptimizationProfile",
    "kinds": "NetworkDefinitionCreationFlag", "cache": "ITimingCache", "tensor": "ITensor", "self._engine": "ICudaEngine",
    "self._runtime": "Runtime", "self._context": "IExecutionContext", "error": "ParserError",
}  # fmt: skip
ERRORS_OF_OURS = {"what", "found", "because", "exit_code"}  # ``error`` is also one of those
FOR_A_NAMED_CHIP = {  # asked of TensorRT-RTX alone: Request.arch
    "ComputeCapability", "IBuilderConfig.num_compute_capabilities", "IBuilderConfig.set_compute_capability",
}  # fmt: skip
SHOWN_BY = {"IProgressMonitor": "progress_monitor"}  # a class is there where a setting for it is


def used_in(source: str) -> Iterator[str]:
    """``Builder.create_network`` or ``init_libnvinfer_plugins`` for each use in a file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            words = ast.unparse(node).split(".")
            if words[0] == "trt" and not words[1].startswith("__"):
                yield ".".join(word for word in words[1:3] if not word.startswith("__"))
            for place, kind in KINDS.items():
                if ast.unparse(node.value) == place and not (place == "error" and node.attr in ERRORS_OF_OURS):
                    yield f"{kind}.{node.attr}"


def guarded_in(source: str) -> Iterator[str]:
    """The last part of each name that is looked for before it is used."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr"):
            yield from (str(word.value) for word in node.args[1:2] if isinstance(word, ast.Constant))


def names_of(version: str) -> set[str]:
    found = TABLE[version]
    own = {*found["functions"], *found["classes"]}
    return own | {f"{name}.{member}" for name, members in found["classes"].items() for member in members}


def missing(source: str, names: dict[str, set[str]]) -> list[str]:
    """What is used and not there; a guarded name has to be in one version at least."""
    guarded, wrong = set(guarded_in(source)), []
    for name in sorted(set(used_in(source))):
        lacking = [version for version, known in names.items() if name not in known]
        if name in FOR_A_NAMED_CHIP or name.split(".")[0] in FOR_A_NAMED_CHIP:
            lacking = [version for version in lacking if version.startswith("tensorrt_rtx")]
        elif ({name.rsplit(".", 1)[-1], SHOWN_BY.get(name)} & guarded) and len(lacking) < len(names):
            lacking = []
        if lacking:
            wrong.append(f"{name} is not in {', '.join(lacking)}")
    return wrong


SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in FILES).replace("from __future__ import annotations", "")
NAMES = {version: names_of(version) for version in TABLE}


def test_the_table_has_all_that_we_say_we_run_on():
    majors = {
        version.rsplit(".", 2)[0].split()[1].split(".")[0] for version in TABLE if version.startswith("tensorrt ")
    }
    assert majors == {"8", "10", "11"} and any(version.startswith("tensorrt_rtx ") for version in TABLE)
    assert min(len(names) for names in NAMES.values()) > 300


def test_every_name_we_use_exists_in_every_version():
    used = set(used_in(SOURCE))
    assert len(used) > 45 and {
        "Builder.build_serialized_network", "IBuilderConfig.set_timing_cache", "IExecutionContext.execute_async_v3", "MemoryPoolType.WORKSPACE",
        "ICudaEngine.create_execution_context", "Runtime.deserialize_cuda_engine", "init_libnvinfer_plugins", "ITimingCache.serialize",
    } <= used, "the collector sees what is there"  # fmt: skip
    assert missing(SOURCE, NAMES) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("builder.build_engine(network, config)", "Builder.build_engine is not in tensorrt 10.0.1"),
        ("config.max_workspace_size = 1", "IBuilderConfig.max_workspace_size is not in"),
        ("trt.BuilderFlag.INT8", "BuilderFlag.INT8 is not in tensorrt 11.4"),
        ("trt.NoSuchThing", "NoSuchThing is not in"),
        ("hasattr(config, 'no_such_level')\nconfig.no_such_level = 2", "IBuilderConfig.no_such_level is not in"),
        ("self._context.execute_async_v2([], 0)", "IExecutionContext.execute_async_v2 is not in"),
    ],
)
def test_a_name_that_some_version_lacks_is_found(line, said):
    assert any(found.startswith(said) for found in missing(line, NAMES))


def test_a_name_that_is_looked_for_may_be_missing_somewhere():
    assert missing("config.builder_optimization_level = 2", NAMES) == []
    assert missing("trt.BuilderFlag.FP16", NAMES)
    assert missing("if hasattr(trt.BuilderFlag, 'FP16'):\n    config.set_flag(trt.BuilderFlag.FP16)", NAMES) == []


def test_types_of_tensors_are_named_as_the_library_names_them():
    from edgesmith.runtime.backends.tensorrt import DTYPES

    for version, names in NAMES.items():
        assert {f"DataType.{name}" for name in DTYPES if name != "INT64"} <= names, version
    assert all("DataType.INT64" in names for version, names in NAMES.items() if not version.startswith("tensorrt 8"))


@pytest.mark.parametrize("module", ["tensorrt_bindings", "tensorrt_rtx"])
def test_the_table_is_what_the_installed_bindings_say(module, tmp_path):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    if shutil.which("gcc") is None or shutil.which("nm") is None:
        pytest.skip("no gcc to make empty libraries with")
    tool, out = ROOT / "tools" / "tensorrt_names.py", tmp_path / "names.json"
    subprocess.run([sys.executable, str(tool), module, "--out", str(out)], check=True, capture_output=True)
    for version, found in json.loads(out.read_text()).items():
        assert TABLE.get(version) == found, f"{version}: python tools/tensorrt_names.py writes the table anew"
