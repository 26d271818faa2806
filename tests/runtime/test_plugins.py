"""Plugins from a kernel pack, with a stand-in for ``tensorrt.plugin``; NVIDIA's own code runs them in test_simulator.py."""

from __future__ import annotations

import inspect
import sys
import typing
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorrt_plugin import ShapeExpr, TensorDesc, stand_in

from edgesmith.runtime.errors import BackendUnavailable, UserMistake
from edgesmith.runtime.plugins.expressions import parse
from edgesmith.runtime.plugins.pack import KernelPack, OpKernels
from edgesmith.runtime.plugins.register import register_plugins, version
from edgesmith.runtime.plugins.schema import Attribute, Launch, OpSchema, Tensor, float_bits
from edgesmith.runtime.plugins.symbols import algebra, bind

SCHEMA = OpSchema(
    "Turn",
    inputs=(Tensor("x", "T", ("B", "N", "D")), Tensor("codes", "int32", ("B", "D * bits // 32"))),
    outputs=(Tensor("y", "T", ("B", "cdiv(N, 2)", "D")), Tensor("meta", "float16", ("B", "D * bits"))),
    attributes=(Attribute("bits", "int", 4), Attribute("scale", "float")),
)
GIVEN = {"bits": 4, "scale": 0.5}


def launch(entry, type_, when="D == 64"):
    return Launch(entry, type_, when, ("cdiv(N, 32)", "B", "1"), ("N", "scale", "D * bits"), 128, 4096)


LAUNCHES = (
    launch("half", "float16"),
    launch("other_half", "float16"),
    launch("single", "float32", "D == 64 and bits == 4"),
)
PTX = {name: f"ptx of {name}" for name in ("half", "other_half", "single")}
PACK = KernelPack({"Turn": OpKernels(SCHEMA, LAUNCHES), "Empty": OpKernels(SCHEMA, ())}, PTX, {})


@pytest.fixture
def trt(monkeypatch):
    made = stand_in()
    monkeypatch.setitem(sys.modules, "tensorrt", made)
    monkeypatch.setitem(sys.modules, "tensorrt.plugin", made.plugin)
    return made


@pytest.fixture
def turn(trt):
    assert register_plugins(trt, PACK, ["Turn"]) == ["Turn"]
    return trt.plugin.op.edgesmith.Turn


def inputs(b=2, n=70, d=64, fixed="BND", words=8, type_="f16"):
    sizes = {"B": b, "N": n, "D": d}
    x = [ShapeExpr(size, name in fixed) for name, size in sizes.items()]
    codes = [ShapeExpr(b, "B" in fixed), ShapeExpr(words, "D" in fixed)]
    descs = [TensorDesc(x, type_), TensorDesc(codes, "i32")]
    for desc in descs:
        desc.shape = [size.number if size.is_constant else -1 for size in desc.shape_expr]
    return descs


def numbers(sizes):
    return [size.number if isinstance(size, ShapeExpr) else size for size in sizes]


def test_signatures_hold_real_types_in_the_order_of_the_schema(trt, turn):
    both = tuple[TensorDesc, TensorDesc]
    named = {"x": TensorDesc, "codes": TensorDesc, "bits": int, "scale": float}
    result = tuple[str, str, trt.plugin.KernelLaunchParams, trt.plugin.SymIntExprs]
    for function, parameters, returns in (
        (turn.register_func, named, both),
        (turn.tune, {**named, "outputs": both}, list[trt.plugin.AutoTuneCombination]),
        (turn.start, {**named, "outputs": both, "tactic": int}, result),
    ):
        signature = inspect.signature(function)
        assert {name: found.annotation for name, found in signature.parameters.items()} == parameters
        assert list(signature.parameters) == list(parameters) and signature.return_annotation == returns
        assert typing.get_type_hints(function) == {**parameters, "return": returns}
        assert all(p.default is inspect.Parameter.empty for p in signature.parameters.values())


def test_outputs_have_the_shapes_and_types_of_the_schema(turn):
    y, meta = turn.register_func(*inputs(fixed="D"), **GIVEN)
    assert (numbers(y.shape_expr), y.dtype) == ([2, 35, 64], "f16")
    assert (numbers(meta.shape_expr), meta.dtype) == ([2, 256], "f16")
    assert type(meta.shape_expr[1]) is int and isinstance(y.shape_expr[1], ShapeExpr)


def test_nothing_is_asked_of_fake_sizes(turn):
    fake = [
        TensorDesc([ShapeExpr(0, fake=True) for _ in shape], type_) for shape, type_ in (("BND", "f32"), ("BW", "i32"))
    ]
    y, meta = turn.register_func(*fake, **GIVEN)
    assert (len(y.shape_expr), y.dtype, len(meta.shape_expr), meta.dtype) == (3, "f32", 2, "f16")


def test_types_and_tactics_are_those_that_have_kernels(turn):
    single, half = (row.given for row in turn.tune(*inputs(fixed="D"), 4, 0.5, ()))
    assert single == ("FP32, INT32, FP32, FP16", "LINEAR", None)
    assert half == ("FP16, INT32, FP16, FP16", "LINEAR", [1, 2])
    (only,) = turn.tune(*inputs(fixed="D", words=4), 2, 0.5, ())  # the float32 kernel is for 4 bits
    assert only.given[0].startswith("FP16")


