"""A kernel pack whose hashes hold and whose table says nonsense is refused in words, before TensorRT asks for its plugins."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tensorrt_plugin import ShapeExpr, TensorDesc, stand_in

from edgesmith.runtime.errors import BundleRefused, UserMistake
from edgesmith.runtime.plugins.functions import PluginFunctions
from edgesmith.runtime.plugins.pack import KernelPack, OpKernels
from edgesmith.runtime.plugins.schema import Attribute, Launch, OpSchema, Tensor
from edgesmith.runtime.plugins.symbols import algebra, bind
from edgesmith.runtime.plugins.vet import check_pack

SCHEMA = OpSchema(
    "Turn",
    inputs=(Tensor("x", "T", ("B", "N")),),
    outputs=(Tensor("y", "T", ("B", "cdiv(N, parts)")),),
    attributes=(Attribute("parts", "int", 2), Attribute("eps", "float", 1e-6)),
)
LAUNCH = Launch("turn", "float16", "N < 64", ("cdiv(N, 32)", "B", "1"), ("N", "eps"), 128, 4096, "turn.ptx")


def pack(schema: OpSchema = SCHEMA, launch: Launch = LAUNCH, name: str = "Turn") -> KernelPack:
    return KernelPack({name: OpKernels(schema, (launch,))}, {"turn": "ptx"}, {})


def test_a_right_pack_is_taken():
    check_pack(pack())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (pack(name="Other"), "called 'Turn'"),
        (pack(replace(SCHEMA, name="a b"), name="a b"), "called 'a b'"),
        (pack(replace(SCHEMA, inputs=())), "no inputs"),
        (pack(replace(SCHEMA, inputs=(Tensor(["x"], "T", ("B",)),))), r"\['x'\]"),
        (pack(replace(SCHEMA, inputs=(Tensor("class", "T", ("B", "N")),))), "'class'"),
        (pack(replace(SCHEMA, inputs=(Tensor("tactic", "T", ("B", "N")),))), "'tactic'"),
        (pack(replace(SCHEMA, inputs=(Tensor("x", "float128", ("B", "N")),))), "float128"),
        (pack(replace(SCHEMA, inputs=(Tensor("x", "T", (3, "N")),))), "the expression 3"),
        (pack(replace(SCHEMA, types=("int4",))), "int4"),
        (pack(replace(SCHEMA, attributes=(Attribute("parts", "complex"),))), "complex"),
        (pack(replace(SCHEMA, attributes=(Attribute("parts", "int", 10**30),))), "default 1000"),
        (pack(launch=replace(LAUNCH, when="N <")), "no expression"),
        (pack(launch=replace(LAUNCH, when="missing == 1")), "reads missing"),
        (pack(launch=replace(LAUNCH, when="N // 0")), "divides by 0"),
        (pack(launch=replace(LAUNCH, grid=("(" * 150 + "N" + ")" * 149, "B", "1"))), r"\(\(\("),
        (pack(launch=replace(LAUNCH, grid=("N" + " + N" * 500, "B", "1"))), "the expression"),
        (pack(launch=replace(LAUNCH, scalars=("9" * 30,))), "no kernel can take"),
        (pack(launch=replace(LAUNCH, scalars=(1.5,))), "the expression 1.5"),
        (pack(launch=replace(LAUNCH, threads=0)), "threads 0"),
        (pack(launch=replace(LAUNCH, threads="128")), "threads '128'"),
        (pack(launch=replace(LAUNCH, shared_bytes=2**40)), "shared_bytes 1099"),
        (pack(launch=replace(LAUNCH, entry=["turn"])), r"a kernel \['turn'\]"),
        (pack(launch=replace(LAUNCH, type="half")), "'half'"),
    ],
)
def test_what_no_plugin_can_be_made_of_is_refused(changed: KernelPack, said: str):
    with pytest.raises(BundleRefused, match=r"the kernel pack kernels.zip cannot be used(.|\n)*" + said):
        check_pack(changed)


def test_a_node_that_makes_an_expression_divide_by_zero_is_told():
    trt = stand_in()
    made = PluginFunctions(trt, trt.plugin, OpKernels(SCHEMA, (LAUNCH,)), {"turn": "ptx"}, algebra(trt.plugin))
    desc = TensorDesc([ShapeExpr(2), ShapeExpr(8)], "f16", [2, 8])
    with pytest.raises(UserMistake, match="divides by 0"):
        made.describe({"x": desc, "parts": 0, "eps": 1e-6})
    divided = replace(LAUNCH, when="N // parts == 4")
    made = replace(made, kernels=OpKernels(SCHEMA, (divided,)))
    with pytest.raises(UserMistake, match="N // parts == 4 divides by 0"):
        made.combinations({"x": desc, "parts": 0, "eps": 1e-6})
    with pytest.raises(UserMistake, match="divides by 0"):
        bind(replace(SCHEMA, inputs=(Tensor("x", "T", ("N", "N // parts")),)), [[2, 8]], {"parts": 0, "eps": 0.0})
