"""NVIDIA's own plugin code runs every op of the kernel pack, as TensorRT's builder would, and launches what we declare.

Every op, type and set of sizes that has kernels, with fixed and with open axes: output shapes, grid, threads, shared memory
and scalars are those of the declaration, which tests/helpers/fused_ops.py launches in the interpreter. What no machine without
TensorRT can show: that its builder takes the PTX.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from gpu.shapes import output_shapes

from edgesmith.exporter.plugins import OPS
from edgesmith.exporter.plugins.declaration import FusedOp
from edgesmith.exporter.plugins.pack.pack import PACKED
from edgesmith.runtime.plugins.expressions import parse
from edgesmith.runtime.plugins.pack import KernelPack, read_pack
from edgesmith.runtime.plugins.schema import chosen

SIMULATOR = Path(__file__).parent / "simulator"
BATCH_AND_TOKENS = ("B", "N", "M")
USUAL = {"C": 24, "G": 4, "D": 64, "Hm": 14, "Wm": 21}  # 4 where nothing is said
CASES = ({"B": 1, "N": 1, "M": 1}, {"B": 2, "N": 197, "M": 5}, {"B": 8, "N": 70, "M": 33})

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("tensorrt_bindings") is None,
        reason="the wheel tensorrt_cu13_bindings 11.4.0.106 is for Python 3.11 on x86-64 Linux only",
    ),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc to build the empty libraries with"),
]


@dataclass(frozen=True)
class Node:
    """A node as a graph has it: sizes that kernels are compiled for are numbers, those of ``open`` have names."""

    op: FusedOp
    type: str
    when: str
    open: str  # "none", "batch and tokens" or "all but what a kernel has to know"

    @property
    def attributes(self) -> dict[str, float]:
        usual = {a.name: a.default if a.default is not None else {"int": 4, "float": 0.25}[a.kind] for a in
                 self.op.schema.attributes}  # fmt: skip
        return {name: self._needed.get(name, value) for name, value in usual.items()}

    @cached_property
    def _needed(self) -> dict[str, int]:
        """Numbers for which ``when`` holds: those in its text, their quotients, or one more or less."""
        expression, parts = parse(self.when), [parse(part) for part in self.when.split(" and ")]
        inside = [number for number in expression.postfix if isinstance(number, int)]
        written = {n + d for n in inside for d in (0, 1, -1)} | {a // b for a in inside for b in inside if b}
        defaults = {a.name: a.default for a in self.op.schema.attributes if a.kind == "int" and a.default is not None}
        rows = []
        for name in expression.names:
            alone = [part for part in parts if part.names == (name,)]
            fitting = [n for n in written if n > 0 and all(part.value({name: n}) for part in alone)]
            rows.append([n for n in fitting if n == defaults.get(name)] or sorted(fitting))
        for numbers in itertools.product(*rows):
            if expression.value(needed := dict(zip(expression.names, numbers, strict=True))):
                return needed
        raise ValueError(f"{self.op.name}: no numbers found for {self.when}")

    def sizes(self, case: Mapping[str, int]) -> dict[str, int]:
        """Every symbol of the inputs as a number."""
        symbols = {s for tensor in self.op.schema.inputs for s in tensor.shape if s.isidentifier()}
        return {s: self._needed.get(s, case.get(s, USUAL.get(s, 4))) for s in symbols - set(self.attributes)}

    def shapes(self, case: Mapping[str, int]) -> list[list[int]]:
        names = {**self.attributes, **self.sizes(case)}
        return [[parse(size).value(names) for size in tensor.shape] for tensor in self.op.schema.inputs]

    def graph_shapes(self) -> list[list[int | str]]:
        """Shapes with the text of the size where it depends on an open one."""
        launches = self.op.kernel.variants if self.op.kernel else ()
        needed = {name for launch in launches for name in parse(launch.when).names}
        opened = {"none": set(), "batch and tokens": set(BATCH_AND_TOKENS)}.get(self.open, set(self.sizes(CASES[0])))
        opened -= needed
        return [
            [text if opened & set(parse(text).names) else size for text, size in zip(tensor.shape, shape, strict=True)]
            for tensor, shape in zip(self.op.schema.inputs, self.shapes(CASES[1]), strict=True)
        ]

    @property
    def cases(self) -> tuple[Mapping[str, int], ...]:
        return CASES if self.open != "none" else CASES[1:2]

    def request(self) -> dict[str, Any]:
        texts = [text for tensor in self.op.schema.inputs for text in tensor.shape]
        cases = [
            dict(zip(texts, [size for shape in self.shapes(case) for size in shape], strict=True))
            for case in self.cases
        ]
        return {
            "op": self.op.name,
            "type": self.type,
            "shapes": self.graph_shapes(),
            "attributes": self.attributes,
            "cases": cases,
        }

    def __str__(self) -> str:
        return "-".join([self.op.name, self.type, self.when.replace(" ", ""), self.open.split()[0]])


NODES = [
    Node(op, type_, when, opened)
    for op in OPS.values()
    if op.kernel is not None
    for type_, when in dict.fromkeys((variant.type, variant.when) for variant in op.kernel.variants)
    for opened in ("none", "batch and tokens", "all but what a kernel has to know")
]
MISFITS: list[dict[str, Any]] = [
    {
        "op": "GGeMPool",
        "type": "float16",
        "shapes": [["B", "N", 24], [4, 2]],
        "attributes": {"eps": 1e-6, "interleaved": 0},
        "cases": CASES,
    },
    {
        "op": "GGeMPool",
        "type": "int32",
        "shapes": [["B", "N", 24], [4, 1]],
        "attributes": {"eps": 1e-6, "interleaved": 0},
        "cases": CASES,
    },
]


@pytest.fixture(scope="module")
def pack() -> KernelPack:
    return read_pack(PACKED)


@pytest.fixture(scope="module")
def answer(pack: KernelPack) -> dict[str, Any]:
    """All nodes in one process: the empty libraries must not get into this one."""
    nodes = [node for node in NODES if node.op.name in pack.ops]
    asked = [node.request() for node in nodes] + MISFITS
    request = json.dumps({"pack": str(PACKED), "nodes": asked})
    done = subprocess.run(
        [sys.executable, str(SIMULATOR)], input=request, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    *records, shape, type_ = found["nodes"]
    return {**found, "nodes": dict(zip(map(str, nodes), records, strict=True)), "misfits": (shape, type_)}


@pytest.mark.parametrize("node", NODES, ids=str)
def test_tensorrt_would_launch_what_the_interpreter_launches(node, answer, pack):
    op = node.op
    fresh = op.name in pack.ops and pack.ops[op.name].schema == op.schema
    assert fresh, "the pack is older than the op: make kernels"
    records = answer["nodes"][str(node)]
    assert isinstance(records, list), records
    launches = chosen(pack.ops[op.name].launches, node.type, op.schema.bind(node.shapes(CASES[1]), node.attributes))
    assert [record["entry"] for record in records] == [launch.entry for launch in launches]
    assert [record["tactic"] for record in records] == (
        [0] if len(launches) == 1 else list(range(1, len(launches) + 1))
    )
    for index, (record, launch) in enumerate(zip(records, launches, strict=True)):
        tensors, scalars = len(op.schema.inputs), len(op.kernel.scalars)
        outputs = len(op.schema.outputs)
        assert record["parameters"] == ["u64"] * tensors + ["u32"] * scalars + ["u64"] * outputs
        for case, launched in zip(node.cases, record["launches"], strict=True):
            names = op.schema.bind(node.shapes(case), node.attributes)
            variant = op.variants_for(node.type, names)[index]  # what the interpreter takes
            assert [launched[f"grid_{axis}"] for axis in "xyz"] == [
                parse(text).value(names) for text in op.kernel.grid_for(variant)
            ]
            assert launched["scalars"] == [parse(text).value(names) for text in op.kernel.scalars.values()]
            assert [launched[f"block_{axis}"] for axis in "xyz"] == [variant.warps * 32, 1, 1]
            assert launched["shared_mem"] == launch.shared_bytes
            assert [tuple(shape) for shape in launched["outputs"]] == output_shapes(op.schema, names)


def test_types_are_offered_where_there_are_kernels(answer, pack):
    words = {"float32": "FLOAT", "float16": "HALF", "bfloat16": "BF16", "int32": "INT32"}
    for node in NODES:
        records = answer["nodes"][str(node)]
        tensors = (*node.op.schema.inputs, *node.op.schema.outputs)
        assert records[0]["types"] == [words[tensor.type_for(node.type)] for tensor in tensors]
        names = node.op.schema.bind(node.shapes(CASES[1]), node.attributes)
        assert records[0]["offered"] == len({t for t in node.op.schema.types if node.op.variants_for(t, names)})


def test_registering_twice_is_harmless_and_another_pack_is_refused(answer, pack):
    assert answer["registered"] == answer["again"] == list(pack.ops)
    assert "already holds a plugin" in answer["other_pack"]


def test_inputs_that_no_kernel_reads_are_refused_in_words(answer):
    shape, type_ = answer["misfits"]
    assert "p: 1 is 2, the others make it 1" in shape and "(G, 1)" in shape
    assert "x DataType.INT32" in type_ and "T is one of float32, float16, bfloat16" in type_


@pytest.mark.parametrize(
    ("attempt", "said"),
    [
        ("kernel_without_its_input", "does not match the expected input arg schema: (x, outputs, tactic)"),
        ("kernel_without_a_result", "Expected tuple[str | bytes, str | bytes, tensorrt.plugin.KernelLaunchParams"),
        ("types_for_one_tensor_of_two", "IndexError: list index out of range"),
        ("attribute_that_is_a_list", "Attribute 'sizes' of type list[int] is not a supported serializable type"),
        ("output_that_is_an_array", "Return types can only be TensorDesc or Tuple[TensorDesc]"),
        ("annotations_that_are_text", "TensorDescs args should come first, followed by attributes"),
    ],
)
def test_nvidia_refuses_wrong_declarations(answer, attempt, said):
    assert said in answer["wrong"][attempt]