@pytest.mark.parametrize(("tactic", "entry"), [(0, "half"), (1, "half"), (2, "other_half")])
def test_a_tactic_is_a_kernel_with_its_launch(turn, tactic, entry):
    found, ptx, parameters, scalars = turn.start(*inputs(fixed="D"), 4, -0.5, (), tactic)
    assert (found, ptx) == (entry, f"ptx of {entry}")
    assert numbers([parameters.grid_x, parameters.grid_y, parameters.grid_z]) == [3, 2, 1]
    assert (parameters.block_x, parameters.shared_mem) == (128, 4096)
    assert numbers(scalars.values()) == [70, float_bits(-0.5), 256] and float_bits(-0.5) == -0x41000000


def test_a_kernel_that_is_not_there_is_told_in_words(turn):
    with pytest.raises(UserMistake, match="no kernel for a node Turn(.|\n)*tactic 3(.|\n)*D 64"):
        turn.start(*inputs(), 4, 0.5, (), 3)
    with pytest.raises(UserMistake, match="no kernel for a node Turn(.|\n)*D 32(.|\n)*float16 when D == 64"):
        turn.tune(*inputs(d=32, words=4), 4, 0.5, ())
    with pytest.raises(UserMistake, match="leaves a size open(.|\n)*no number for D"):
        turn.tune(*inputs(fixed="BN"), 4, 0.5, ())
    with pytest.raises(UserMistake, match="leaves a size open(.|\n)*no number for D"):
        turn.start(*inputs(fixed="BN"), 4, 0.5, (), 0)


@pytest.mark.parametrize(
    ("change", "given", "said"),
    [
        ({"words": 7}, GIVEN, "codes: .*is 7, the others make it 8"),
        ({"type_": "bool"}, GIVEN, "types that no kernel takes(.|\n)*x bool"),
        ({}, {"bits": 4}, "needs the attribute scale"),
    ],
)
def test_inputs_that_no_kernel_reads_are_refused(turn, change, given, said):
    if "scale" not in given:
        with pytest.raises(UserMistake, match=said):
            bind(SCHEMA, [[2, 70, 64], [2, 8]], given)
        return
    with pytest.raises(UserMistake, match=said):
        turn.register_func(*inputs(**change), **given)


def test_ranks_and_repeated_sizes_are_checked():
    with pytest.raises(UserMistake, match="x: 2 axes"):
        bind(SCHEMA, [[2, 70], [2, 8]], GIVEN)
    with pytest.raises(UserMistake, match="codes: B is 3, the others make it 2"):
        bind(SCHEMA, [[2, 70, 64], [3, 8]], GIVEN)


def test_a_number_is_preferred_to_a_symbol():
    open_size = ShapeExpr(2, fixed=False)
    assert bind(SCHEMA, [[open_size, 70, 64], [2, 8]], GIVEN)["B"] == 2
    assert bind(SCHEMA, [[2, 70, 64], [open_size, 8]], GIVEN)["B"] == 2


def test_registering_again_changes_nothing_and_another_pack_is_refused(trt, turn):
    before = turn.register_func
    assert register_plugins(trt, PACK, ["Turn"]) == ["Turn"] and trt.plugin.op.edgesmith.Turn.register_func is before
    with pytest.raises(UserMistake, match="already holds a plugin edgesmith::Turn"):
        register_plugins(trt, KernelPack({"Turn": OpKernels(SCHEMA, LAUNCHES[:1])}, PTX, {}))


def test_ops_without_a_kernel_are_refused_before_anything_is_registered(trt):
    for names in (["Turn", "NoSuch"], ["Turn", "Empty"], None):
        with pytest.raises(UserMistake, match="no kernel for an op of the graph(.|\n)*(NoSuch|Empty)"):
            register_plugins(trt, PACK, names)
    assert not vars(trt.plugin.op)


@pytest.mark.parametrize("found", ["8.6.2", "10.3.0", "10.8.0.43", "9.3", "unknown"])
def test_a_tensorrt_without_such_plugins_is_unavailable(found):
    with pytest.raises(BackendUnavailable, match=f"tensorrt {found}(.|\n)*10.9 or newer"):
        register_plugins(stand_in(found), PACK, ["Turn"])


def test_a_tensorrt_without_its_plugin_module_is_unavailable(monkeypatch):
    made = stand_in("10.9.0")
    monkeypatch.setitem(sys.modules, "tensorrt", made)
    monkeypatch.setitem(sys.modules, "tensorrt.plugin", None)
    with pytest.raises(BackendUnavailable, match="tensorrt.plugin"):
        register_plugins(made, PACK, ["Turn"])
    del made.QuickPluginCreationRequest  # by which NVIDIA's own code knows
    with pytest.raises(BackendUnavailable, match="10.9 or newer"):
        register_plugins(made, PACK, ["Turn"])


def test_versions_are_compared_as_numbers():
    assert [version(SimpleNamespace(__version__=text)) for text in ("10.13.3.9", "8.5.2-1", "?")] == [
        (10, 13),
        (8, 5),
        (0, 0),
    ]


OPERATORS = st.sampled_from(["+", "-", "*", "//", "==", "<", "cdiv", "min", "max"])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    name=OPERATORS, left=st.integers(0, 99), right=st.integers(1, 99), symbols=st.tuples(st.booleans(), st.booleans())
)
def test_symbols_compute_what_numbers_compute(name, left, right, symbols):
    text = f"{name}(a, b)" if name.isidentifier() else f"a {name} b"
    a, b = (
        ShapeExpr(number, False) if symbol else number for number, symbol in zip((left, right), symbols, strict=True)
    )
    found = parse(text).value({"a": a, "b": b}, algebra(stand_in().plugin))
    assert numbers([found]) == [parse(text).value({"a": left, "b": right})]
    assert isinstance(found, ShapeExpr) == any(symbols)  # numbers alone stay numbers
