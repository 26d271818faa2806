"""What TensorRT's parser reads and its builder does not build is written out or refused by name, before a build is tried."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgesmith.exporter.engine import rtx
from edgesmith.exporter.engine.build import build
from edgesmith.exporter.engine.buildable import buildable
from edgesmith.exporter.engine.rtx import BuildFailed, build_rtx, parse_only
from edgesmith.exporter.plan.targets import TARGETS
from edgesmith.exporter.run.nouns import Shapes
from edgesmith.graph.run import run_values
from edgesmith.runtime.errors import UserMistake

needs_rtx = pytest.mark.skipif(not rtx.installed(), reason="TensorRT-RTX is not installed")
HEADER = '<ir_version: 10, opset_import: ["" : 23]>'
RNG = np.random.default_rng(0)


def parse(text: str) -> ir.Model:
    return ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text)))


def attention(kind: str = "float", head: int = 8, more: str = "", mask: str = "", values: int = 0) -> ir.Model:
    """q, k, v (1, 2, 5, head) and a mask where one is named."""
    width = values or head
    extra, also = (f", {mask} m", ", m") if mask else ("", "")
    return parse(
        f"{HEADER} g ({kind}[1, 2, 5, {head}] q, {kind}[1, 2, 7, {head}] k, {kind}[1, 2, 7, {width}] v{extra})"
        f" => ({kind}[1, 2, 5, {width}] y) {{ [block] y = Attention{more}(q, k, v{also}) }}"
    )


def op_types(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def feeds(model: ir.Model, **given: np.ndarray) -> dict[str, np.ndarray]:
    found = {}
    for value in model.graph.inputs:
        assert value.dtype is not None and value.shape is not None
        shape = tuple(int(size) for size in value.shape)
        found[str(value.name)] = RNG.standard_normal(shape).astype(value.dtype.numpy())
    return {**found, **given}


def same_numbers(model: ir.Model, atol: float = 2e-6, **given: np.ndarray) -> None:
    made, notes = buildable(model, "tensorrt_rtx")
    assert "Attention" not in op_types(made) and "1 Attention nodes written out" in notes[0]
    assert op_types(model).count("Attention") == 1, "the graph given is not touched"
    fed = feeds(model, **given)
    wanted, found = (run_values(each, fed, None)["y"] for each in (model, made))
    np.testing.assert_allclose(found, wanted, atol=atol)


INFINITY = np.array([[0.5, -np.inf, 1, 0, 0, 0, 0]] * 4 + [[-np.inf] * 7], np.float32)
SOME = np.array([[True, False, True, True, False, True, True]] * 4 + [[False] * 7])


@pytest.mark.parametrize(
    "options, given",
    [
        ({}, {}),
        ({"more": "<scale = 0.3>"}, {}),
        ({"more": "<is_causal = 1>"}, {}),
        ({"values": 12}, {}),
        ({"mask": "float[5, 7]"}, {"m": INFINITY}),
        ({"mask": "bool[5, 7]"}, {"m": SOME}),
        ({"mask": "float[1, 1, 5, 7]"}, {"m": np.maximum(INFINITY, -3.0)[None, None]}),
        ({"mask": "float[5, 7]", "more": "<is_causal = 1>"}, {"m": np.zeros((5, 7), np.float32)}),
    ],
)
def test_the_written_out_form_gives_the_numbers_of_the_node(options, given):
    """A row that is masked everywhere, the last of both masks, is 0 in both and no NaN."""
    same_numbers(attention(**options), **given)


def test_heads_packed_in_one_axis_are_taken_apart():
    same_numbers(
        parse(
            f"{HEADER} g (float[2, 5, 16] q, float[2, 7, 16] k, float[2, 7, 24] v) => (float[2, 5, 24] y)"
            " { [block] y = Attention<q_num_heads = 2, kv_num_heads = 2>(q, k, v) }"
        )
    )


@pytest.mark.parametrize("kind, head, stays", [("float16", 32, True), ("bfloat16", 256, True), ("float16", 264, False), ("float", 32, False), ("double", 8, False)])  # fmt: skip
def test_only_what_does_not_build_is_written_out(kind, head, stays):
    model = attention(kind, head)
    made, notes = buildable(model, "tensorrt_rtx")
    assert (made is model) is stays and bool(notes) is not stays
    assert ("Attention" in op_types(made)) is stays


@pytest.mark.parametrize(
    "text, found",
    [
        ("(float[1, 4, 5, 8] q, float[1, 2, 5, 8] k, float[1, 2, 5, 8] v) => (float[1, 4, 5, 8] y) { [block] y = Attention(q, k, v) }", "4 heads of queries over 2 of keys"),
        ("(float[1, 2, 5, 8] q, float[1, 2, 5, 8] k, float[1, 2, 5, 8] v) => (float[1, 2, 5, 8] y) { [block] y = Attention<softcap = 2.0>(q, k, v) }", "the attribute softcap"),
        ("(float[1, 2, L, 8] q, float[1, 2, S, 8] k, float[1, 2, S, 8] v) => (float[1, 2, L, 8] y) { [block] y = Attention<is_causal = 1>(q, k, v) }", "an open number of tokens"),
        ("(float[1, 2, 5, 8] q, float[1, 2, 5, 8] k, float[1, 2, 5, 8] v, float[1, 2, 3, 8] p) => (float[1, 2, 5, 8] y, float[1, 2, 8, 8] a, float[1, 2, 8, 8] b) { [block] y, a, b = Attention(q, k, v, , p, p) }", "keys and values of earlier calls"),
    ],
)  # fmt: skip
def test_more_than_the_plain_node_is_refused_by_name(text, found):
    with pytest.raises(UserMistake, match="block") as refused:
        buildable(parse(f"{HEADER} g {text}"), "tensorrt_rtx")
    assert found in refused.value.found and "--opset 20" in refused.value.attempt


NMS_TEXT = """g (float[1, 10, 4] b, float[1, 1, 10] s) => (int64[n, 3] y) <int64[1] m = {5}, float[1] t = {0.5}, float[1] c = {0.1}>
{ [suppress] y = NonMaxSuppression(b, s, m, t, c) }"""
TOPK = "g (float[1, 5000] x) => (float[1, K] y, int64[1, K] i) <int64[1] k = {K}> { [best] y, i = TopK(x, k) }"
QDQ = "g (float[4] x) => (float[4] y) <float s = {0.1}, KIND z = {ZERO}> { [to] q = QuantizeLinear(x, s, z) [from] y = DequantizeLinear(q, s, z) }"


def codes(kind: str, zero: int) -> str:
    return QDQ.replace("KIND", kind).replace("ZERO", str(zero))


@pytest.mark.parametrize(
    "text, found",
    [
        (NMS_TEXT, "node suppress (NonMaxSuppression)"),
        ("g (float[1, N, 1] x) => (float[1, N, 2] y) { [waves] y = DFT(x) }", "node waves (DFT): a Fourier transform"),
        (TOPK.replace("K}", "3841}").replace("1, K", "1, 3841"), "k = 3841"),
        (codes("uint8", 128), "zero point 128 of type uint8"),
        (codes("uint8", 0), "zero point 0 of type uint8"),
        (codes("int8", 3), "zero point 3 of type int8"),
        (
            "g (float[4] x) => (float[4] y) <float s = {0.1}> { [to] q = QuantizeLinear(x, s) [from] y = DequantizeLinear(q, s) }",
            "node to (QuantizeLinear): zero point 0 of type uint8",
        ),
        (
            "g (uint8[4] x) => (float[4] y) <float s = {0.1}> { [from] y = DequantizeLinear(x, s) }",
            "node from (DequantizeLinear): zero point 0 of type uint8",
        ),
    ],
)
def test_what_never_builds_is_refused_before_it_is_tried(text, found):
    with pytest.raises(UserMistake, match="TensorRT-RTX does not build this graph") as refused:
        buildable(parse(f"{HEADER} {text}"), "tensorrt_rtx")
    assert found in refused.value.found and refused.value.exit_code == 2


@pytest.mark.parametrize("text", [TOPK.replace("K}", "3840}").replace("1, K", "1, 3840"), codes("int8", 0)])
def test_what_builds_is_left_alone(text):
    model = parse(f"{HEADER} {text}")
    assert buildable(model, "tensorrt_rtx") == (model, [])
    assert buildable(parse(f"{HEADER} {NMS_TEXT}"), "tensorrt")[1] == [], "TensorRT itself suppresses"


@needs_rtx
@pytest.mark.parametrize("kind, head", [("float", 8), ("float16", 264)])
def test_the_parser_says_yes_and_only_the_written_out_graph_builds(kind, head):
    model = attention(kind, head)
    assert parse_only(model) > 0
    with pytest.raises(BuildFailed, match="did not build"):
        build_rtx(model, "sm89")
    assert build_rtx(buildable(model, "tensorrt_rtx")[0], "sm89").data


IMAGES = """g (float[1, 3, 8, 8] images) => (float[1, 3, 8, 8] logits)
{ [block] logits = Attention(images, images, images) }"""
PICTURE = Shapes.fixed(1, 3, 8, 8)


@needs_rtx
def test_an_export_for_rtx_in_float32_gets_an_engine_although_it_has_an_attention_node(tmp_path):
    built = build(parse(f"{HEADER} {IMAGES}"), TARGETS["rtx"], "sm89", PICTURE, tmp_path)
    assert built.engines and "Attention nodes written out" in built.notes[0] and "same numbers" in built.notes[1]


@needs_rtx
def test_the_note_says_built_where_it_was_built_and_only_parsed_where_not(tmp_path, monkeypatch):
    model = parse(
        f"{HEADER} {IMAGES}".replace('"" : 23', '"" : 20').replace("Attention(images, images, images)", "Relu(images)")
    )
    assert "and built for sm89" in build(model, TARGETS["tensorrt"], None, PICTURE, tmp_path).notes[-1]

    def refuse(*_args, **_options):
        raise BuildFailed("TensorRT-RTX did not build the graph", found="no kernel")

    monkeypatch.setattr(rtx, "build_rtx", refuse)
    told = build(model, TARGETS["tensorrt"], None, PICTURE, tmp_path).notes[-1]
    assert "but NOT built for sm89" in told and "no kernel" in told
    model.metadata_props["edgesmith.quantised"] = "int8"
    told = build(model, TARGETS["tensorrt"], None, PICTURE, tmp_path).notes[-1]
    assert ", not built;" in told and "check" not in told
