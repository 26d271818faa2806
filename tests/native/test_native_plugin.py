"""The C++ plugin answers TensorRT's questions as runtime/plugins/schema.py would, for every kernel of the pack."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu.shapes import output_shapes
from native.conftest import NATIVE, NODE, PROBE, SOURCES, STAND_IN, STRICT, write_table

from edgesmith.runtime.plugins.expressions import parse
from edgesmith.runtime.plugins.pack import KernelPack, OpKernels
from edgesmith.runtime.plugins.schema import Launch, OpSchema, chosen, float_bits

FIRST_ADDRESS, ADDRESS_STEP, STREAM = 0x10000, 0x1000, 77  # host.cpp's
FIELD_TYPES = {"float": 1, "int": 5}  # PluginFieldType::kFLOAT32, kINT32

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="this machine has no g++")


# ---- cases: sizes and attributes for one kernel
class Case:
    """One node: op, type of T, shapes and attributes, and what they are worth in expressions."""

    def __init__(self, schema: OpSchema, t: str, shapes: list[tuple[int, ...]], attributes: Mapping[str, Any]) -> None:
        self.schema, self.t, self.shapes, self.attributes = schema, t, shapes, attributes
        self.names = schema.bind(shapes, attributes)

    @property
    def lines(self) -> list[str]:
        kinds = {attribute.name: attribute.kind for attribute in self.schema.attributes}
        return [
            f"node {self.schema.name}",
            *(f"attribute {name} {kinds[name]} {value!r}" for name, value in self.attributes.items()),
            *(f"input {tensor.type_for(self.t)} {' '.join(map(str, shape))}"
              for tensor, shape in zip(self.schema.inputs, self.shapes, strict=True)),
        ]  # fmt: skip

    def launched(self, launch: Launch) -> dict[str, Any]:
        """What the driver must be asked."""
        inputs, outputs = len(self.schema.inputs), len(self.schema.outputs)
        addresses = [FIRST_ADDRESS + i * ADDRESS_STEP for i in range(inputs + outputs)]
        scalars = [parse(text).value(self.names) for text in launch.scalars]
        return {
            "entry": launch.entry,
            "grid": [parse(text).value(self.names) for text in launch.grid],
            "block": [launch.threads, 1, 1],
            "shared": launch.shared_bytes,
            "stream": STREAM,
            "extra": 0,
            "context": 0x100,
            "arguments": addresses[:inputs] + scalars + addresses[inputs:],
        }


def type_of(op: OpKernels, launch: Launch) -> str:
    """T for a launch; an op without a T is compiled for one type."""
    return launch.type if any(tensor.type == "T" for tensor in op.schema.inputs) else op.launches[0].type


def find_case(op: OpKernels, launch: Launch, seed: int) -> Case:
    """Random sizes and attributes that ``launch`` is for; numbers of its condition are tried where it reads them."""
    rng = np.random.default_rng(seed)
    read = parse(launch.when)
    numbers = sorted({token for token in read.postfix if isinstance(token, int)})
    quotients = {a // b for a in numbers for b in numbers if b and a % b == 0}
    pinned = {name: int(number) for name, number in re.findall(r"\b([A-Za-z_]\w*) == (\d+)\b", launch.when)}
    for _ in range(3000):

        def draw(name: str, usual: list[int]) -> int:
            return pinned.get(name) or int(
                rng.choice(sorted({*numbers, *quotients} - {0}))
                if name in read.names and numbers
                else rng.choice(usual)
            )

        attributes: dict[str, Any] = {}
        for attribute in op.schema.attributes:
            if attribute.kind == "float":
                attributes[attribute.name] = float(np.float32(rng.uniform(1e-3, 2)))
            else:
                attributes[attribute.name] = draw(attribute.name, [1, 2, 3, 4, 7, attribute.default or 1])
        symbols = {size for tensor in op.schema.inputs for size in tensor.shape if size.isidentifier()}
        names = {name: draw(name, [1, 2, 3, 5, 8, 16, 32, 64, 100]) for name in sorted(symbols)}
        names |= {name: value for name, value in attributes.items() if isinstance(value, int)}
        try:
            shapes = [tuple(parse(size).value(names) for size in tensor.shape) for tensor in op.schema.inputs]
            case = Case(op.schema, type_of(op, launch), shapes, attributes)
            sizes = [size for shape in [*shapes, *output_shapes(op.schema, case.names)] for size in shape]
            grid = [parse(text).value(case.names) for text in launch.grid]
        except (ValueError, ZeroDivisionError):
            continue
        if min(sizes + grid) >= 1 and launch in chosen(op.launches, case.t, case.names):
            return case
    raise AssertionError(f"no sizes found for {launch.entry}, which is for {launch.when}")


# ---- every kernel of the pack
def test_every_kernel_is_launched_as_its_declaration_says(native, pack: KernelPack, kernels):
    cases = [
        (op, find_case(op, launch, seed)) for op in pack.ops.values() for launch in op.launches for seed in range(2)
    ]
    answers = native.ask([f"folder {kernels}", *(line for _, case in cases for line in [*case.lines, "run"])])
    launched = set()
    for (op, case), answer in zip(cases, answers, strict=True):
        fitting = chosen(op.launches, case.t, case.names)
        tactics = [op.launches.index(launch) + 1 for launch in fitting] if len(fitting) > 1 else []
        expected = [[case.launched(launch)] * 2 for launch in ([fitting[0], *fitting] if tactics else fitting)]
        assert answer.get("failed") is None and answer["log"] == [], (case.lines, answer)
        assert answer["types"] == [tensor.type_for(case.t) for tensor in case.schema.outputs]
        assert answer["shapes"] == [list(shape) for shape in output_shapes(case.schema, case.names)], case.lines
        assert answer["tactics"] == tactics
        assert answer["built"] == expected, case.lines
        assert answer["read"] == expected, "after the engine was written and read"
        launched |= {launch.entry for launch in fitting}
    assert launched == set(pack.ptx)


def test_types_are_those_with_kernels_and_memory_is_linear(native, pack, kernels):
    cases = [find_case(op, op.launches[0], 0) for op in pack.ops.values()]
    answers = native.ask([f"folder {kernels}", *(line for case in cases for line in [*case.lines, "run"])])
    for op, answer in zip(pack.ops.values(), answers, strict=True):
        tensors = [*op.schema.inputs, *op.schema.outputs]
        types = {launch.type for launch in op.launches} if any(tensor.type == "T" for tensor in tensors) else {"any"}
        expected = [[tensor.type_for(t) for tensor in tensors] for t in types]
        assert sorted(answer["formats"]) == sorted(expected), op.schema.name


def test_creators_are_the_ops_and_their_attributes(native, pack, kernels):
    (answer,) = native.ask([f"folder {kernels}", "creators"])
    expected = [
        {
            "name": op.schema.name,
            "version": "1",
            "namespace": "edgesmith",
            "fields": [[attribute.name, FIELD_TYPES[attribute.kind]] for attribute in op.schema.attributes],
        }
        for op in pack.ops.values()
    ]
    assert answer == {"creators": expected, "log": []}


# ---- one small op, so that each rule has its own line
def entries(answer: Mapping[str, Any]) -> list[str]:
    return [launches[0]["entry"] for launches in answer["built"]]


def test_two_kernels_that_fit_are_tactics(native, probe):
    seven, eight = native.ask(
        [f"folder {probe}", *NODE, "run", *NODE[:2], "input float16 2 8", "input float32 16", "run"]
    )
    assert seven["tactics"] == [1, 2] and entries(seven) == ["first", "first", "second"]
    assert eight["tactics"] == [] and entries(eight) == ["first"]


def test_attributes_in_either_width_and_defaults(native, probe):
    wide = ["node Probe", "attribute bits int64 2", "attribute scale float64 0.1", *NODE[2:]]
    narrow, other = native.ask([f"folder {probe}", *NODE, "run", *wide, "run"])
    assert narrow["shapes"] == [[2, 28]] and other["shapes"] == [[2, 14]]
    assert narrow["built"][0][0]["arguments"][2:4] == [7, float_bits(0.5)]
    assert other["built"][0][0]["arguments"][2:4] == [7, float_bits(0.1)]
    assert other["about"].startswith(f"Probe bits=2 scale={float_bits(0.1)} kernels=") and other["same_about"] == 1
    assert narrow["serialised"] == ["bits", "scale", "kernels_hash"]


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ([], "needs the attribute scale"),
        (["scale float 1", "eps float 1"], "has no attribute eps"),
        (["scale int 1"], "attribute scale is no float"),
        (["scale float 1", "bits float 4"], "attribute bits is no int"),
        (["scale float 1", "bits int64 4294967300"], "attribute bits does not fit 32 bits"),
        (["scale float 1", "kernels_hash int 1"], "has no attribute kernels_hash"),
    ],
)
def test_refuses_attributes_the_schema_does_not_have(native, probe, attributes, words):
    lines = ["node Probe", *(f"attribute {text}" for text in attributes), *NODE[2:]]
    (answer,) = native.ask([f"folder {probe}", *lines, "run"])
    assert answer == {"failed": "create", "log": [f"edgesmith: Probe: {words}"]}


def test_refuses_an_engine_that_was_built_with_other_kernels(native, probe, tmp_path):
    lines = [line.replace("float16 128 512", "float16 256 512") for line in PROBE]
    other = write_table(tmp_path / "other", lines, {"first": 2, "second": 2})
    (answer,) = native.ask([f"folder {probe}", *NODE, f"later {other}", "run"])
    assert answer["failed"] == "read" and "built with other kernels" in answer["log"][0]


@pytest.mark.parametrize(
    ("inputs", "also", "failed", "words"),
    [
        (["float16 2 7 1", "float32 14"], [], "shapes", "x has 2 axes, found 3"),
        (["float16 2 7"], [], "types", "takes 2 inputs and gives 1 outputs, found 1 and 1"),
        (["float16 2 7", "float32 15"], [], "configure", "axis 0 of w is N,2,* = 14, found 15"),
        (["bfloat16 2 7", "float32 14"], [], "configure", "no kernel for x (2, 7) w (14), T = bfloat16"),
        (["float16 2 6", "float32 12"], ["attribute bits int 9"], "configure", "no kernel for x (2, 6) w (12), T = float16"),
        (["float16 2 7", "float32 14"], ["output 2 29"], "enqueue", "axis 1 of y is N,bits,* = 28, found 29"),
        (["float16 2 7", "float32 14"], ["output 56"], "enqueue", "y has 2 axes, found 1"),
        (["float16 2 7", "float32 14"], ["offset 8"], "enqueue", "the address of a tensor is no multiple of 16"),
        (["float16 70000 6", "float32 12"], [], "enqueue", "B = 70000 is not from 1 to 65535"),
        (["float16 2 3000000000", "float32 6000000000"], [], "enqueue",
         "N = 3000000000 is not from -2147483648 to 2147483647"),
    ],
)  # fmt: skip
def test_refuses_sizes_types_and_addresses(native, probe, inputs, also, failed, words):
    lines = ["node Probe", "attribute scale float 1", *(f"input {text}" for text in inputs), *also]
    (answer,) = native.ask([f"folder {probe}", *lines, "run"])
    assert answer == {"failed": failed, "log": [f"edgesmith: Probe: {words}"]}


def test_an_attribute_that_is_a_size_is_not_taken_from_the_shape(native, tmp_path):
    lines = [line.replace("input w float32 N,2,*", "input w float32 bits") for line in PROBE]
    folder = write_table(tmp_path / "fixed", lines, {"first": 2, "second": 2})
    four, five = ([*NODE[:3], f"input float32 {size}", "run"] for size in (4, 5))
    right, wrong = native.ask([f"folder {folder}", *four, *five])
    assert right["shapes"] == [[2, 28]] and right["log"] == []
    assert wrong == {"failed": "configure", "log": ["edgesmith: Probe: axis 0 of w is bits = 4, found 5"]}


def test_nothing_is_launched_for_an_empty_output(native, probe):
    lines = ["node Probe", "attribute scale float 1", "input float16 0 7", "input float32 14"]
    (answer,) = native.ask([f"folder {probe}", *lines, "run"])
    assert answer["shapes"] == [[0, 28]] and answer["built"] == [[], [], []] and answer["log"] == []


# ---- the driver
@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("cuCtxGetCurrent", "cuCtxGetCurrent: CUDA_ERROR_INVALID_CONTEXT"),
        ("cuModuleLoadData", "cuModuleLoadData of first: CUDA_ERROR_UNSUPPORTED_PTX_VERSION"),
        ("cuLaunchKernel", "cuLaunchKernel: CUDA_ERROR_LAUNCH_FAILED"),
    ],
)
def test_says_what_the_driver_refused(native, probe, call, words):
    (answer,) = native.ask([f"folder {probe}", *NODE, "run"], {"FAKE_CUDA_FAIL": call})
    assert answer == {"failed": "enqueue", "log": [f"edgesmith: Probe: {words}"]}


def test_builds_without_a_driver_and_says_so_when_it_runs(native, probe, tmp_path):
    (tmp_path / "libcuda.so.1").write_text("no library")
    (answer,) = native.ask([f"folder {probe}", *NODE, "run"], {"LD_LIBRARY_PATH": str(tmp_path)})
    assert answer["failed"] == "enqueue" and answer["log"][0].startswith("edgesmith: Probe: no CUDA driver: ")


def test_threads_share_one_module_a_context(native, probe):
    (answer,) = native.ask([f"folder {probe}", *NODE, "threads 4 50"])
    assert answer == {"launches": 200, "loads": 2, "failures": [0, 0, 0, 0], "log": []}


@pytest.mark.slow
def test_threads_do_not_race(build_native, probe):
    raced = build_native(["-O1", "-g1", "-fsanitize=thread"])
    (answer,) = raced.ask([f"folder {probe}", *NODE, "threads 4 200"])
    assert answer == {"launches": 800, "loads": 2, "failures": [0, 0, 0, 0], "log": []}


# ---- building
def headers_of_tensorrt() -> Path | None:
    """The folder of the real NvInferRuntime.h: what TENSORRT_INCLUDE_DIR says, or where packages put it."""
    told = os.environ.get("TENSORRT_INCLUDE_DIR")
    folders = [Path(told)] if told else [*Path("/usr/include").glob("*-linux-gnu"), Path("/usr/include")]
    return next((folder for folder in folders if (folder / "NvInferRuntime.h").is_file()), None)


@pytest.mark.skipif(headers_of_tensorrt() is None, reason="this machine has no headers of TensorRT")
def test_compiles_with_the_headers_of_tensorrt():
    cuda = Path(importlib.util.find_spec("triton").origin).parent / "backends" / "nvidia" / "include"
    flags = [*STRICT, "-fsyntax-only", "-isystem", str(headers_of_tensorrt()), "-isystem", str(cuda)]
    done = subprocess.run(["g++", *flags, *SOURCES], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]


@pytest.mark.skipif(shutil.which("clang++") is None, reason="this machine has no clang++")
def test_clang_has_nothing_to_say():
    flags = [*STRICT, "-fsyntax-only", "-I", str(STAND_IN)]
    done = subprocess.run(["clang++", *flags, *SOURCES], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]


@pytest.mark.skipif(shutil.which("cmake") is None, reason="this machine has no cmake")
@pytest.mark.parametrize(("lacking", "package"), [("TENSORRT", "libnvinfer-headers-dev"), ("CUDA", "cuda-cudart-dev")])
def test_cmake_says_which_headers_are_missing_and_where_they_are(tmp_path, lacking, package):
    folders = {"TENSORRT": str(tmp_path), "CUDA": str(tmp_path), lacking: f"{lacking}_INCLUDE_DIR-NOTFOUND"}
    named = [f"-D{name}_INCLUDE_DIR={folder}" for name, folder in folders.items()]
    # a root that is empty hides what this machine has
    nowhere = ["-DCMAKE_FIND_ROOT_PATH_MODE_INCLUDE=ONLY", f"-DCMAKE_FIND_ROOT_PATH={tmp_path}"]
    command = ["cmake", "-S", str(NATIVE), "-B", str(tmp_path / "build"), *named, *nowhere]
    told = subprocess.run(command, check=False, capture_output=True, text=True)
    words = " ".join(told.stderr.split())
    assert told.returncode and package in words and f"-D{lacking}_INCLUDE_DIR=" in words


@pytest.mark.skipif(shutil.which("cmake") is None, reason="this machine has no cmake")
def test_cmake_builds_it_without_linking_anything_of_nvidia(tmp_path):
    headers = f"-DTENSORRT_INCLUDE_DIR={STAND_IN}", f"-DCUDA_INCLUDE_DIR={STAND_IN}"
    commands = [["cmake", "-S", str(NATIVE), "-B", str(tmp_path), *headers, "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS=-Werror"],
                ["cmake", "--build", str(tmp_path), "--parallel", "2"]]  # fmt: skip
    for command in commands:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    library = tmp_path / "libedgesmith_plugins.so"
    symbols = subprocess.run(["nm", "-D", str(library)], check=True, capture_output=True, text=True).stdout
    assert re.search(r" T getCreators$", symbols, re.MULTILINE) and re.search(
        r" T setLoggerFinder$", symbols, re.MULTILINE
    )
    assert not re.search(r" U (cu[A-Z]|.*nvinfer)", symbols)
