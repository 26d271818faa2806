"""The C++ plugin, the program that plays TensorRT (host.cpp) and the driver that writes down launches (fake_cuda.cpp)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgesmith.exporter.plugins.pack.pack import PACKED
from edgesmith.runtime.plugins.pack import KernelPack, read_pack

HERE = Path(__file__).parent
NATIVE = HERE.parents[1] / "runtime" / "plugins" / "native"
STAND_IN = HERE / "stand_in"
SOURCES = [str(NATIVE / "plugin.cpp"), str(NATIVE / "table.cpp")]
LIBRARY = "libplugins.so"
STRICT = ["-std=c++17", "-Wall", "-Wextra", "-Werror"]
CHECKED = ["-O0", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


@dataclass(frozen=True)
class Native:
    """A folder with the three programs; ``ask`` tells host.cpp what to do and gives its answers."""

    folder: Path

    def ask(self, lines: Iterable[str], environment: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        told = "\n".join([f"library {self.folder / LIBRARY}", *lines]) + "\n"
        inherited = {key: value for key, value in os.environ.items() if key != "EDGESMITH_KERNELS"}
        done = subprocess.run(
            [str(self.folder / "host")],
            check=False,
            input=told,
            capture_output=True,
            text=True,
            timeout=120,
            env={**inherited, "LD_LIBRARY_PATH": str(self.folder), **(environment or {})},
        )
        assert done.returncode == 0, done.stderr[-4000:]  # a sanitizer that found something ends the program
        return [json.loads(line) for line in done.stdout.splitlines()]


def compile_all(folder: Path, flags: Iterable[str]) -> Native:
    """Three compilations at a time."""
    flags = [*STRICT, *flags, "-I", str(STAND_IN)]
    shared = ["-fPIC", "-shared", "-fvisibility=hidden"]
    jobs = [
        ["g++", *flags, *shared, *SOURCES, "-o", str(folder / LIBRARY), "-ldl"],
        ["g++", *flags, str(HERE / "host.cpp"), "-o", str(folder / "host"), "-ldl", "-pthread"],
        ["g++", *flags, "-fPIC", "-shared", str(HERE / "fake_cuda.cpp"), "-o", str(folder / "libcuda.so.1")],
    ]
    running = [subprocess.Popen(job, stderr=subprocess.PIPE, text=True) for job in jobs]
    told = [process.communicate()[1] for process in running]
    assert not any(process.returncode for process in running), "\n".join(told)[:4000]
    return Native(folder)


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Native:
    """Everything compiled with address and undefined-behaviour checks."""
    return compile_all(tmp_path_factory.mktemp("native"), CHECKED)


@pytest.fixture(scope="session")
def build_native(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Iterable[str]], Native]:
    """The same with other flags."""
    return lambda flags: compile_all(tmp_path_factory.mktemp("native"), flags)


@pytest.fixture(scope="session")
def pack() -> KernelPack:
    return read_pack(PACKED)


@pytest.fixture(scope="session")
def kernels(pack: KernelPack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack as the plugin reads it: a folder."""
    folder = tmp_path_factory.mktemp("kernels")
    pack.unpack(folder)
    return folder


PTX = """.version 8.0
.target sm_80
.visible .entry {entry}(
{parameters}
)
{{
}}
"""
PROBE = [
    "op Probe",
    "input x T B N",
    "input w float32 N,2,*",
    "output y T B N,bits,*",
    "attribute bits int 4",
    "attribute scale float -",
    "kernel first first.ptx float16 128 512",
    "when bits,8,<",
    "grid N,32,cdiv B 1",
    "scalars N scale",
    "kernel second second.ptx float16 64 0",
    "when N,7,==",
    "grid B 1 1",
    "scalars B N",
    "end",
]
NODE = ["node Probe", "attribute scale float 0.5", "input float16 2 7", "input float32 14"]


def write_table(folder: Path, lines: list[str], parameters: Mapping[str, int]) -> Path:
    """A kernel folder; ``parameters``: {entry: arguments that are no pointers}, between two inputs and one output."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry, scalars in parameters.items():
        kinds = [".u64", ".u64", *[".u32"] * scalars, ".u64"]
        declared = ",\n".join(f"\t.param {kind} {entry}_param_{i}" for i, kind in enumerate(kinds))
        (folder / f"{entry}.ptx").write_text(PTX.format(entry=entry, parameters=declared))
    (folder / "plugins.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    return write_table(tmp_path / "probe", PROBE, {"first": 2, "second": 2})
